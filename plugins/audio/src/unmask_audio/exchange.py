"""Speech encoders, with or without wav2vec 2.0's heads, in the folders that transformers' ``from_pretrained`` reads."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from unmask import MaskedModel
from unmask.api import Export, Format, State
from unmask.predictors import LinearPredictor

if TYPE_CHECKING:  # every export asks every format, and should not wait seconds for transformers
    from transformers import PreTrainedModel

TOLERANCE = 1e-4
"""Largest difference from our codes, over the largest of them; seen are some 1e-6 in float32."""
NUM_FRAMES = 30
"""Of the wave that codes are compared on."""
OLD_NAMES = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
"""Of the weight-normed positions in older files, and what they are called now."""
NO_TENSORS = (
    "model_type", "num_attention_heads", "hidden_act", "feat_extract_activation", "feat_extract_norm", "conv_stride",
    "do_stable_layer_norm", "layer_norm_eps", "num_buckets", "max_bucket_distance",
)  # fmt: skip
"""Settings that change codes and no tensor's size."""
ENCODER = ("encoder.model.", "wav2vec2.")
ENTRIES = ("target.quantizer.entries", "quantizer.codevectors")
HEADS = (
    ("predictor.head.", "project_hid."),
    ("target.proj.", "project_q."),
    ("target.quantizer.score.", "quantizer.weight_proj."),
)
"""Our names of wav2vec 2.0's parts, and those of ``Wav2Vec2ForPreTraining``."""


class Transformers(Format):
    """``HubertModel``, ``Wav2Vec2Model``, ``WavLMModel`` or ``Data2VecAudioModel``, with its feature extractor."""

    def refusal(self, model: MaskedModel) -> str | None:
        if _is(model.embedder.encoder, "encoders.speech", "SpeechEncoder"):
            return None
        return (
            f"`audio.transformers` holds encoders of waves (`audio.speech`), but the encoder is a "
            f"{type(model.embedder.encoder).__name__}; nearest: `safetensors`."
        )

    def save(self, export: Export, out: Path) -> str:
        from transformers import Wav2Vec2FeatureExtractor

        from unmask_audio.speech.tokenizer import WaveTokenizer

        embedder = export.model.embedder
        encoder, tokenizer = cast(Any, embedder.encoder), cast(Any, embedder.tokenizer)
        theirs = self.made(export.model)
        with _quiet():
            theirs.save_pretrained(out)
        Wav2Vec2FeatureExtractor(
            sampling_rate=tokenizer.sample_rate, do_normalize=tokenizer.normalize, return_attention_mask=True
        ).save_pretrained(out)

        with _quiet():
            read = type(theirs).from_pretrained(out)
        rng = torch.Generator().manual_seed(0)
        wave = torch.randn(2, encoder.window + (NUM_FRAMES - 1) * encoder.hop, generator=rng)
        with torch.no_grad():
            own = encoder(WaveTokenizer(encoder.window, encoder.hop, normalize=False)(wave)).values
            found = getattr(read, read.base_model_prefix, read)(wave.to(read.dtype)).last_hidden_state
        difference = float((own - found).abs().max() / own.abs().max())
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{type(read).__name__} must compute the encoder's codes, but differs by {difference:.2g} of them."
            )
        return f"{type(read).__name__}.from_pretrained: codes within {difference:.2g} of the encoder's largest."

    def made(self, model: MaskedModel) -> PreTrainedModel:
        """The model of transformers, with weights, in evaluation mode."""
        return copy.deepcopy(_inner(model))

    def usage(self, export: Export, out: Path) -> str:
        name = type(self.made(export.model)).__name__
        return (
            f"from transformers import {name}, Wav2Vec2FeatureExtractor\n\n"
            f"model = {name}.from_pretrained({str(out)!r})\n"
            f"extractor = Wav2Vec2FeatureExtractor.from_pretrained({str(out)!r})"
        )

    def load(self, weights: State, model: MaskedModel) -> State:
        names = _inner(model).state_dict().keys()
        return {f"encoder.model.{_new(old)}" if _new(old) in names else old: x for old, x in weights.items()}

    def check(self, source: Path, model: MaskedModel) -> list[str]:
        config, ours = _json(source / "config.json"), _inner(model).config
        for key in NO_TENSORS:
            own = getattr(ours, key, None)
            own = list(own) if isinstance(own, tuple) else own
            if config.get(key, own) != own:
                raise ValueError(
                    f"`{key}` must be {own!r}, as the config's encoder has it, but in {source / 'config.json'} it is "
                    f"{config[key]!r}."
                )
        tokenizer, cautions = model.embedder.tokenizer, []
        extractor = _json(source / "preprocessor_config.json")
        for key, name in (("sampling_rate", "sample_rate"), ("do_normalize", "normalize")):
            own = getattr(tokenizer, name, None)
            if extractor.get(key, own) != own:
                cautions.append(
                    f"`{name}` of the tokenizer is {own}, but the weights were trained with `{key}` {extractor[key]}."
                )
        return cautions


class TransformersPretraining(Transformers):
    """``Wav2Vec2ForPreTraining``: the encoder with quantiser and projections."""

    def refusal(self, model: MaskedModel) -> str | None:
        fits = _is(model, "methods.wav2vec2", "Wav2Vec2") and isinstance(model.predictor, LinearPredictor)
        if fits and _inner(model).config.model_type == "wav2vec2":
            return None
        return (
            "`audio.transformers-pretraining` holds `audio.wav2vec2` with an encoder of that kind and a linear "
            "predictor, but this is another model; nearest: `audio.transformers`, `safetensors`."
        )

    def made(self, model: MaskedModel) -> PreTrainedModel:
        from transformers import Wav2Vec2ForPreTraining

        method, config = cast(Any, model), cast(Any, copy.deepcopy(_inner(model).config))
        num_codebooks, num_entries, share = method.target.quantizer.entries.shape
        config.num_codevector_groups, config.num_codevectors_per_group = num_codebooks, num_entries
        config.codevector_dim, config.proj_codevector_dim = num_codebooks * share, method.target.proj.out_features
        config.num_negatives, config.contrastive_logits_temperature = method.loss.num_negatives, method.loss.temperature
        config.diversity_loss_weight = method.diversity_weight
        theirs = Wav2Vec2ForPreTraining(config).eval()
        theirs.load_state_dict(to_transformers(model), strict=True)
        return theirs

    def load(self, weights: State, model: MaskedModel) -> State:
        ours = {theirs: own for own, theirs in _names(model).items()}
        found: State = {}
        for old, tensor in weights.items():
            own = ours.get(_new(old))
            shape = None if own is None else model.state_dict()[own].shape
            fits = own == ENTRIES[0] and shape is not None and shape.numel() == tensor.numel()
            found[own or old] = tensor.view(shape) if fits and shape is not None else tensor
        return found


def to_transformers(model: MaskedModel, state: State | None = None) -> State:
    """Weights of a `Wav2Vec2` as a state dict of ``Wav2Vec2ForPreTraining``.

    Args:
        model: tells the names.
        state: ``model.state_dict()``, or gradients by the same names; None: the former.
    """
    state = model.state_dict() if state is None else state
    names = _names(model)
    return {names[own]: x.flatten(0, 1)[None] if own == ENTRIES[0] else x for own, x in state.items() if own in names}


def _names(model: MaskedModel) -> dict[str, str]:
    """What tensors of ``model.state_dict()`` are called in ``Wav2Vec2ForPreTraining``."""
    found = {ENTRIES[0]: ENTRIES[1]}
    for own in model.state_dict():
        for ours, theirs in (ENCODER, *HEADS):
            if own.startswith(ours):
                found[own] = theirs + own.removeprefix(ours)
    return found


def _is(part: Any, module: str, name: str) -> bool:
    """Whether ``part`` is of a class of this package; one whose module nobody imported has no instances."""
    found = sys.modules.get(f"unmask_audio.{module}")
    return found is not None and isinstance(part, getattr(found, name))


def _inner(model: MaskedModel) -> PreTrainedModel:
    return cast(Any, model.embedder.encoder).model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars."""
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bar:
            logging.enable_progress_bar()


def _new(name: str) -> str:
    """A tensor's name in today's transformers."""
    for old, new in OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
