"""Softmax attention by the quickest way that the device has for it.

On CPU in bfloat16 the backward pass of PyTorch's fused attention (2.14) takes 3 to 10 times as long as
that of two plain matrix products, at any length up to 2,048; elsewhere the fused one is as quick or quicker.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_SCORES = 2**28
"""Scores (pairs of tokens, over all heads and samples) that plain attention may hold at once: 0.5 GB."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """``softmax(q k^T / sqrt(D / H) + mask) v``.

    Args:
        q: queries ``[B, H, N, D / H]``.
        k: keys ``[B, H, M, D / H]``.
        v: values, likewise.
        mask: what may be attended to, bool and broadcastable to ``[B, H, N, M]``; or what is added to the scores.

    Returns:
        ``[B, H, N, D / H]``.
    """
    if not plain_is_quicker(q) or q.shape[:-1].numel() * k.shape[-2] > MOST_SCORES:
        return F.scaled_dot_product_attention(q, k, v, mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # [B, H, N, M]
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1) @ v


def plain_is_quicker(x: Tensor) -> bool:
    """Whether plain matrix products beat fused attention for ``x`` here and now: training in bfloat16 on CPU."""
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return dtype == torch.bfloat16
