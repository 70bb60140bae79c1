"""A griffe extension: docstrings may announce an indented block by ``::``, of which Markdown knows nothing."""

from __future__ import annotations

import re
from typing import Any

import griffe

ANNOUNCED = re.compile(r"::(?=\n\n {4})")


class LiteralBlocks(griffe.Extension):
    """Leaves one colon of two before an indented block."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called with every module, class, function and attribute that is read."""
        if obj.docstring is not None:
            obj.docstring.value = ANNOUNCED.sub(":", obj.docstring.value)
