"""Weights to and from transformers' masked language models: BERT, RoBERTa, ModernBERT, ELECTRA, DeBERTa.

Names are those of transformers 5. The encoder is transformers' own, so only the names around it
differ; the map only renames, so it serves gradients as well as weights.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from unmask import MaskedModel

State = dict[str, Tensor]

CLS_HEAD = {
    "dense.": "cls.predictions.transform.dense.",
    "norm.": "cls.predictions.transform.LayerNorm.",
    "table": "cls.predictions.decoder.weight",
    "bias": "cls.predictions.bias",
}
LM_HEAD = {
    "dense.": "lm_head.dense.",
    "norm.": "lm_head.layer_norm.",
    "table": "lm_head.decoder.weight",
    "bias": "lm_head.bias",
}
HEADS = {  # by model type: what our vocabulary head's weights are called in transformers' ...ForMaskedLM
    "bert": CLS_HEAD,
    "deberta": CLS_HEAD,
    "deberta-v2": CLS_HEAD,
    "roberta": LM_HEAD,
    "xlm-roberta": LM_HEAD,
    "camembert": LM_HEAD,
    "electra": {
        "dense.": "generator_predictions.dense.",
        "norm.": "generator_predictions.LayerNorm.",
        "table": "generator_lm_head.weight",
        "bias": "generator_lm_head.bias",
    },
    "modernbert": {"dense.": "head.dense.", "norm.": "head.norm.", "table": "decoder.weight", "bias": "decoder.bias"},
}
TWICE = {"cls.predictions.bias": "cls.predictions.decoder.bias", "lm_head.bias": "lm_head.decoder.bias"}
"""Weights that transformers' models have under two names."""
DISCRIMINATOR_HEAD = {
    "dense.": "discriminator_predictions.dense.",
    "score.": "discriminator_predictions.dense_prediction.",
}


def to_transformers(model: MaskedModel, state: State | None = None) -> State:
    """Weights of an `MLM` as a state dict of its kind's ``...ForMaskedLM``; of an `ELECTRA`, of
    ``ElectraForPreTraining`` (see `generator_to_transformers` for its other half).

    Args:
        model: tells which kind.
        state: ``model.state_dict()``, or gradients by the same names; None: the former.

    Raises:
        ValueError: a kind of model whose head has no counterpart here.
    """
    return _renamed(model, model.encoder, model.predictor, "encoder.model.", "predictor.", state)


def generator_to_transformers(model: MaskedModel, state: State | None = None) -> State:
    """Weights of an `ELECTRA`'s generator as a state dict of ``ElectraForMaskedLM``; as `to_transformers`."""
    generator = cast(Any, model).generator
    return _renamed(
        model, generator.encoder, generator.predictor, "generator.encoder.model.", "generator.predictor.", state
    )


def from_transformers(model: MaskedModel, state: State) -> State:
    """The reverse of `to_transformers`: a state dict for ``model.load_state_dict(..., strict=False)``, with the
    encoder and the head.

    Raises:
        ValueError: a tensor is missing, or has another shape.
    """
    own = model.state_dict()
    found: State = {}
    for name, tensor in own.items():
        (theirs, *_) = _renamed(
            model, model.encoder, model.predictor, "encoder.model.", "predictor.", {name: tensor}
        ) or [None]
        if theirs is None:
            continue
        if theirs not in state:
            raise ValueError(f"The state dict must have {theirs!r}, but has not.")
        if state[theirs].shape != tensor.shape:
            raise ValueError(f"{theirs!r} must be {tuple(tensor.shape)}, but is {tuple(state[theirs].shape)}.")
        found[name] = state[theirs]
    return found


def _renamed(
    model: MaskedModel, encoder: Any, predictor: Any, encoder_prefix: str, head_prefix: str, state: State | None
) -> State:
    inner = encoder.model
    kind = inner.config.model_type
    head = DISCRIMINATOR_HEAD if hasattr(predictor, "score") else HEADS.get(kind)
    if head is None:
        raise ValueError(f"The model must be one of {', '.join(HEADS)} to be given transformers' names, but is {kind}.")
    out: State = {}
    for name, tensor in (model.state_dict() if state is None else state).items():
        if name.startswith(encoder_prefix):
            out[f"{inner.base_model_prefix}.{name.removeprefix(encoder_prefix)}"] = tensor
        elif name.startswith(head_prefix):
            rest = name.removeprefix(head_prefix)
            (part,) = [part for part in head if rest == part or (part.endswith(".") and rest.startswith(part))]
            new = head[part] + rest.removeprefix(part)
            out[new] = tensor
            if new in TWICE and state is None:
                out[TWICE[new]] = tensor
    return out
