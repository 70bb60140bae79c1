"""What a text model and its data must agree on: what ids mean, how many there are, and how long documents may be."""

from __future__ import annotations

from typing import Any

import lightning as L

from unmask.agreements import Agreement
from unmask_text.data.text import SHORTEST, Expected, TextData
from unmask_text.encoders import TransformersEncoder
from unmask_text.vocabulary import Vocabulary, vocabulary

KEY = "text.vocabulary"
"""Of what checkpoints keep: the vocabulary that a model was trained with."""


class SameVocabulary(Agreement):
    """The ids of the data mean the tokens that the model knows: those of its pretrained weights, of its checkpoint, of
    its `tokenizer.file`. Without `data.tokenizer`, the data is read with that vocabulary; another one is refused.
    """

    between = ("data.tokenizer", "model.pretrained")
    otherwise = "made to agree"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if not isinstance(data, TextData):
            return None
        told = _as_pretrained(model, data)
        kept = getattr(model, "agreed", {}).get(KEY)
        if kept is not None:
            data.expect(Expected(kept["meaning"], kept["file"], "the model's checkpoint"))
        file = getattr(getattr(model, "tokenizer", None), "file", None)
        if isinstance(file, str):
            data.expect(Expected(vocabulary(file).meaning, file, "`model.tokenizer.file`"))
        return told


class CheckpointVocabulary(Agreement):
    """A checkpoint keeps a fingerprint of its vocabulary. A run that goes on with another one, because the corpus that
    it was trained on has changed, is refused.
    """

    between = ("data.tokenizer", "ckpt_path")
    otherwise = "refused"
    reads_data = True
    remembers = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        agreed = getattr(model, "agreed", None)
        if not isinstance(data, TextData) or _encoder(model) is None or agreed is None:
            return None
        named = vocabulary(data.tokenizer)
        kept = agreed.setdefault(KEY, {"meaning": named.meaning, "file": named.path})
        if kept["meaning"] != named.meaning:
            raise ValueError(
                f"`data.tokenizer` must be the vocabulary that the checkpoint was trained with, {kept['file']}, but "
                f"the data's is another, {named.path}: its ids mean other tokens. Give the checkpoint's to go on."
            )
        return None


class EnoughEmbeddings(Agreement):
    """The model has an embedding for every id of the vocabulary: a given vocabulary with more ids is refused, and one
    that is trained gets as many ids as there are embeddings.
    """

    between = ("data.vocab_size", "model.vocab_size")
    otherwise = "made to agree"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        encoder = _encoder(model)
        if not isinstance(data, TextData) or encoder is None:
            return None
        rows, named = len(encoder.embedding), _known(encoder, data)
        if named is not None and len(named) > rows:
            raise ValueError(
                f"`model.vocab_size` must be at least {len(named):,}, the ids of `data.tokenizer` ({named.path}), "
                f"but is {rows:,}."
            )
        if named is not None or data.vocab_size <= rows:
            return None
        given = data.vocab_size
        data.vocab_size = data.settled["vocab_size"] = rows
        if KEY in getattr(model, "agreed", {}):  # said when it was trained
            return None
        return (
            f"The vocabulary gets {rows:,} ids instead of {given:,} (`data.vocab_size`), because the model has as many "
            "embeddings (`model.vocab_size`)."
        )


class UnusedEmbeddings(Agreement):
    """The vocabulary uses at least half of the model's embeddings; if not, that is told."""

    between = ("data.vocab_size", "model.vocab_size")
    otherwise = "told"
    reads_data = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        encoder = _encoder(model)
        if not isinstance(data, TextData) or encoder is None:
            return None
        rows, ids = len(encoder.embedding), len(vocabulary(data.tokenizer))
        if 2 * ids >= rows:
            return None
        return (
            f"The vocabulary has {ids:,} ids: most of the model's {rows:,} embeddings (`model.vocab_size`) are unused."
        )


class SpecialIds(Agreement):
    """The ids that the model takes for class, separator, [MASK] and padding are those of no other token of the
    vocabulary.
    """

    between = ("data.tokenizer", "model.encoder")
    otherwise = "refused"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        encoder = _encoder(model)
        named = _known(encoder, data) if isinstance(data, TextData) and encoder is not None else None
        if encoder is None or named is None:
            return None
        ids: dict[str, Any] = {"cls_id": encoder.cls_id, "sep_id": encoder.sep_id, "mask_id": encoder.mask_id}
        if encoder.source is None:
            ids["pad_token_id"] = getattr(encoder.model.get_input_embeddings(), "padding_idx", None)
        for name, id in ids.items():
            token = None if id is None else named.ordinary(id)
            if token is not None:
                special = ", ".join(f"{written} {number}" for written, number in named.special_ids.items())
                raise ValueError(
                    f"`{name}` of the model's encoder must be the id of a special token of `data.tokenizer` "
                    f"({special}), but {id} is {token!r} there; give `model.encoder` with its ids, or leave "
                    "`data.tokenizer` out."
                )
        return None


class LongEnough(Agreement):
    """Documents are at most as long as the model has positions; of a pretrained one see `PretrainedLength`."""

    between = ("data.max_length", "model.max_length")
    otherwise = "refused"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        encoder = _encoder(model)
        if not isinstance(data, TextData) or encoder is None or encoder.max_length is None:
            return None
        if data.max_length > encoder.max_length and (encoder.source is None or encoder.max_length < SHORTEST):
            raise ValueError(
                f"`data.max_length` must be at most {encoder.max_length}, the model's positions (`model.max_length`), "
                f"but is {data.max_length}."
            )
        return None


class PretrainedLength(Agreement):
    """Pretrained weights have positions of their own: documents are cut to as many tokens, where more are asked for."""

    between = ("data.max_length", "model.pretrained")
    otherwise = "made to agree"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        encoder = _encoder(model)
        if not isinstance(data, TextData) or encoder is None or encoder.source is None or encoder.max_length is None:
            return None
        given, longest = data.max_length, encoder.max_length
        if given <= longest or longest < SHORTEST:
            return None
        data.shorten(longest)
        return (
            f"Documents are cut to {longest:,} tokens instead of {given:,} (`data.max_length`), the positions of the "
            f"pretrained model {encoder.source}."
        )


class PretrainedSizes(Agreement):
    """Pretrained weights have sizes of their own; others that are given beside them are not used, which is told."""

    between = ("model.size", "model.pretrained")
    otherwise = "told"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        encoder = _encoder(model)
        if encoder is None or not encoder.unused:
            return None
        given = ", ".join(f"`model.{name}` {_written(value)}" for name, (value, _) in encoder.unused.items())
        own = ", ".join(f"{name} {_written(value)}" for name, (_, value) in encoder.unused.items())
        return f"The sizes are those of the pretrained model {encoder.source} ({own}); not used: {given}."


def _as_pretrained(model: L.LightningModule, data: TextData) -> str | None:
    """Gives the data the tokenizer of the model's pretrained weights, or compares both."""
    encoder = _encoder(model)
    if encoder is None or encoder.source is None:
        return None
    own, reason = _own(encoder.source, data)
    if data.given_tokenizer is None:
        if own is None:
            raise ValueError(f"`data.tokenizer` must be given, because the pretrained model has none: {reason}")
        data.use(own.path)
        return f"The data is read with the tokenizer of the pretrained model {encoder.source} ({len(own):,} ids)."
    if own is None:
        return (
            f"The pretrained model {encoder.source} has no tokenizer, so nothing tells whether the ids of "
            f"`data.tokenizer` ({data.given_tokenizer}) are its own."
        )
    given = vocabulary(data.tokenizer)
    if given.meaning != own.meaning:
        raise ValueError(
            f"`data.tokenizer` must have the vocabulary of the pretrained model {encoder.source} ({len(own):,} ids), "
            f"but {data.given_tokenizer} has another ({len(given):,} ids); leave it out to use the model's own."
        )
    return None


def _known(encoder: TransformersEncoder, data: TextData) -> Vocabulary | None:
    """The vocabulary that the data must have beside pretrained weights, or has been given; None: one is trained."""
    own = None if encoder.source is None else _own(encoder.source, data)[0]
    return vocabulary(data.tokenizer) if own is None and data.given_tokenizer is not None else own


def _own(source: str, data: TextData) -> tuple[Vocabulary | None, str]:
    try:
        return vocabulary(source, data.cache), ""
    except ValueError as error:
        return None, str(error)


def _encoder(model: Any) -> TransformersEncoder | None:
    encoder = getattr(model, "encoder", None)
    return encoder if isinstance(encoder, TransformersEncoder) else None


def _written(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
