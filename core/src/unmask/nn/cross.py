"""Blocks that read a memory by cross-attention, and memories mixed of an encoder's layers."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn.attention import attend
from unmask.nn.rotary import turned

Turns = tuple[Tensor, Tensor]
"""Rotary angles of the rows that read and of those that are read, as `rotary` gives them."""


class CrossBlock(nn.Module):
    """Cross-attention to a memory and an MLP, with self-attention before or after them, or none.

    The sublayers of torch's `nn.TransformerDecoderLayer`, under its names. Each is added to its input; a norm comes
    before the sublayer or after the sum.

    Args:
        width: W of the rows that read.
        num_heads: attention heads; must divide ``width``.
        mlp_width: hidden width of the MLP.
        dropout: of each sublayer and of the attention, in [0, 1).
        self_attention: ``before`` the cross-attention (torch's order), ``after`` the MLP, or ``none``.
        norm_first: whether a norm comes before each sublayer.
        memory_norm: whether the memory is normed before it is read.
        memory_width: of the memory; None: as ``width``.
        activation: of the MLP, ``relu`` or ``gelu``.
        norm_eps: added to the variances in the norms.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_width: int,
        dropout: float = 0.0,
        self_attention: Literal["none", "before", "after"] = "before",
        norm_first: bool = False,
        memory_norm: bool = False,
        memory_width: int | None = None,
        activation: Literal["relu", "gelu"] = "relu",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        options = {"dropout": dropout, "batch_first": True}
        self.multihead_attn = nn.MultiheadAttention(width, num_heads, kdim=memory_width, vdim=memory_width, **options)
        self.linear1 = nn.Linear(width, mlp_width)
        self.linear2 = nn.Linear(mlp_width, width)
        if self_attention != "none":
            self.self_attn = nn.MultiheadAttention(width, num_heads, **options)
            self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.norm2, self.norm3 = (nn.LayerNorm(width, eps=norm_eps) for _ in range(2))
        self.norm_memory = nn.LayerNorm(memory_width or width, eps=norm_eps) if memory_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.self_attention = self_attention
        self.norm_first = norm_first
        self.activation = F.gelu if activation == "gelu" else F.relu

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        valid: Tensor | None = None,
        real: Tensor | None = None,
        turns: Turns | None = None,
    ) -> Tensor:
        """``x`` ``[B, N, W]`` after reading ``memory`` ``[B, K, W']``; places where a mask is False are not read."""
        memory = self.norm_memory(memory)
        own = None if turns is None else (turns[0], turns[0])
        if self.self_attention == "before":
            x = self._added(x, self.norm1, lambda x: _read(self.self_attn, x, x, valid, own))
        x = self._added(x, self.norm2, lambda x: _read(self.multihead_attn, x, memory, real, turns))
        x = self._added(x, self.norm3, lambda x: self.linear2(self.dropout(self.activation(self.linear1(x)))))
        if self.self_attention == "after":
            x = self._added(x, self.norm1, lambda x: _read(self.self_attn, x, x, valid, own))
        return x

    def _added(self, x: Tensor, norm: nn.Module, sublayer: object) -> Tensor:
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))  # type: ignore[operator]
        return norm(x + self.dropout(sublayer(x)))  # type: ignore[operator]


class LayerMixture(nn.Module):
    """A memory for each of several blocks: ``LN_j(sum_i w_ij x_i)`` with ``x_i`` what the encoder had after layer i.

    CrossMAE (Fu et al. 2024, section 3.4): shares are drawn from a normal distribution of deviation ``1 / sqrt(k)``.

    Args:
        width: D of the layers.
        num_layers: k, with the embedded tokens as the first.
        num_memories: how many mixtures are made.
        norm_eps: added to the variances in the norms.
    """

    def __init__(self, width: int, num_layers: int, num_memories: int, norm_eps: float = 1e-6) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.randn(num_memories, num_layers) * num_layers**-0.5)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=norm_eps) for _ in range(num_memories))

    def forward(self, layers: list[Tensor]) -> list[Tensor]:
        """Mixtures ``[B, K, D]`` of layers ``[B, K, D]`` each."""
        if len(layers) != self.shares.shape[1]:
            raise ValueError(
                f"`num_layers` must be {len(layers) - 1}, the encoder's, but is {self.shares.shape[1] - 1}."
            )
        mixed = torch.einsum("ml,lbkd->mbkd", self.shares.to(layers[-1].dtype), torch.stack(layers))
        return [norm(one) for norm, one in zip(self.norms, mixed, strict=True)]


def _read(attn: nn.MultiheadAttention, x: Tensor, memory: Tensor, real: Tensor | None, turns: Turns | None) -> Tensor:
    """What ``x`` reads of ``memory``, with queries and keys turned by their positions where those are given."""
    if turns is None:
        read, _ = attn(x, memory, memory, None if real is None else ~real, need_weights=False)
        return read
    packed = attn.in_proj_weight
    weights = (attn.q_proj_weight, attn.k_proj_weight, attn.v_proj_weight) if packed is None else packed.chunk(3)
    q, k, v = (
        F.linear(rows, weight, bias).unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)  # [B, H, N, W / H]
        for rows, weight, bias in zip((x, memory, memory), weights, attn.in_proj_bias.chunk(3), strict=True)
    )
    mask = None if real is None else real[:, None, None, :]
    read = attend(turned(q, turns[0]), turned(k, turns[1]), v, mask)
    return attn.out_proj(read.transpose(1, 2).flatten(2))
