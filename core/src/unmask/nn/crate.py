"""White-box blocks: attention towards subspaces, then a step of sparse coding (CRATE, Yu et al. 2023)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn.attention import attend


class SubspaceAttention(nn.Module):
    """Multi-head subspace self-attention: queries, keys and values are one projection, without bias.

    ``MSSA(x) = W concat_h softmax(u_h u_h^T / sqrt(D / H)) u_h, u_h = U_h^T x``

    Args:
        width: D.
        num_heads: H, subspaces; must divide ``width``.

    Raises:
        ValueError: ``width`` is not a multiple of ``num_heads``.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"`width` must be a multiple of `num_heads` ({num_heads}), but is {width}.")
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """``x`` ``[B, N, D]``; places where ``valid`` ``[B, N]`` is False are not attended to."""
        u = self.qkv(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, N, D / H]
        out = attend(u, u, u, None if valid is None else valid[:, None, None, :])
        return self.proj(out.transpose(1, 2).flatten(2))


class ISTA(nn.Module):
    """A step towards sparse, nonnegative codes in a dictionary, from codes that are the values themselves.

    ``ISTA(x) = relu(x + step (D^T x - D^T D x) - step sparsity)``, a proximal gradient step of the lasso
    ``|x - D a|^2 / 2 + sparsity |a|_1`` over nonnegative a, at ``a = x``.

    Args:
        width: D is ``width`` x ``width``.
        step: of the gradient, above 0; the objective falls where it is at most 1 over the greatest eigenvalue of
            ``D^T D``.
        sparsity: weight of the norm of codes, at least 0.
    """

    def __init__(self, width: int, step: float = 0.1, sparsity: float = 0.5) -> None:
        super().__init__()
        self.step, self.sparsity = step, sparsity
        self.weight = nn.Parameter(torch.empty(width, width))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        left = x - F.linear(x, self.weight)  # x - D x
        return F.relu(x + self.step * F.linear(left, self.weight.T) - self.step * self.sparsity)


class CRATEBlock(nn.Module):
    """``z = x + MSSA(LN x)``, then ``ISTA(LN z)`` with nothing added to it.

    Args:
        width: D.
        num_heads: subspaces; must divide ``width``.
        step: as of `ISTA`.
        sparsity: likewise.
    """

    def __init__(self, width: int, num_heads: int, step: float = 0.1, sparsity: float = 0.5) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SubspaceAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.ista = ISTA(width, step, sparsity)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), valid)
        out: Tensor = self.ista(self.norm2(x))
        return out


class CRATEDecoderBlock(nn.Module):
    """The inverse, step by step: ``y = D LN x``, then ``y - MSSA(LN y)``.

    Args:
        width: D.
        num_heads: subspaces; must divide ``width``.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.dictionary = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SubspaceAttention(width, num_heads)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        x = self.dictionary(self.norm1(x))
        out: Tensor = x - self.attn(self.norm2(x), valid)
        return out
