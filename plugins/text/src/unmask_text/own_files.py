"""Which files this plugin trains on when a folder alone is given."""

from __future__ import annotations

from unmask.data import OwnFiles
from unmask_text.data.characters import ENDINGS


class Texts(OwnFiles):
    """Texts, by `text/mlm-files`."""

    what = "texts"
    endings = ENDINGS
    recipe = "text/mlm-files"
    option = "paths"
    several = True
