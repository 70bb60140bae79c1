"""Which files this plugin trains on when a folder alone is given."""

from __future__ import annotations

from unmask.data import OwnFiles
from unmask_audio.data.reading import EXTENSIONS


class Sounds(OwnFiles):
    """Sounds, by `audio/audio-mae-files`."""

    what = "sounds"
    endings = EXTENSIONS
    recipe = "audio/audio-mae-files"
