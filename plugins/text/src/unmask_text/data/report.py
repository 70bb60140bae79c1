"""What was found in a corpus: nothing odd is dropped without being counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from unmask.data import Findings

NUM_NAMED = 5
"""Unreadable files that are named; of the others the number is given."""


@dataclass
class Report:
    """Counts of one reading.

    Args:
        num_files: read.
        num_documents: with at least one token.
        num_pieces: what they were cut to.
        num_tokens: of all pieces.
        num_words: likewise.
        num_empty_files: files of 0 bytes, or of blanks alone.
        unreadable_files: what was wrong with the first of them.
        num_unreadable_files: files that could not be opened or read to their end.
        num_unreadable_rows: lines that are no JSON, and rows without a text.
        num_empty_documents: without any token.
        num_one_word_documents: in which nothing can be hidden; probes see them, pretraining does not.
        num_invalid_bytes: that are no UTF-8 (or other encoding asked for); read as U+FFFD.
        num_nuls: NUL characters; read as blanks.
        num_cut_words: places where text without a blank was cut, to bound memory.
        num_unknown_tokens: characters or words that the vocabulary cannot write.
        findings: what else was odd, by a sentence: files and rows that are left out, documents without a label.
    """

    num_files: int = 0
    num_documents: int = 0
    num_pieces: int = 0
    num_tokens: int = 0
    num_words: int = 0
    num_empty_files: int = 0
    unreadable_files: list[str] = field(default_factory=list)
    num_unreadable_files: int = 0
    num_unreadable_rows: int = 0
    num_empty_documents: int = 0
    num_one_word_documents: int = 0
    num_invalid_bytes: int = 0
    num_nuls: int = 0
    num_cut_words: int = 0
    num_unknown_tokens: int = 0
    findings: Findings = field(default_factory=Findings)

    def unreadable(self, what: str) -> None:
        """Count a file that could not be read."""
        self.num_unreadable_files += 1
        if len(self.unreadable_files) < NUM_NAMED:
            self.unreadable_files.append(what)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings and lists; `of` reads it back."""
        return asdict(replace(self, findings=Findings())) | {"findings": self.findings.as_dict()}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """What `as_dict` gave."""
        return cls(**{**plain, "findings": Findings.of(plain["findings"])})

    def __str__(self) -> str:
        files = f"{self.num_files:,} files, " if self.num_files else ""
        tokens = f", {self.num_words:,} words, {self.num_tokens:,} tokens in {self.num_pieces:,} pieces"
        lines = [f"{files}{self.num_documents:,} documents{tokens if self.num_pieces else ''}."]
        return "\n".join([*lines, *self.odd_lines()])

    def odd_lines(self) -> list[str]:
        """A line for each kind of what was odd."""
        lines = []
        odd = [text.format(f"{getattr(self, name):,}") for name, text in _ODD.items() if getattr(self, name)]
        if odd:
            lines.append(f"Odd: {'; '.join(odd)}.")
        if self.unreadable_files:
            more = self.num_unreadable_files - len(self.unreadable_files)
            lines.append(f"Unreadable: {'; '.join(self.unreadable_files)}{f'; and {more:,} more' if more else ''}.")
        return [*lines, *(f"  {line}" for line in self.findings.lines())]


_ODD = {
    "num_empty_files": "{} empty files",
    "num_unreadable_files": "{} files not readable",
    "num_unreadable_rows": "{} rows not readable or without a text",
    "num_empty_documents": "{} documents without a token left out",
    "num_one_word_documents": "{} documents of one word, in which nothing can be hidden, not trained on",
    "num_invalid_bytes": "{} bytes not in the `encoding`, read as U+FFFD",
    "num_nuls": "{} NULs read as blanks",
    "num_cut_words": "{} cuts in text without a blank",
    "num_unknown_tokens": "{} tokens not in the vocabulary",
}
