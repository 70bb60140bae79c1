"""Attention within documents of one packed row, through transformers' attention interface.

On a GPU in 16 bits this is torch's variable-length flash attention; elsewhere, scaled dot products once for each
group of equally long documents. Nothing is padded in either.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from unmask_text.encoders.packing import Packing

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None  # type: ignore[assignment]

PACKED = "unmask_packed"
"""Its name among transformers' attention implementations."""
MOST_SCORES = 2**25
"""Scores of a group that are held at once on a CPU in 16 bits: 64 MiB."""


@torch.compiler.disable(reason="documents of other lengths in every batch")
def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    packing: Packing | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Each document attends to itself.

    Args:
        module: the attention layer; its ``is_causal`` is respected.
        query: ``[1, H, R, D / H]``.
        key: likewise, maybe with fewer heads.
        value: likewise.
        attention_mask: None.
        dropout: share of attention weights to drop.
        scaling: of the scores; None: ``1 / sqrt(D / H)``.
        sliding_window: tokens further apart than ``sliding_window - 1`` do not see each other.
        packing: how documents lie in the row.

    Returns:
        ``[1, R, H, D / H]``, and no weights.

    Raises:
        ValueError: the model was not called by `TransformersEncoder`.
    """
    if packing is None:
        raise ValueError(
            "`model` of a TransformersEncoder must be called through the encoder; to use it alone, call "
            "`model.set_attn_implementation('sdpa')` first."
        )
    causal = bool(getattr(module, "is_causal", False))
    window = None if sliding_window is None else sliding_window - 1
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # [R, H, D / H]
    if q.is_cuda and q.dtype in (torch.float16, torch.bfloat16) and not dropout and varlen_attn is not None:
        return _varlen(q, k, v, packing, scaling, window, causal)[None], None
    sizes = [count * length for count, length in packing.runs]
    groups = zip(q.split(sizes), k.split(sizes), v.split(sizes), packing.runs, strict=True)
    answers = [_group(q, k, v, run, dropout, scaling, window, causal) for q, k, v, run in groups]
    return (torch.cat(answers) if len(answers) > 1 else answers[0])[None], None


AttentionInterface.register(PACKED, packed_attention)


def _group(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    run: tuple[int, int],
    dropout: float,
    scaling: float | None,
    window: int | None,
    causal: bool,
) -> Tensor:
    """Documents of one length, side by side as a batch."""
    q, k, v = (x.unflatten(0, run).transpose(1, 2) for x in (q, k, v))  # [G, H, L, D / H]
    near = None
    if window is not None and window < run[1] - 1:
        place = torch.arange(run[1], device=q.device)
        near = (place[:, None] - place).abs() <= window  # [L, L]
        if causal:
            near = near.tril()
    if not causal and _is_slow(q, k):
        scale = q.shape[-1] ** -0.5 if scaling is None else scaling
        scores = q * scale @ k.transpose(2, 3)  # [G, H, L, L]
        if near is not None:
            scores = scores.masked_fill(~near, float("-inf"))
        weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
        answer = (F.dropout(weights, dropout) if dropout else weights) @ v
    else:
        options: dict[str, Any] = {"scale": scaling, "enable_gqa": k.shape[1] != q.shape[1]}
        answer = F.scaled_dot_product_attention(q, k, v, near, dropout, causal and near is None, **options)
    return answer.transpose(1, 2).flatten(0, 1)  # [G * L, H, D / H]


def _is_slow(q: Tensor, k: Tensor) -> bool:
    """Where the fused kernel takes four times as long as its parts, mostly backward, and these fit in memory."""
    num_scores = q.shape[:-1].numel() * k.shape[2]
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape == k.shape and num_scores <= MOST_SCORES


def _varlen(
    q: Tensor, k: Tensor, v: Tensor, packing: Packing, scaling: float | None, window: int | None, causal: bool
) -> Tensor:
    reach = -1 if window is None else window
    answer = varlen_attn(
        q,
        k,
        v,
        packing.boundaries,
        packing.boundaries,
        packing.longest,
        packing.longest,
        scale=scaling,
        window_size=(reach, 0 if causal else reach),
        enable_gqa=k.shape[1] != q.shape[1],
    )
    assert isinstance(answer, Tensor)
    return answer
