"""Which files of people's own a plugin trains on, so that a folder alone tells what to train."""

from __future__ import annotations

from typing import ClassVar


class OwnFiles:
    """A plugin's answer to ``unmask pretrain FOLDER``; a subclass is registered in the group ``unmask.own_files``.

    Attributes:
        what: what such files hold, in the plural: ``images``.
        endings: of files in a folder, in lower case, with the dot.
        recipe: a registered recipe that trains on such files once it is told where they are.
        option: of the recipe's data, that takes the place: ``folder``.
        several: whether the option takes a list of places.
    """

    what: ClassVar[str]
    endings: ClassVar[tuple[str, ...]]
    recipe: ClassVar[str]
    option: ClassVar[str] = "folder"
    several: ClassVar[bool] = False
