"""Data: the module that feeds a run, and how people's own files are read, by the same rules in every modality."""

from unmask.data.findings import Findings
from unmask.data.folders import find_files
from unmask.data.labels import label_of, numbers_of
from unmask.data.module import (
    Augmented,
    KeyedSampler,
    MaskedDataModule,
    ResumableLoader,
    Sample,
    Splits,
    held_out,
)
from unmask.data.tables import Table, read_table
from unmask.data.values import fill_not_finite

__all__ = [
    "Augmented",
    "Findings",
    "KeyedSampler",
    "MaskedDataModule",
    "ResumableLoader",
    "Sample",
    "Splits",
    "Table",
    "fill_not_finite",
    "find_files",
    "held_out",
    "label_of",
    "numbers_of",
    "read_table",
]
