"""Selective scan: a recurrence whose steps depend on the tokens, in plain torch (Mamba, Gu & Dao 2023,
arXiv:2312.00752).

Cost grows linearly with the number of tokens. Parameter names of a mixer are those of the released code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Scan(nn.Module):
    """A stack of selective scans, each on normed input and added to it, and a final norm; ``[B, N, D]`` in and out.

    Args:
        width: D.
        depth: number of blocks.
        num_states: of each channel's recurrence, at least 1. Mamba: 16.
        expand: channels of a mixer over ``width``, at least 1. Mamba: 2.
        kernel: of the convolution over the last tokens, at least 1. Mamba: 4.
        both_ways: whether a second scan reads the tokens from their end, as in Vision Mamba; the sum of both is added.
        norm_eps: added to the mean squares in all norms.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        num_states: int = 16,
        expand: int = 2,
        kernel: int = 4,
        both_ways: bool = True,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        for name, value in (("num_states", num_states), ("expand", expand), ("kernel", kernel)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        sizes = (num_states, expand, kernel)
        self.blocks = nn.ModuleList(ScanBlock(width, *sizes, both_ways, norm_eps) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=norm_eps)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, valid)
        return self.norm(x)


class ScanBlock(nn.Module):
    """One scan, or one each way, of normed tokens; added to them. Arguments as `Scan`."""

    def __init__(self, width: int, num_states: int, expand: int, kernel: int, both_ways: bool, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=norm_eps)
        self.mixer = ScanMixer(width, num_states, expand, kernel)
        self.back = ScanMixer(width, num_states, expand, kernel) if both_ways else None

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        normed = self.norm(x)
        mixed = self.mixer(normed, valid)
        if self.back is not None:
            mixed = mixed + self.back(normed.flip(1), None if valid is None else valid.flip(1)).flip(1)
        return x + mixed


class ScanMixer(nn.Module):
    """``h_t = exp(d_t A) h_{t-1} + d_t B_t u_t``, ``y_t = C_t h_t + D u_t``, gated; d, B and C are made of u."""

    def __init__(self, width: int, num_states: int = 16, expand: int = 2, kernel: int = 4) -> None:
        super().__init__()
        inner, self.rank, self.num_states = expand * width, math.ceil(width / 16), num_states
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.x_proj = nn.Linear(inner, self.rank + 2 * num_states, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, num_states + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        with torch.no_grad():  # steps are log-even in [0.001, 0.1] at first
            step = torch.exp(torch.rand(inner) * math.log(100) + math.log(1e-3))
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus undone

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """``x`` ``[B, N, D]``; tokens where ``valid`` is False change no state."""
        u, gate = self.in_proj(x).chunk(2, dim=-1)  # [B, N, I]
        if valid is not None:
            u = u * valid[..., None]
        u = F.silu(self.conv1d(u.mT)[..., : x.shape[1]].mT)
        sizes = [self.rank, self.num_states, self.num_states]
        made, into, out = self.x_proj(u).split(sizes, dim=-1)  # [B, N, R], [B, N, S], [B, N, S]
        step = F.softplus(self.dt_proj(made).float())  # [B, N, I]
        if valid is not None:
            step = step * valid[..., None]
        y = scanned(step, -torch.exp(self.A_log.float()), into.float(), out.float(), u.float())
        y = (y + u.float() * self.D.float()).to(x.dtype)
        return self.out_proj(y * F.silu(gate))


def scanned(step: Tensor, decay: Tensor, into: Tensor, out: Tensor, u: Tensor) -> Tensor:
    """``y`` ``[B, N, I]`` of the recurrence, token after token.

    Args:
        step: d ``[B, N, I]``, above 0, or 0 where a token is left out.
        decay: A ``[I, S]``, below 0.
        into: B ``[B, N, S]``.
        out: C ``[B, N, S]``.
        u: ``[B, N, I]``.
    """
    kept = torch.exp(step[..., None] * decay)  # [B, N, I, S]
    added = (step * u)[..., None] * into[:, :, None]  # [B, N, I, S]
    state = torch.zeros_like(added[:, 0])
    answers = []
    for here, new, read in zip(kept.unbind(1), added.unbind(1), out.unbind(1), strict=True):
        state = here * state + new
        answers.append((state * read[:, None]).sum(-1))
    return torch.stack(answers, dim=1)
