"""What token ids mean: a trained tokenizer file, or that of a model of transformers, read once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from importlib import util
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
        """The number of ids, special ones and gaps between them included: all are below it."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

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
    def meaning(self) -> str:
        """The same for vocabularies in which every id is the same token, whatever else their files say."""
        tokens = sorted(self.tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: (item[1], item[0]))
        return hashlib.blake2b(json.dumps(tokens).encode(), digest_size=16).hexdigest()

    def ordinary(self, id: int) -> str | None:
        """The token that texts may hold under this id; None: it is special, kept free (``[unused1]``), or no id."""
        token = self.tokenizer.id_to_token(id)
        reserved = token is None or id in self.special_ids.values() or re.fullmatch(r"\[.+\]|<.+>", token)
        return None if reserved else token

    @cached_property
    def spaced(self) -> np.ndarray:
        """Of each id, whether its token begins with a blank that it writes itself ``[V]`` bool."""
        tokens = [self.tokenizer.id_to_token(id) or "" for id in range(len(self))]
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


def vocabulary(path: str | Path, cache: Path | None = None) -> Vocabulary:
    """The vocabulary in a file, or of a pretrained model; read once.

    A model without a ``tokenizer.json`` (``vocab.txt`` alone, ``spiece.model``, ...) is read by transformers, once, and
    its tokenizer written to the cache as such a file.

    Args:
        path: a ``tokenizer.json``, a model's folder, or a name of the hub that transformers has in its cache.
        cache: where to write; None: `default_cache`.

    Raises:
        ValueError: there is no such file, or it is no trained tokenizer.
    """
    given, path = str(path), Path(path).expanduser()
    if path.is_dir() and not (path / FILE).is_file():
        changed = max((file.stat().st_mtime_ns for file in path.iterdir() if file.is_file()), default=0)
        path = _converted(str(path.absolute()), changed, cache or default_cache())
    elif path.is_dir():
        path = path / FILE
    elif not path.is_file():
        path = _converted(given, 0, cache or default_cache())
    elif path.name == "vocab.txt" or path.suffix == ".model":
        raise ValueError(f"`tokenizer` must be a `{FILE}` or a folder, but is `{path}`; nearest: `{path.parent}`.")
    return _read(str(path.absolute()), path.stat().st_mtime_ns)


def default_cache() -> Path:
    """``unmask/text`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(f"{home}/unmask/text").expanduser().absolute()


@lru_cache(maxsize=8)
def _converted(name: str, changed: int, cache: Path) -> Path:
    """The ``tokenizer.json`` of what transformers' `AutoTokenizer` reads at ``name``, without the network."""
    from transformers import AutoTokenizer

    refusal = f"`tokenizer` must be a `{FILE}`, or a folder with one or with a tokenizer that transformers reads, but "
    try:
        with _quiet():  # it warns of packages before it fails
            loaded = AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a missing package, a damaged file, a name that is none: all kinds
        if not Path(name).is_dir():
            raise ValueError(f"{refusal}there is none at `{name}`.") from error
        if told := _lacking(Path(name)):
            raise ValueError(f"{refusal}{told}.") from error
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{refusal}`{name}` has none: {reason}") from error
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"{refusal}`{name}` has a {type(loaded).__name__}, which is not of the `tokenizers` library.")
    if len(loaded) <= len(set(loaded.all_special_ids)):  # what it makes of a folder without a vocabulary
        raise ValueError(f"{refusal}there is none at `{name}`.")
    content = backend.to_str()
    file = cache / "vocabularies" / hashlib.blake2b(content.encode(), digest_size=12).hexdigest() / FILE
    if not file.is_file():
        part = file.with_name(f"{FILE}.{os.getpid()}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(content, encoding="utf-8")
            os.replace(part, file)
        except OSError as error:
            raise ValueError(
                f"The cache must be a folder that can be written, but {file.parent} is not: {error}."
            ) from error
    return file


def _lacking(folder: Path) -> str | None:
    """What a folder whose tokenizer cannot be read needs; None: nothing that is known here."""
    model = next(iter(sorted(folder.glob("*.model"))), None)
    if model is not None and util.find_spec("sentencepiece") is None:
        return f"`{model}` needs the package `sentencepiece`: pip install 'unmask-text[sentencepiece]'"
    about = ("config.json", "tokenizer_config.json")
    if (folder / "vocab.txt").is_file() and not any((folder / name).is_file() for name in about):
        return (
            f"`{folder / 'vocab.txt'}` alone does not say what kind it is of; put a `tokenizer_config.json` beside it, "
            'such as {"tokenizer_class": "BertTokenizer", "do_lower_case": true}'
        )
    return None


@lru_cache(maxsize=8)
def _read(path: str, changed: int) -> Vocabulary:
    try:
        return Vocabulary(path)
    except Exception as error:  # the library raises a bare Exception
        reason = " ".join(str(error).split())
        raise ValueError(
            f"`tokenizer` must be a trained tokenizer, a `{FILE}` or its folder, but `{path}` is not one: {reason}."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
