"""Sizes of text encoders, as the BERT papers name them (Devlin et al. 2018; Turc et al. 2019, arXiv:1908.08962)."""

from __future__ import annotations

from typing import Any, Literal

from transformers import AutoConfig

from unmask import Encoder
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
    if size not in SIZES:
        raise ValueError(f"`size` must be one of {', '.join(SIZES)}, but is {size!r}.")
    num_layers, width = SIZES[size]
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
    if style not in own:
        raise ValueError(f"`style` must be one of {', '.join(own)}, but is {style!r}.")
    inside("[0, 1)", dropout=dropout)
    return TransformersEncoder({"model_type": style, **common, **dropping(style, dropout), **own[style], **settings})


def dropping(kind: str, dropout: float) -> dict[str, float]:
    """Settings of transformers that drop this share of hidden units and attention weights."""
    if kind == "modernbert":
        return dict.fromkeys(("attention_dropout", "mlp_dropout", "embedding_dropout"), dropout)
    return dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout)


def encoder_for(
    encoder: Encoder | None,
    style: str | None,
    size: str | None,
    vocab_size: int | None,
    max_length: int | None,
    dropout: float | None,
    pretrained: str | None = None,
    **settings: Any,
) -> TransformersEncoder:
    """The encoder of a method: as given, with the weights at ``pretrained``, or fresh, by default BERT-base.

    Weights have their own sizes. Others that are given beside them, as recipes do, are noted in the encoder's
    ``unused``, and a run says so before it trains.

    Raises:
        ValueError: anything beside an encoder, or as `encoder_of`.
    """
    sizes: dict[str, Any] = {"style": style, "size": size, "vocab_size": vocab_size, "max_length": max_length}
    if encoder is not None:
        for name, value in (sizes | {"dropout": dropout, "pretrained": pretrained}).items():
            if value is not None:
                raise ValueError(
                    f"`{name}` must be left out when `encoder` is given, which has its own, but is {value!r}."
                )
        if not isinstance(encoder, TransformersEncoder):
            raise ValueError(f"`encoder` must be a `text.transformer`, but is a {type(encoder).__name__}.")
        return encoder
    if pretrained is not None:
        kind = AutoConfig.from_pretrained(pretrained, trust_remote_code=False).model_type
        options = {} if dropout is None else dropping(kind, dropout)
        encoder = TransformersEncoder(path=pretrained, options=options)
        encoder.unused = _differing(encoder, sizes)
        return encoder
    return encoder_of(
        style or "bert",
        size or "base",
        vocab_size or 30_522,
        0.1 if dropout is None else dropout,
        max_length or 512,
        **settings,
    )


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
