"""Loading: a speech model of transformers, fresh or with its weights, that has a vector for hidden frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, FeatureExtractionMixin, PreTrainedModel

from unmask.api import nearest, quoted

KINDS = ("hubert", "wav2vec2", "wavlm", "data2vec-audio")
"""Kinds of model whose parts have the same names: stem, projection, encoder."""
MASK_TIME_PROB = 0.05
"""transformers' own default. Models have a vector for hidden frames when it is above 0."""


def fresh(settings: dict[str, Any]) -> PreTrainedModel:
    """A model with new weights.

    Raises:
        ValueError: ``settings`` without a ``model_type``, or of another kind.
    """
    settings = dict(settings)
    kind = settings.pop("model_type", None)
    _check(kind, "`model_type` of `config`")
    config = AutoConfig.for_model(kind, **settings)
    return _ready(AutoModel.from_config(config))


def loaded(path: str, options: dict[str, Any]) -> PreTrainedModel:
    """The model at ``path``, with ``options`` in place of its own settings; without its heads.

    Raises:
        ValueError: it is of another kind.
    """
    config = AutoConfig.from_pretrained(path, **options)
    _check(config.model_type, f"The model at {path!r}")
    return _ready(AutoModel.from_pretrained(path, config=config))


def front_end_of(path: str) -> dict[str, Any]:
    """Settings of the feature extractor that belongs to the model at ``path``; empty where none is there."""
    try:
        return FeatureExtractionMixin.get_feature_extractor_dict(path)[0]
    except OSError:
        return {}


def _check(kind: str | None, what: str) -> None:
    if kind not in KINDS:
        near = nearest(kind or "", KINDS)
        raise ValueError(
            f"{what} must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, but is {kind!r}"
            + (f"; nearest: {quoted(near)}." if near else ".")
        )


def _ready(model: PreTrainedModel) -> PreTrainedModel:
    config: Any = model.config
    if getattr(config, "add_adapter", False):
        raise ValueError("`add_adapter` must be false, or there would be fewer codes than frames, but is true.")
    if not hasattr(model, "masked_spec_embed"):
        config.mask_time_prob = MASK_TIME_PROB
        model.masked_spec_embed = nn.Parameter(torch.empty(config.hidden_size).uniform_())  # as transformers does
    return model.train()
