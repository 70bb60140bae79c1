"""What benchmarks share: settings that a command line changes, one thread, and lines that were measured before."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from threadpoolctl import threadpool_limits

from unmask.support.nearest import quoted


@dataclass(frozen=True)
class Changeable:
    """A dataclass of numbers and words."""

    def changed(self, words: list[str]) -> Self:
        """With ``NAME=VALUE`` in place of these."""
        kinds = {one.name: type(getattr(self, one.name)) for one in fields(self)}
        values = {}
        for name, _, value in (word.partition("=") for word in words):
            if name not in kinds or not value:
                sys.exit(f"`--set` must be NAME=VALUE, of {quoted(kinds)}, but is `{name}={value}`.")
            values[name] = value == "True" if kinds[name] is bool else kinds[name](value)
        return replace(self, **values)


def prepare() -> None:
    """One thread, and no remarks of Lightning's."""
    torch.set_num_threads(1)
    threadpool_limits(1)  # for scikit-learn
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings(
        "ignore", ".*(does not have many workers|smaller than the logging interval|LeafSpec|in eval mode).*"
    )


def lines(out: Path, key: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured before, with the same settings."""
    found = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    return [line for line in found if all(line.get(name) == value for name, value in key.items())]
