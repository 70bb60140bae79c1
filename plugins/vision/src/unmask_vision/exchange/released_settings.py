"""What no tensor's size tells of released vision transformers: heads, fixed positions, what was rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from unmask import Encoder, Grid, MaskedModel
from unmask.api import State
from unmask.nn import sincos

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
"""Attention heads by width, of ViTs from tiny to giant in all of the repositories."""


def other_heads(repository: str, encoder: Encoder) -> list[str]:
    """A sentence where a ViT has other heads than the repository's models of this width."""
    heads = cast(Any, encoder).vit.blocks[0].attn.num_heads
    expected = HEADS.get(encoder.width, heads)
    if heads == expected:
        return []
    return [
        f"Models of {repository} of width {encoder.width} have {expected} attention heads, but the config's encoder "
        f"has {heads}: its codes are others than theirs."
    ]


def other_target(settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
    """A sentence where the decoder learned to rebuild other pixels (``norm_pix_loss``) than the config asks for."""
    theirs, own = settings.get("args.norm_pix_loss"), getattr(model.target, "normalize", None)
    if theirs is None or own is None or bool(theirs) == own:
        return []
    return [f"The decoder was trained with `norm_pix_loss` {theirs}, but `normalize` of the config's target is {own}."]


def positions_fit(name: str, weights: State, model: MaskedModel, num_prefix: int) -> None:
    """Refuses a predictor's table of positions that is not the one that our predictor computes.

    Args:
        name: of the table.
        weights: that hold it; where they do not, nothing is compared.
        model: whose predictor is meant.
        num_prefix: rows of zeros before the grid's.

    Raises:
        ValueError: it is of the same size and holds others.
    """
    if name not in weights:
        return
    rows, columns = cast(Any, model.encoder).grid
    width = cast(Any, model.predictor).width
    own = sincos(Grid((rows, columns)), rows * columns, width)
    own = torch.cat([torch.zeros(num_prefix, width), own])[None]
    theirs = weights[name].float()
    if theirs.shape == own.shape and not torch.allclose(theirs, own, atol=1e-5):
        raise ValueError(f"`{name}` must hold sine-cosine positions, but holds others.")
