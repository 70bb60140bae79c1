"""Which files this plugin trains on when a folder alone is given."""

from __future__ import annotations

from unmask.data import OwnFiles
from unmask_vision.data.reading import EXTENSIONS


class Images(OwnFiles):
    """Images, by `vision/mae-folder`."""

    what = "images"
    endings = EXTENSIONS
    recipe = "vision/mae-folder"
