"""Data: the module that feeds a run, the sources that it reads, and how people's own files are read."""

from unmask.data.by_part import DataByPart
from unmask.data.fields import Fields, column_of, columns_in, flattened
from unmask.data.file_table import FileTable
from unmask.data.findings import NUM_NAMED, Findings
from unmask.data.folder_source import SEEN, File, FolderSource
from unmask.data.folders import HIDDEN, OTHER, find_files, is_hidden, no_such
from unmask.data.hub import chosen_splits, open_splits
from unmask.data.hub_source import HubSource, Labels
from unmask.data.labels import (
    CLASS,
    MOST_CLASSES,
    MULTI_LABEL,
    NUMBER,
    NUMBERS,
    check_label_options,
    label_of,
    labels_of,
    numbers_of,
    one_label,
    ordered,
    unknown_like,
)
from unmask.data.module import (
    Augmented,
    KeyedSampler,
    MaskedDataModule,
    ResumableLoader,
    Sample,
    Splits,
    held_out,
)
from unmask.data.own_files import OwnFiles
from unmask.data.pickles import data_alone, read_pickle, read_torch
from unmask.data.pools import Pool
from unmask.data.report import UNREADABLE, Report
from unmask.data.shards import (
    Entry,
    Index,
    LitChunks,
    Nearby,
    Packed,
    Plan,
    Shard,
    ShardError,
    Shards,
    Stored,
    fingerprint,
    packed,
)
from unmask.data.source_module import NONE_HELD_OUT, SEEN_RATIO, SourceDataModule
from unmask.data.sources import Found, Item, Origin, Source, Stream, Unreadable
from unmask.data.tables import LINE_ENDS, LONGEST, RAGGED, STRAY, Table, TableFormat, lines_of, open_table, read_table
from unmask.data.unpacking import check_archive, check_parquet, check_unpacked, open_gzip, read_npz
from unmask.data.values import FILLED, fill_not_finite

__all__ = [
    "CLASS",
    "FILLED",
    "HIDDEN",
    "LINE_ENDS",
    "LONGEST",
    "MOST_CLASSES",
    "MULTI_LABEL",
    "NONE_HELD_OUT",
    "NUMBER",
    "NUMBERS",
    "NUM_NAMED",
    "OTHER",
    "RAGGED",
    "SEEN",
    "SEEN_RATIO",
    "STRAY",
    "UNREADABLE",
    "Augmented",
    "DataByPart",
    "Entry",
    "Fields",
    "File",
    "FileTable",
    "Findings",
    "FolderSource",
    "Found",
    "HubSource",
    "Item",
    "KeyedSampler",
    "Index",
    "Labels",
    "LitChunks",
    "MaskedDataModule",
    "Nearby",
    "Origin",
    "Packed",
    "Plan",
    "Pool",
    "OwnFiles",
    "Report",
    "ResumableLoader",
    "Sample",
    "Shard",
    "ShardError",
    "Shards",
    "Source",
    "SourceDataModule",
    "Splits",
    "Stored",
    "Stream",
    "Table",
    "TableFormat",
    "Unreadable",
    "check_archive",
    "check_label_options",
    "check_parquet",
    "check_unpacked",
    "chosen_splits",
    "column_of",
    "columns_in",
    "data_alone",
    "fill_not_finite",
    "find_files",
    "fingerprint",
    "flattened",
    "held_out",
    "is_hidden",
    "label_of",
    "labels_of",
    "lines_of",
    "no_such",
    "numbers_of",
    "one_label",
    "ordered",
    "open_gzip",
    "open_splits",
    "open_table",
    "packed",
    "read_npz",
    "read_pickle",
    "read_table",
    "read_torch",
    "unknown_like",
]
