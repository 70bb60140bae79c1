"""Without what Lightning remarks on every run, though nothing is wrong."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

REMARKS = (
    r".*does not have many workers which may be a bottleneck.*",
    r".*is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*The dirpath has changed from.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*in eval mode at the start of training.*",  # a teacher or frozen encoder always is
    r".*when using `ckpt_path`, callbacks used to create the checkpoint need to be provided.*",  # not to validate
    r".*lr_scheduler.step\(\)` before `optimizer.step.*",  # a step that 16 bits left out
)
"""Warnings about nothing that went wrong, or that the user of a command cannot act on."""
LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Run a block without `REMARKS` and without what `LOGGERS` say below a warning."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        for message in REMARKS:
            warnings.filterwarnings("ignore", message)
        try:
            for name in LOGGERS:
                logging.getLogger(name).setLevel(logging.WARNING)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
