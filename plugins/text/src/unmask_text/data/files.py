"""Text from files and folders: plain text, JSON lines, CSV and Parquet."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from unmask_text.data.reading import Options, Segment, find_files, read_file
from unmask_text.data.report import Report
from unmask_text.data.text import Moved, TextData


class TextFilesData(TextData):
    """Documents from ``.txt .text .md .rst .jsonl .ndjson .csv .tsv .parquet`` files, also gzipped ones.

    A row of a table is a document; of plain text, ``document`` says what is one. Files given by name are read
    whatever their ending: as plain text, when it is none of those. They may be larger than memory.

    Args:
        paths: files and folders (with all folders below), to pretrain on.
        val_paths: others, for validation; None: a fixed random part of ``paths``.
        probe_paths: labelled ones that probes are fitted on, where ``paths`` have no labels of their own.
        probe_test_paths: labelled ones that probes are scored on; given together with ``probe_paths``.
        document: ``file``, ``paragraph`` (blank lines between) or ``line``, of plain text.
        text_column: column of tables; None: ``text``, or the only one.
        labels: column with the class, or ``folder``: the first folder below the path given; None: no labels.
            Where ``probe_paths`` are given, it tells of them, and ``paths`` need none.
        encoding: of all files; a byte-order mark counts more.

    Raises:
        ValueError: a value outside its range; in `setup`, no such path or column, or no text.

    Further arguments are those of `TextData`.
    """

    def __init__(
        self,
        paths: str | list[str],
        val_paths: str | list[str] | None = None,
        probe_paths: str | list[str] | None = None,
        probe_test_paths: str | list[str] | None = None,
        document: Literal["file", "paragraph", "line"] = "file",
        text_column: str | None = None,
        labels: str | None = None,
        encoding: str = "utf-8",
        tokenizer: str | None = None,
        vocab_size: int = 8000,
        kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece",
        lowercase: bool = True,
        max_length: int = 128,
        batch_size: int = 32,
        tokens_per_batch: int | None = None,
        pack: bool = True,
        val_ratio: float = 0.05,
        cache_folder: str | None = None,
        num_workers: int | None = 0,
        val_batch_size: int | None = None,
        drop_last: bool = True,
    ) -> None:
        if document not in ("file", "paragraph", "line"):
            raise ValueError(f"`document` must be 'file', 'paragraph' or 'line', but is {document!r}.")
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise ValueError(f"`encoding` must be one that Python knows, but is {encoding!r}.") from error
        if (probe_paths is None) != (probe_test_paths is None):
            raise ValueError("`probe_paths` and `probe_test_paths` must be given together.")
        if probe_paths is not None and labels is None:
            raise ValueError("`labels` must say where the classes of `probe_paths` are, but is None.")
        super().__init__(
            tokenizer, vocab_size, kind, lowercase, max_length, batch_size, tokens_per_batch, pack, val_ratio,
            cache_folder, num_workers, val_batch_size, drop_last,
        )  # fmt: skip
        self.paths = {"train": paths, "val": val_paths, "probe_train": probe_paths, "probe_test": probe_test_paths}
        self.options = Options(document, text_column, labels, encoding)

    def sources(self) -> dict[str, Any]:
        probed = self.paths["probe_train"] is not None
        sources = {}
        for part, given in self.paths.items():
            if given is not None:
                listed = [given] if isinstance(given, str) else list(given)
                report = Report()
                files = [
                    [str(path.absolute()), str(root.absolute()), path.stat().st_size, path.stat().st_mtime_ns]
                    for path, root in find_files(listed, report)
                ]
                labels = None if probed and not part.startswith("probe") else self.options.labels
                options = self.options._replace(labels=labels)._asdict()
                sources[part] = {"files": files, "options": options, "num_ignored_files": report.num_ignored_files}
        return sources

    def read(self, source: Any, report: Report, moved: Moved) -> Iterator[Segment]:
        report.num_ignored_files = source["num_ignored_files"]
        total = max(sum(size for _, _, size, _ in source["files"]), 1)
        done = 0
        for path, root, size, _ in source["files"]:
            so_far = done
            yield from read_file(
                Path(path), Path(root), Options(**source["options"]), report,
                lambda read: moved((so_far + read) / total),  # noqa: B023  called before the next file is opened
            )  # fmt: skip
            done += size
            moved(done / total)
