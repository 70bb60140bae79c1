"""What token ids mean: a trained tokenizer file, read once."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as TokenizersTokenizer
from tokenizers import models

FILE = "tokenizer.json"
LONGEST_WORD = 16
"""Tokens in a word at most. A longer run without a boundary (a URL, a script that writes no blanks) counts
as several words, so that a word is always few tokens and a document of one such run can still be masked."""


class Vocabulary:
    """A ``tokenizer.json``, with the texts of its tokens and its special ids.

    Args:
        path: the file.

    Attributes:
        tokenizer: of the `tokenizers` library, without padding, truncation or special tokens.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.tokenizer = TokenizersTokenizer.from_file(path)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # a text that says "[MASK]" has not got one

    def __len__(self) -> int:
        """The number of ids, special ones included."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Ids of special tokens by what they are written as: ``{"[PAD]": 0, ...}``."""
        added = self.tokenizer.get_added_tokens_decoder()
        return {token.content: id for id, token in sorted(added.items()) if token.special}

    @cached_property
    def unknown_id(self) -> int | None:
        """The id that stands for what cannot be written; None: everything can."""
        token = getattr(self.tokenizer.model, "unk_token", None)
        if token is None:  # Unigram knows the id alone
            unknown = json.loads(self.tokenizer.to_str())["model"].get("unk_id")
            return None if unknown is None else int(unknown)
        return self.tokenizer.token_to_id(token)

    @cached_property
    def fingerprint(self) -> str:
        """The same for files of the same content."""
        return hashlib.blake2b(Path(self.path).read_bytes(), digest_size=16).hexdigest()

    @cached_property
    def spaced(self) -> np.ndarray:
        """Of each id, whether its token begins with a blank that it writes itself ``[V]`` bool."""
        tokens = [self.tokenizer.id_to_token(id) or "" for id in range(max(self.tokenizer.get_vocab().values()) + 1)]
        return np.array([token.startswith(("▁", "Ġ")) for token in tokens], dtype=bool)

    @lru_cache(maxsize=2**17)  # noqa: B019  a vocabulary lives as long as the program
    def piece(self, id: int) -> tuple[str, bool]:
        """The text of one token, and whether a blank comes before it."""
        token = self.tokenizer.id_to_token(id)
        if token is None:
            return f"#{id}", True
        if id in self.special_ids.values():
            return token, True
        model = self.tokenizer.model
        if isinstance(model, models.WordPiece):
            prefix = model.continuing_subword_prefix
            return token.removeprefix(prefix), not token.startswith(prefix)
        text = token.replace("▁", " ") if token.startswith("▁") else self.tokenizer.decode([id], False)
        if token.startswith("Ġ") and not text.startswith(" "):  # some decoders strip the first blank
            text = " " + text
        return text.removeprefix(" "), text.startswith(" ")

    def words(self, ids: list[int], number: list[int]) -> list[str]:
        """The words of one document, one text each.

        Args:
            ids: tokens.
            number: which word each belongs to.
        """
        groups: dict[int, list[int]] = {}
        for id, word in zip(ids, number, strict=True):
            groups.setdefault(word, []).append(id)
        return ["".join(self.piece(id)[0] for id in group) for group in groups.values()]


def vocabulary(path: str | Path) -> Vocabulary:
    """The vocabulary in a file, or in the folder of a pretrained model; read once.

    Raises:
        ValueError: there is no such file, or it is no trained tokenizer.
    """
    path = Path(path).expanduser()
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"`tokenizer` must be a `{FILE}`, or a folder with one, but there is none at `{path}`.")
    return _read(str(path.absolute()), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: str, changed: int) -> Vocabulary:
    try:
        return Vocabulary(path)
    except Exception as error:  # the library raises a bare Exception
        reason = " ".join(str(error).split())
        raise ValueError(f"`tokenizer` must be a trained tokenizer, but `{path}` is not one: {reason}.") from error
