"""Settings that a benchmark's command line changes, and the lines that it has measured before."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from unmask.support.nearest import quoted


@dataclass(frozen=True)
class Changeable:
    """A dataclass of numbers and words, each with a default."""

    def changed(self, words: list[str]) -> Self:
        """With ``NAME=VALUE`` in place of these."""
        kinds = {one.name: type(getattr(self, one.name)) for one in fields(self)}
        values = {}
        for name, _, value in (word.partition("=") for word in words):
            if name not in kinds or not value:
                sys.exit(f"`--set` must be NAME=VALUE, of {quoted(kinds)}, but is `{name}={value}`.")
            values[name] = kinds[name](value)
        return replace(self, **values)


def lines(out: Path, key: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured before, with the same settings."""
    found = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    return [line for line in found if all(line.get(name) == value for name, value in key.items())]
