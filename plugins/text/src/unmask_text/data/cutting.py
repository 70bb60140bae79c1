"""Cutting a corpus into tokens and pieces, once, and writing them as a `Store`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.data import CLASS, MULTI_LABEL, labels_of
from unmask_text.data.reading import Segment
from unmask_text.data.report import Report
from unmask_text.data.store import NO_LABEL, PARTS, VALUES
from unmask_text.vocabulary import LONGEST_WORD, Vocabulary, vocabulary

BATCH = 2**20
"""Characters given to the tokenizer at once."""


def build(
    folder: Path,
    segments: Iterable[Segment],
    tokenizer: str,
    limit: int,
    report: Report,
    label_kind: str = CLASS,
    label_separator: str | None = None,
    option: str | None = "labels",
) -> None:
    """Write a store; it appears whole or not at all, and another process's that came first is kept.

    Args:
        folder: where to.
        segments: the corpus.
        tokenizer: path of the ``tokenizer.json``.
        limit: tokens in a piece at most, at least `LONGEST_WORD`.
        report: what reading has found so far; counts of documents, pieces and tokens are added.
        label_kind: what labels are taken for, see `unmask.data.labels_of`.
        label_separator: likewise.
        option: that names the column of labels, in messages; None: classes are not of a column.

    Raises:
        ValueError: a label that is none of that kind, or several in one.
    """
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        named = vocabulary(tokenizer)
        dtype = np.uint16 if len(named) <= 2**16 else np.uint32
        with _Writer(part, dtype, label_kind) as writer:
            for segment, ids, begins in _tokens(segments, named, report):
                writer.add(segment, ids, begins, limit)
        writer.finish(report)
        classes, num_values = writer.sort_labels(part), 0
        if option is not None and label_kind == CLASS:  # refuses several in one
            labels_of(classes, CLASS, f"`{option}`", report.findings, "document")
        if label_kind != CLASS:
            classes, num_values = _write_values(part, writer.cells, label_kind, label_separator, option, report)
        about: dict[str, Any] = {
            "dtype": np.dtype(dtype).name,
            "tokenizer": tokenizer,
            "classes": classes,
            "report": report.as_dict(),
        }
        about |= {"files": list(writer.files), "label_kind": label_kind, "num_values": num_values}
        (part / "about.json").write_text(json.dumps(about, indent=1))
        try:
            os.rename(part, folder)
        except OSError:
            if not (folder / "about.json").is_file():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


class _Document(NamedTuple):
    num_words: int
    num_tokens: int


class _Writer:
    """Appends pieces to the files of a store."""

    def __init__(self, folder: Path, dtype: Any, label_kind: str) -> None:
        self.label_kind = label_kind
        self.cells: list[Any] = []
        """Labels of documents, where they are no single class: they are made out once all are known."""
        self.parts = {name: (folder / f"{name}.bin").open("wb") for name in PARTS}
        self.dtypes = {name: np.dtype(dtype if own is None else own) for name, own in PARTS.items()}
        self.num_pieces = self.num_tokens = self.num_words = 0
        self.num_documents = self.num_empty = self.num_one_word = 0
        self.names: dict[str, int] = {}
        self.files: dict[str, int] = {}
        self.place = "", 0
        self.open = _Document(0, 0)
        self.label: Any = None
        self._write("offsets", [0])

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_document()
        for part in self.parts.values():
            part.close()

    def add(self, segment: Segment, ids: np.ndarray, begins: np.ndarray, limit: int) -> None:
        """Tokens of one segment, as pieces of nearly equal length that end with a word."""
        if segment.first:
            self._close_document()
            self.label, self.place = segment.label, (segment.file, segment.row)
            self.seen = True
        if not len(ids):
            return
        ends = [len(ids)] if len(ids) <= limit else list(_ends(begins, limit))
        starts = [0, *ends[:-1]]
        words = np.add.reduceat(begins, starts, dtype=np.int32)
        self._write("ids", ids)
        self._write("begins", begins)
        self._write("offsets", np.asarray(ends) + self.num_tokens)
        self._write("document", np.full(len(ends), self.num_documents))
        self._write("words", words)
        self.num_tokens += len(ids)
        self.num_pieces += len(ends)
        self.num_words += int(words.sum())
        self.open = _Document(self.open.num_words + int(words.sum()), self.open.num_tokens + len(ids))

    def finish(self, report: Report) -> None:
        report.num_pieces, report.num_tokens, report.num_words = self.num_pieces, self.num_tokens, self.num_words
        report.num_documents, report.num_empty_documents = self.num_documents, self.num_empty
        report.num_one_word_documents = self.num_one_word

    def sort_labels(self, folder: Path) -> list[str]:
        """Number the classes by their sorted names; returns those."""
        classes = sorted(self.names)
        if classes:
            order = np.empty(len(classes) + 1, np.int32)
            order[-1] = -1  # what has no label keeps none
            order[[self.names[name] for name in classes]] = np.arange(len(classes))
            label = np.memmap(folder / "label.bin", np.int32, "r+")
            label[:] = order[label]
            label.flush()
        return classes

    seen = False

    def _close_document(self) -> None:
        if self.open.num_tokens:
            if self.label_kind != CLASS:
                self.cells.append(self.label)
                label = -1 if self.label is None else 0
            else:
                label = -1 if self.label is None else self.names.setdefault(self.label, len(self.names))
            self._write("label", [label])
            file, row = self.place
            self._write("file", [self.files.setdefault(file, len(self.files))])
            self._write("row", [row])
            self.num_documents += 1
            self.num_one_word += self.open.num_words == 1
        elif self.seen:
            self.num_empty += 1
        self.open, self.seen = _Document(0, 0), False

    def _write(self, name: str, values: Any) -> None:
        self.parts[name].write(np.asarray(values, dtype=self.dtypes[name]).tobytes())


def _write_values(
    folder: Path, cells: list[Any], kind: str, separator: str | None, option: str | None, report: Report
) -> tuple[list[str], int]:
    """Writes labels that are no single class; returns names of classes, and how many values each document has."""
    labels, classes = labels_of(cells, kind, f"`{option}`", report.findings, "document", separator=separator)
    width = next((np.size(label) for label in labels if label is not None), 0)
    unknown = NO_LABEL if kind == MULTI_LABEL else np.nan
    with (folder / VALUES).open("wb") as file:
        for label in labels:
            file.write(np.broadcast_to(unknown if label is None else label, width).astype(np.float64).tobytes())
    return classes, width


def _tokens(
    segments: Iterable[Segment], named: Vocabulary, report: Report
) -> Iterator[tuple[Segment, np.ndarray, np.ndarray]]:
    """Ids of each segment, and which begin a word."""
    unknown = named.unknown_id
    for batch in _batches(segments):
        # not the faster `encode_batch_fast`, which does not say where words begin
        encoded = named.tokenizer.encode_batch([segment.text for segment in batch], add_special_tokens=False)
        # of all of them at once: most documents of some corpora are a few words long
        lengths = [len(one) for one in encoded]
        every = np.fromiter(chain.from_iterable(one.ids for one in encoded), np.int64, sum(lengths))
        if unknown is not None:
            report.num_unknown_tokens += int((every == unknown).sum())
        begins = word_begins(every, [one.word_ids for one in encoded], named)
        ends = np.cumsum(lengths).tolist()
        for segment, length, end in zip(batch, lengths, ends, strict=True):
            yield segment, every[end - length : end], begins[end - length : end]


def _batches(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    batch: list[Segment] = []
    size = 0
    for segment in chain(segments, [None]):
        if batch and (segment is None or size + len(segment.text) > BATCH):
            yield batch
            batch, size = [], 0
        if segment is not None:
            batch.append(segment)
            size += len(segment.text) + 64


def word_begins(ids: np.ndarray, word_ids: list[list[int | None]], named: Vocabulary) -> np.ndarray:
    """1 where a token begins a word, uint8; a word has at most `LONGEST_WORD` tokens, and lies in one text.

    Args:
        ids: tokens of texts, one behind the other.
        word_ids: which word each is of, by text.
        named: the vocabulary.
    """
    words = chain.from_iterable(word_ids)
    word = np.fromiter((-1 if one is None else one for one in words), np.int64, len(ids))
    begins = np.ones(len(ids), bool)
    begins[1:] = word[1:] != word[:-1]
    starts = np.cumsum([0, *map(len, word_ids)][:-1])
    begins[starts[starts < len(ids)]] = True
    begins |= named.spaced[ids]  # for vocabularies that cut no words before they cut tokens
    places = np.arange(len(ids))
    start = np.maximum.accumulate(np.where(begins, places, 0))
    return (begins | ((places - start) % LONGEST_WORD == 0)).astype(np.uint8)


def _ends(begins: np.ndarray, limit: int) -> Iterator[int]:
    """Where pieces end: before the beginning of a word, none longer than ``limit``."""
    starts = np.append(np.flatnonzero(begins), len(begins))
    done, total = 0, len(begins)
    while done < total:
        left = total - done
        even = -(-left // -(-left // limit))  # as long as the others, so that the last is no stump
        whole = np.searchsorted(starts, done + even, side="right") - 1
        done = int(starts[max(whole, np.searchsorted(starts, done, side="right"))])  # a word at least
        yield done
