"""The nearest valid choices to a misspelt word, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """The choices most like ``word``, best first, ignoring case."""
    lower: dict[str, str] = {}
    for choice in choices:
        lower.setdefault(choice.lower(), choice)
    found = difflib.get_close_matches(word.lower(), lower, n=count, cutoff=0.6)
    if not found:  # a part of a longer name, such as "that" of "this.that"
        found = [c for c in lower if len(word) > 2 and word.lower() in c][:count]
    if not found:  # a misspelt part: compare with the last part of each
        tails = {c.replace("/", ".").rpartition(".")[2]: c for c in lower}
        found = [tails[tail] for tail in difflib.get_close_matches(word.lower(), tails, n=count, cutoff=0.6)]
    return [lower[choice] for choice in found]


def quoted(words: Iterable[str]) -> str:
    """`a`, `b`, `c`."""
    return ", ".join(f"`{word}`" for word in words)
