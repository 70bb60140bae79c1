"""Neighbours: a code is made anew from those around it that are most like it (DMT-JEPA, Mo et al. 2024,
arXiv:2405.17995)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn.attention import attend
from unmask.nn.transformer import Mlp, xavier


class Neighbourhood(nn.Module):
    """At each place of a grid, the most alike of the 3 x 3 codes around it are read by cross-attention.

    The first query is their mean; ``depth`` blocks of attention to them and an MLP follow, then a norm. A code is among
    its own neighbours. With ``depth`` 0 codes stay as they are.

    Args:
        width: D.
        num_neighbours: k, of the up to nine that are there, in [1, 9].
        depth: number of blocks.
        num_heads: attention heads; must divide ``width``.

    Raises:
        ValueError: a number outside its range.
    """

    def __init__(self, width: int, num_neighbours: int = 4, depth: int = 2, num_heads: int = 4) -> None:
        super().__init__()
        if not 1 <= num_neighbours <= 9:
            raise ValueError(f"`num_neighbours` must be in [1, 9], but is {num_neighbours}.")
        if width % num_heads:
            raise ValueError(f"`num_heads` must divide `width`, {width}, but is {num_heads}.")
        self.num_neighbours = num_neighbours
        self.blocks = nn.ModuleList(_Reading(width, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(xavier)

    def forward(self, codes: Tensor, grid: tuple[int, ...], seen: Tensor | None = None) -> Tensor:
        """``codes`` ``[B, N, D]``, row by row; where ``seen`` ``[B, N]`` is False they are no one's neighbours."""
        if not len(self.blocks):
            return codes
        around, alike = nearest_around(codes, grid, seen, self.num_neighbours)  # [B, N, k]
        batch, count, width = codes.shape
        index = around.flatten(1)[..., None].expand(-1, -1, width)
        read = codes.gather(1, index).view(batch * count, -1, width)
        there = alike.view(batch * count, -1)
        shares = there / there.sum(1, keepdim=True).clamp(min=1)
        there = there | ~there.any(1, keepdim=True)  # attention to nothing has no gradient, and no one asks there
        x = (read * shares[..., None].to(read.dtype)).sum(1, keepdim=True)  # [B * N, 1, D]
        for block in self.blocks:
            x = block(x, read, there)
        return self.norm(x).view(batch, count, width)


class _Reading(nn.Module):
    """Cross-attention to neighbours, then an MLP, each added to the query."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor, read: Tensor, there: Tensor) -> Tensor:
        q = self.q(self.norm1(x)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = (one.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for one in self.kv(read).chunk(2, dim=-1))
        x = x + self.proj(attend(q, k, v, there[:, None, None, :]).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def nearest_around(codes: Tensor, grid: tuple[int, ...], seen: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Which of the up to nine places around each are most like it, and which of these are there ``[B, N, k]``.

    Nothing is around the border: the grid does not wrap.
    """
    rows, columns = grid
    place = torch.arange(rows * columns, device=codes.device)
    steps = torch.tensor([(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)], device=codes.device)  # [9, 2]
    row, column = place[:, None] // columns + steps[:, 0], place[:, None] % columns + steps[:, 1]  # [N, 9]
    there = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    around = (row * columns + column).where(there, place[:, None])
    there = there.expand(len(codes), -1, -1)
    if seen is not None:
        there = there & seen[:, around]
    directions = F.normalize(codes.detach().float(), dim=-1)
    alike = (directions[:, :, None] * directions[:, around]).sum(-1)  # [B, N, 9]
    best = alike.masked_fill(~there, -2).argsort(dim=-1, descending=True, stable=True)[..., :count]
    return around.expand(len(codes), -1, -1).gather(2, best), there.gather(2, best)
