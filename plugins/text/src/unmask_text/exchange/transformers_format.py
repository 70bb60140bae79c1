"""Encoders, with or without their heads, in the folders that transformers' ``from_pretrained`` reads."""

from __future__ import annotations

import inspect
import json
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging

from unmask import MaskedModel
from unmask.api import Export, Format, State
from unmask_text.encoders import TransformersEncoder
from unmask_text.encoders.dense import LENGTHS, DenseEncoder, made_up, padded_documents
from unmask_text.exchange.names import HEADS, TWICE, to_transformers
from unmask_text.exchange.tokenizer_files import check_tokenizer, save_tokenizer_of, vocabulary_of
from unmask_text.heads.discriminator import DiscriminatorHead
from unmask_text.heads.vocabulary import VocabularyHead

TOLERANCE = 1e-5
"""Largest difference from our codes, over the largest of them; seen are some 1e-7 in float32."""
INNER, PREDICTOR = "encoder.model.", "predictor."
_NOTHING = torch.empty(0)


class _Folder(Format):
    @abstractmethod
    def auto(self, model: MaskedModel) -> str:
        """The class of transformers that reads the folder."""

    @abstractmethod
    def filled(self, model: MaskedModel) -> Any:
        """A model of transformers with our weights."""

    def refusal(self, model: MaskedModel) -> str | None:
        encoder = model.embedder.encoder
        if isinstance(encoder, TransformersEncoder):
            return None
        return f"It is for encoders of transformers, but here is {type(encoder).__name__}; nearest: `safetensors`."

    def save(self, export: Export, out: Path) -> str:
        encoder = encoder_of(export.model)
        known = vocabulary_of(export)
        with quiet():
            self.filled(export.model).save_pretrained(out)
            save_tokenizer_of(encoder, known, out)
            read = getattr(transformers, self.auto(export.model)).from_pretrained(out).base_model.eval()
        difference = _difference(encoder, read)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{type(read).__name__} must compute the encoder's codes, but differs by {difference:.2g} of them."
            )
        return (
            f"{self.auto(export.model)}.from_pretrained: codes within {difference:.2g} of the encoder's largest; "
            f"{check_tokenizer(encoder, known, out)}"
        )

    def usage(self, export: Export, out: Path) -> str:
        auto, kind = self.auto(export.model), type(encoder_of(export.model).model)
        pooler = auto == "AutoModel" and "add_pooling_layer" in inspect.signature(kind).parameters
        return (
            f"from transformers import {auto}, AutoTokenizer\n\n"
            f"model = {auto}.from_pretrained({str(out)!r}{', add_pooling_layer=False' if pooler else ''})\n"
            f"tokenizer = AutoTokenizer.from_pretrained({str(out)!r})"
        )

    def check(self, source: Path, model: MaskedModel) -> list[str]:
        theirs, encoder = _json(source / "config.json"), model.encoder
        if not isinstance(encoder, TransformersEncoder):
            return []
        for key in ("model_type", "num_attention_heads", "hidden_act", "position_embedding_type"):  # no size tells
            own = getattr(encoder.model.config, key, None)
            if own is not None and key in theirs and theirs[key] != own:
                raise ValueError(
                    f"`{key}` must be {own!r}, as the config's encoder has it, but in `{source / 'config.json'}` it is "
                    f"{theirs[key]!r}."
                )
        return [
            "The ids of these weights are those of their own tokenizer: give `--data.tokenizer` the folder "
            f"`{source}` wherever the run reads text."
        ]


class Transformers(_Folder):
    """A folder for ``AutoModel`` and ``AutoTokenizer``: the encoder, its config and its tokenizer."""

    def auto(self, model: MaskedModel) -> str:
        return "AutoModel"

    def filled(self, model: MaskedModel) -> Any:
        return DenseEncoder(encoder_of(model)).model

    def load(self, weights: State, model: MaskedModel) -> State:
        own = model.state_dict()
        return {new if (new := INNER + _today(name)) in own else name: tensor for name, tensor in weights.items()}


class TransformersPretraining(_Folder):
    """A folder for ``AutoModelForMaskedLM`` or ``ElectraForPreTraining``: the encoder, its head and its tokenizer."""

    def refusal(self, model: MaskedModel) -> str | None:
        told = super().refusal(model)
        if told is not None:
            return told
        kind, head = encoder_of(model).model.config.model_type, model.predictor
        fits = kind in HEADS if isinstance(head, VocabularyHead) else isinstance(head, DiscriminatorHead)
        if fits and model.embedder.encoder is model.encoder:
            return None
        return (
            f"transformers has no pretraining model of {kind} with a {type(head).__name__}; nearest: "
            "`text.transformers`, the encoder alone."
        )

    def auto(self, model: MaskedModel) -> str:
        return "ElectraForPreTraining" if isinstance(model.predictor, DiscriminatorHead) else "AutoModelForMaskedLM"

    def filled(self, model: MaskedModel) -> Any:
        encoder = encoder_of(model)
        made: Any = getattr(transformers, self.auto(model))
        config = type(encoder.model.config).from_dict(encoder.model.config.to_dict())
        config.tie_word_embeddings = getattr(model.predictor, "table", encoder.embedding) is encoder.embedding
        theirs = made(config) if hasattr(made, "forward") else made.from_config(config)
        theirs.to(encoder.embedding.dtype)
        given = {name: tensor.detach().cpu() for name, tensor in to_transformers(model).items()}
        fit = theirs.load_state_dict(given, strict=False)
        left = [name for name in fit.missing_keys if not name.endswith(("position_ids", "token_type_ids"))]
        if fit.unexpected_keys or left:
            raise ValueError(
                f"{type(theirs).__name__} must have a place for every tensor and no other, but differs in "
                f"{[*fit.unexpected_keys, *left][:3]}."
            )
        return theirs

    def load(self, weights: State, model: MaskedModel) -> State:
        names = {theirs: ours for ours in model.state_dict() for theirs in to_transformers(model, {ours: _NOTHING})}
        names |= {twice: names[one] for one, twice in TWICE.items() if one in names}
        out = {names.get(_today(name), name): tensor for name, tensor in weights.items()}
        table = getattr(model.predictor, "table", None)
        if table is not None and table is encoder_of(model).embedding:  # written once
            shared = next((out[name] for name, x in model.named_parameters() if x is table and name in out), None)
            if shared is not None:
                out.setdefault(f"{PREDICTOR}table", shared)
        return out


def encoder_of(model: MaskedModel) -> TransformersEncoder:
    """The encoder that travels."""
    encoder = model.embedder.encoder
    assert isinstance(encoder, TransformersEncoder)
    return encoder


@contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars and reports of what a model leaves out on purpose."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@torch.no_grad()
def _difference(encoder: TransformersEncoder, theirs: Any) -> float:
    """Largest between codes of documents of several lengths, over the largest code; nothing is hidden."""
    tokens = made_up(encoder, LENGTHS)
    latent = encoder(tokens)
    batch = padded_documents(encoder, tokens)
    got = theirs(input_ids=batch["ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    real = batch["attention_mask"].cumsum(1) * batch["attention_mask"]  # 1, 2, ... of each document
    inner = (real > 1) & (real < real.amax(1, keepdim=True))
    pairs = [(got[inner], latent.values), (got[:, 0], latent.prefix[:, 0])]
    largest = latent.values.abs().max()
    return max(((mine - other).abs().max() / largest).item() for other, mine in pairs)


def _today(name: str) -> str:
    """What a tensor of BERT's first release is called now."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
