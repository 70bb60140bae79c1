"""Training a vocabulary: WordPiece, BPE of bytes, or Unigram, by the `tokenizers` library."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens of a vocabulary trained here: their ids are 0 to 4."""
KINDS = ("wordpiece", "bpe", "unigram")
ALPHABET = 1000
"""Letters that a WordPiece vocabulary knows at most: the most frequent; words with others are unknown."""
LEAST = {"wordpiece": 100, "bpe": 256 + len(SPECIAL), "unigram": 100}


def train_tokenizer(
    texts: Callable[[], Iterable[str]], vocab_size: int = 8000, kind: str = "wordpiece", lowercase: bool = True
) -> Tokenizer:
    """A vocabulary of ``texts``, of which only words and their counts are kept in memory.

    The same texts give the same ``wordpiece`` and ``bpe`` file. The library sums Unigram's probabilities in an
    order of its own each time, so there a few of the rarest pieces may differ.

    Args:
        texts: gives the texts from the beginning, in any portions; called twice for ``wordpiece``, else once.
        vocab_size: ids at most, special ones included; fewer where the texts do not give as many.
        kind: ``wordpiece`` (BERT), ``bpe`` of bytes (RoBERTa: no character is unknown) or ``unigram``
            (T5, DeBERTa-v3; a word is all between two blanks).
        lowercase: throw case and accents away, as BERT's uncased models do; for ``bpe`` and
            ``unigram`` case alone.

    Raises:
        ValueError: another kind, or fewer ids than it or the letters of the texts need.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, but is {kind!r}.")
    if vocab_size < LEAST[kind]:
        raise ValueError(f"`vocab_size` must be at least {LEAST[kind]} for {kind}, but is {vocab_size}.")
    build = {"wordpiece": _wordpiece, "bpe": _bpe, "unigram": _unigram}[kind]
    return build(texts, lowercase, {"vocab_size": vocab_size, "show_progress": False})


def _wordpiece(texts: Callable[[], Iterable[str]], lowercase: bool, options: dict[str, Any]) -> Tokenizer:
    def shell(model: models.WordPiece) -> Tokenizer:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    tokenizer = shell(models.WordPiece(unk_token="[UNK]"))
    # The trainer numbers letters inside of words in an order of chance, on which it then decides between
    # equally frequent pairs. Given as special tokens they have an order, and lose that mark afterwards.
    count: Counter[str] = Counter()
    for text in texts():
        count.update(tokenizer.normalizer.normalize_str(text))
    blank = [letter for letter in count if letter.isspace()]
    letters = sorted(count.keys() - set(blank), key=lambda letter: (-count[letter], letter))
    letters = letters[: min(ALPHABET, (options["vocab_size"] - len(SPECIAL)) // 4)]
    inside = [f"##{letter}" for letter in sorted(letters)]
    trainer = trainers.WordPieceTrainer(
        special_tokens=[*SPECIAL, *inside], initial_alphabet=sorted(letters), limit_alphabet=len(letters), **options
    )
    tokenizer.train_from_iterator(texts(), trainer)
    trained = shell(models.WordPiece(tokenizer.get_vocab(with_added_tokens=True), unk_token="[UNK]"))
    trained.add_special_tokens(list(SPECIAL))
    return trained


def _bpe(texts: Callable[[], Iterable[str]], lowercase: bool, options: dict[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(special_tokens=list(SPECIAL), initial_alphabet=alphabet, **options)
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def _unigram(texts: Callable[[], Iterable[str]], lowercase: bool, options: dict[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else [])])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(special_tokens=list(SPECIAL), unk_token="[UNK]", **options)
    try:
        tokenizer.train_from_iterator(texts(), trainer)
    except Exception as error:  # the library raises a bare Exception
        if "vocabulary is not large enough" not in str(error):
            raise
        letters = len({letter for text in texts() for letter in text})
        raise ValueError(
            f"`vocab_size` must be about {letters + len(SPECIAL)} or more for the letters of these texts, "
            f"but is {options['vocab_size']}."
        ) from error
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    tokenizer.save(str(part))
    os.replace(part, path)
