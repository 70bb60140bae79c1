"""Sizes of text encoders, as the BERT papers name them (Devlin et al. 2018; Turc et al. 2019, arXiv:1908.08962)."""

from __future__ import annotations

from typing import Any, Literal

from transformers import AutoConfig

from unmask import chosen
from unmask.api import inside
from unmask_text.encoders import TransformersEncoder

Size = Literal["tiny", "mini", "small", "medium", "base", "large"]
Style = Literal["bert", "roberta", "modernbert", "electra", "deberta-v2"]

SIZES = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
"""Layers and width; heads are 64 wide, and the inner width is four times the width."""


def encoder_of(
    style: str, size: str, vocab_size: int, dropout: float, max_length: int, **settings: Any
) -> TransformersEncoder:
    """A fresh encoder.

    Args:
        style: the kind of transformers' model.
        size: one of `SIZES`.
        vocab_size: of the tokenizer.
        dropout: of hidden units and attention weights, in [0, 1).
        max_length: tokens of the longest document, special ones included.
        settings: of transformers, in place of those that follow from the above.

    Raises:
        ValueError: an unknown style or size, or dropout outside its range.
    """
    num_layers, width = chosen("size", size, SIZES)
    common = {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": num_layers,
        "num_attention_heads": max(width // 64, 1),
        "intermediate_size": 4 * width,
        "max_position_embeddings": max_length,
        "pad_token_id": 0,
    }
    own: dict[str, dict[str, Any]] = {
        "bert": {},
        # Its positions begin behind those of padding.
        "roberta": {"max_position_embeddings": max_length + 1, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
        # Gated, so two thirds of the inner width hold as many weights.
        "modernbert": {"intermediate_size": 8 * width // 3 // 64 * 64}
        | dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
        "electra": {"embedding_size": width},
        # As DeBERTa-v3 is released: distances instead of positions.
        "deberta-v2": {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    }
    settings = {**chosen("style", style, own), **settings}
    inside("[0, 1)", dropout=dropout)
    return TransformersEncoder({"model_type": style, **common, **dropping(style, dropout), **settings})


def dropping(kind: str, dropout: float) -> dict[str, float]:
    """Settings of transformers that drop this share of hidden units and attention weights."""
    if kind == "modernbert":
        return dict.fromkeys(("attention_dropout", "mlp_dropout", "embedding_dropout"), dropout)
    return dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout)


def pretrained_encoder(path: str, dropout: float | None, given: dict[str, Any]) -> TransformersEncoder:
    """The encoder with the weights at ``path``, which have their own sizes.

    Others that are ``given`` with them, as recipes do, are noted in the encoder's ``unused``; a run says so before it
    trains.
    """
    kind = AutoConfig.from_pretrained(path, trust_remote_code=False).model_type
    encoder = TransformersEncoder(path=path, options={} if dropout is None else dropping(kind, dropout))
    encoder.unused = _differing(encoder, given)
    return encoder


def _differing(encoder: TransformersEncoder, given: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Of the sizes ``given``, those that are not the encoder's, each with its own."""
    config = encoder.model.config
    shape = config.num_hidden_layers, config.hidden_size
    own: dict[str, Any] = {
        "style": config.model_type,
        "size": next((name for name, one in SIZES.items() if one == shape), f"{shape[0]} layers of {shape[1]}"),
        "vocab_size": len(encoder.embedding),
        "max_length": encoder.max_length,
    }
    return {name: (value, own[name]) for name, value in given.items() if value is not None and value != own[name]}
