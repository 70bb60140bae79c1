"""The token cache: a corpus cut into tokens once, on disk, and read as memory-mapped arrays.

A folder with ``ids`` (tokens of all pieces one after another), ``begins`` (whether a token begins a word),
``offsets`` (of pieces), ``document`` and ``words`` (of each piece: its document, its number of
words), ``label``, ``file`` and ``row`` (of each document) and ``about.json``. However large the corpus, building
needs the
memory of a few segments, and reading a sample touches its tokens alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from unmask_text.data.report import Report

PARTS: dict[str, Any] = {
    "ids": None,  # as small as the vocabulary allows
    "begins": np.uint8,
    "offsets": np.int64,
    "document": np.int64,
    "words": np.int32,
    "label": np.int32,
    "file": np.int32,
    "row": np.int64,
}
"""Files of a store, and the type of what they hold."""
NO_LABEL = -100
"""The label of a document that has none, among others that have one."""


class Store(Dataset):
    """Pieces of documents: ``{"ids": [n], "word": [n]}`` and, of labelled ones, ``label``.

    ``name`` says which document a piece is of, ``piece`` which piece of it, from 0.

    Args:
        folder: what `build` has written.

    Attributes:
        report: what was found when it was built.
        classes: names of the labels; empty: there are none.
        ids: ``[T]``, of all pieces.
        begins: ``[T]`` uint8, 1 where a token begins a word.
        offsets: ``[P + 1]`` int64, of pieces.
        document: ``[P]``, which document a piece is from.
        words: ``[P]``, words in a piece.
        label: ``[D]``, class of each document, -1: none.
        file: ``[D]``, which of ``files`` a document is from.
        row: ``[D]``, which row or line of it, from 1; 0: the document is all of the file.
        files: names of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = json.loads((folder / "about.json").read_text())
        self.report = Report.of(about["report"])
        self.classes: list[str] = about["classes"]
        self.tokenizer: str = about["tokenizer"]
        self.files: list[str] = about["files"]
        for name, dtype in PARTS.items():
            setattr(self, name, _map(folder / f"{name}.bin", np.dtype(dtype or about["dtype"])))

    ids: np.ndarray
    begins: np.ndarray
    offsets: np.ndarray
    document: np.ndarray
    words: np.ndarray
    label: np.ndarray
    file: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.document)

    def __getitem__(self, index: int) -> dict[str, Any]:
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        sample: dict[str, Any] = {
            "ids": torch.from_numpy(self.ids[start:end].astype(np.int64)),
            "word": torch.from_numpy(self.begins[start:end].astype(np.int64)).cumsum(0) - 1,
        }
        document = int(self.document[index])
        sample["name"] = self.name(document)
        sample["piece"] = index - int(np.searchsorted(self.document, document))
        if self.classes:
            label = int(self.label[document])
            sample["label"] = label if label >= 0 else NO_LABEL
        return sample

    def name(self, document: int) -> str:
        """What a document is called: ``letters/1.txt``, or ``reviews.csv:17``."""
        row = int(self.row[document])
        return self.files[int(self.file[document])] + (f":{row}" if row else "")

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each piece ``[P]``."""
        return np.diff(self.offsets)

    @property
    def firsts(self) -> np.ndarray:
        """Which pieces begin a document ``[P]`` bool."""
        return np.diff(self.document, prepend=-1) != 0

    def __getstate__(self) -> dict[str, Any]:  # loading processes map the files anew
        return {"folder": self.folder, "classes": self.classes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]
        self.classes = state["classes"]


class Chosen(Dataset):
    """Some pieces of a store.

    Args:
        store: all of them.
        index: int64, which.
        label_of: for each of the store's classes, the id to give instead; None: its own.
    """

    def __init__(self, store: Store, index: np.ndarray, label_of: np.ndarray | None = None) -> None:
        self.store = store
        self.index = index
        self.label_of = label_of

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> dict[str, Any]:
        sample = self.store[int(self.index[number])]
        if self.label_of is not None and sample["label"] >= 0:
            sample["label"] = int(self.label_of[sample["label"]])
        return sample

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each piece."""
        return self.store.offsets[self.index + 1] - self.store.offsets[self.index]


def _map(path: Path, dtype: np.dtype) -> np.ndarray:
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)
