"""Trunks: what makes one set of codes of several parts, after each part's own stem or encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Places, Tokens
from unmask.nn import Block, attend, xavier

GLOBAL = "global"
"""What a route calls the trunk's own tokens."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows of one part on their way through a trunk.

    Args:
        rows: ``[B, L, D]``, class and register tokens first, then one row per place seen.
        valid: ``[B, L]`` bool, False where a short row was filled up or the sample lacks the part; None: all are real.
        places: the tokens without their values.
        seen: which places the rows are; None: all.
        num_prefix: class and register tokens among the rows.
    """

    rows: Tensor
    valid: Tensor | None
    places: Tokens
    seen: Places | None = None
    num_prefix: int = 0

    @property
    def real(self) -> Tensor:
        """``valid``, also where all are."""
        if self.valid is not None:
            return self.valid
        return torch.ones(self.rows.shape[:2], dtype=torch.bool, device=self.rows.device)


States = tuple[dict[str, Tensor], Tensor | None]
"""Rows of each part ``[B, L, D]``, and those of the trunk's own tokens ``[B, G, D]``."""


class Trunk(nn.Module, ABC):
    """Layers over the rows of several parts."""

    width: int
    """D of all rows."""
    num_layers: int

    @abstractmethod
    def forward(self, streams: Mapping[str, Stream], layers: Sequence[int | None]) -> list[States]:
        """Rows after each of these layers; 0: as they enter; None: after the last one, normed."""


class Bias(nn.Module, ABC):
    """What is added to the scores of attention, from where rows lie: relative positions, distances."""

    @abstractmethod
    def forward(self, streams: Mapping[str, Stream]) -> Tensor:
        """``[B or 1, H or 1, L, L]`` over the rows of all parts, one part after the other."""


class JointTrunk(Trunk):
    """Self-attention over all rows of all parts (ViT's blocks, Dosovitskiy et al. 2020), or along routes.

    Rows that are padding cost nothing: what is real is gathered before the first block and put back after the last.

    Args:
        width: D.
        depth: blocks.
        num_heads: attention heads; must divide ``width``.
        mlp_ratio: hidden width of the MLPs over ``width``.
        num_global: tokens of the trunk's own, learned, behind all rows. MultiMAE: 1. Zorro: 16, its fusion tokens.
        routes: who may attend to whom: for each part (and ``global``) the parts whose rows it reads; those not named
            read all. Zorro: each part itself, global all.
        routed_layers: routes hold up to this layer; None: in all (VLM's isolated attention ends after some).
        norm: whether a norm comes after the last block; where norms come after sums, none does.
        norm_first: a norm comes before each attention and MLP (ViT); false: after each sum (BERT).
        entry_norm: whether rows are normed as they enter (LayoutLMv3).
        drop_path_ratio: stochastic depth of the last block, in [0, 1), growing from 0 at the first.
        norm_eps: added to the variances in the norms.
        bias: added to the scores in every block; None: nothing is.

    Raises:
        ValueError: a number out of range; when called, a route of a part that is not there.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        num_global: int = 0,
        routes: dict[str, list[str]] | None = None,
        routed_layers: int | None = None,
        norm: bool = True,
        drop_path_ratio: float = 0.0,
        norm_eps: float = 1e-6,
        bias: Bias | None = None,
        norm_first: bool = True,
        entry_norm: bool = False,
    ) -> None:
        super().__init__()
        if depth < 1 or num_global < 0:
            raise ValueError(
                f"`depth` must be at least 1 and `num_global` at least 0, but are {depth} and {num_global}."
            )
        if routed_layers is not None and not 0 <= routed_layers <= depth:
            raise ValueError(f"`routed_layers` must be in [0, {depth}], the blocks, but is {routed_layers}.")
        self.width, self.num_layers = width, depth
        ratios = torch.linspace(0, drop_path_ratio, depth).tolist()
        self.blocks = nn.ModuleList(Block(width, num_heads, mlp_ratio, ratio, norm_eps, norm_first) for ratio in ratios)
        self.norm = nn.LayerNorm(width, eps=norm_eps) if norm and norm_first else nn.Identity()
        self.entry_norm = nn.LayerNorm(width, eps=norm_eps) if entry_norm else nn.Identity()
        self.apply(xavier)
        self.global_tokens = nn.Parameter(torch.zeros(1, num_global, width)) if num_global else None
        if self.global_tokens is not None:
            nn.init.trunc_normal_(self.global_tokens, std=0.02)
        self.routes = {name: list(read) for name, read in (routes or {}).items()}
        self.routed_layers = depth if routed_layers is None else routed_layers
        self.bias = bias

    def forward(self, streams: Mapping[str, Stream], layers: Sequence[int | None]) -> list[States]:
        x = self.entry_norm(torch.cat([one.rows for one in streams.values()], dim=1))  # [B, L, D]
        num_rows = x.shape[1]
        padded = any(one.valid is not None for one in streams.values())
        kept = Places.of(torch.cat([one.real for one in streams.values()], dim=1)) if padded else None
        bias = None if self.bias is None else self.bias(streams)
        owner = torch.cat([torch.full((one.rows.shape[1],), i) for i, one in enumerate(streams.values())]).to(x.device)

        # What is real, without gaps, and the trunk's own tokens behind it.
        owners = owner.expand(len(x), -1)  # [B, L]
        if kept is not None:
            x, owners = kept.gather(x), kept.gather(owners)
        real = None if kept is None else kept.valid
        if self.global_tokens is not None:
            num_global = self.global_tokens.shape[1]
            x = torch.cat([x, self.global_tokens.to(x.dtype).expand(len(x), -1, -1)], dim=1)
            owners = F.pad(owners, (0, num_global), value=len(streams))
            real = None if real is None else F.pad(real, (0, num_global), value=True)
        seen = real if bias is None else self._with_bias(bias, kept, real, x.shape[1])
        routed = self._routed(list(streams), owners, seen)

        states = {0: x}
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, routed if number <= self.routed_layers else seen)
            states[number] = x
        states[-1] = self.norm(x)
        return [self._apart(states[-1 if layer is None else layer], kept, num_rows, streams) for layer in layers]

    def _routed(self, names: list[str], owners: Tensor, seen: Tensor | None) -> Tensor | None:
        """Who may attend to whom, besides what ``seen`` says: ``[B, 1, L, L]``."""
        if not self.routes:
            return seen
        known = [*names, GLOBAL]
        allowed = torch.ones(len(known), len(known), dtype=torch.bool, device=owners.device)
        for name, read in self.routes.items():
            for one in (name, *read):
                if one not in known:
                    raise ValueError(f"`routes` must be of parts {', '.join(known)}, but one is {one!r}.")
            allowed[known.index(name)] = torch.tensor([one in read for one in known], device=owners.device)
        pairs = allowed[owners[:, :, None], owners[:, None, :]][:, None]  # [B, 1, L, L]
        if seen is not None and seen.ndim == 4:
            return seen.masked_fill(~pairs, float("-inf"))
        if seen is not None:
            pairs = pairs & seen[:, None, None, :]
        itself = torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)
        return pairs | (~pairs.any(-1, keepdim=True) & itself)  # a row that may read nothing that is there

    @staticmethod
    def _with_bias(bias: Tensor, kept: Places | None, real: Tensor | None, length: int) -> Tensor:
        if kept is not None:
            rows, heads = kept.index.shape[0], bias.shape[1]
            bias = bias.expand(rows, -1, -1, -1)
            index = kept.index[:, None, :, None].expand(-1, heads, -1, bias.shape[-1])
            bias = bias.gather(2, index)
            bias = bias.gather(3, kept.index[:, None, None, :].expand(-1, heads, bias.shape[2], -1))
        more = length - bias.shape[-1]  # the trunk's own tokens
        bias = F.pad(bias, (0, more, 0, more))
        return bias if real is None else bias.masked_fill(~real[:, None, None, :], float("-inf"))

    def _apart(self, x: Tensor, kept: Places | None, num_rows: int, streams: Mapping[str, Stream]) -> States:
        num_global = 0 if self.global_tokens is None else self.global_tokens.shape[1]
        own = x[:, x.shape[1] - num_global :] if num_global else None
        x = x[:, : x.shape[1] - num_global]
        if kept is not None:
            x = kept.scatter(x, x.new_zeros(len(x), num_rows, x.shape[-1]))
        lengths = [one.rows.shape[1] for one in streams.values()]
        return dict(zip(streams, x.split(lengths, dim=1), strict=True)), own


class CrossTrunk(Trunk):
    """Two streams, each of which attends to itself and to the other (LXMERT, Tan & Bansal 2019; METER, M3AE, CROMA).

    Both read what the other was before the layer. With ``one_way`` the first stream alone goes through the layers, and
    reads the second as it entered.

    Args:
        width: D.
        depth: layers.
        num_heads: attention heads; must divide ``width``.
        mlp_ratio: hidden width of the MLPs over ``width``.
        order: of a layer: ``self-cross`` (BERT with cross-attention, M3AE, CROMA) or ``cross-self`` (LXMERT).
        norm_first: a norm comes before each sublayer and one after the last layer; false: after each sum, as in BERT.
        shared: one cross-attention for both directions (LXMERT).
        one_way: the first stream reads the second, which does not change (CROMA).
        norm_eps: added to the variances in the norms. BERT: 1e-12.
        bias: added to the scores in every layer, of both kinds of attention; None: nothing is.

    Raises:
        ValueError: an unknown order, or a shared module for one direction; when called, other than two parts.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        order: Literal["self-cross", "cross-self"] = "self-cross",
        norm_first: bool = False,
        shared: bool = False,
        one_way: bool = False,
        norm_eps: float = 1e-12,
        bias: Bias | None = None,
    ) -> None:
        super().__init__()
        if order not in ("self-cross", "cross-self"):
            raise ValueError(f"`order` must be 'self-cross' or 'cross-self', but is {order!r}.")
        if shared and one_way:
            raise ValueError("`shared` must be false where `one_way` is true: there is one direction.")
        if depth < 1:
            raise ValueError(f"`depth` must be at least 1, but is {depth}.")
        self.width, self.num_layers = width, depth
        self.one_way, self.norm_first = one_way, norm_first
        options: dict[str, Any] = {"order": order, "norm_first": norm_first, "norm_eps": norm_eps}
        self.layers = nn.ModuleList(
            nn.ModuleList(CrossLayer(width, num_heads, mlp_ratio, **options) for _ in range(1 if one_way else 2))
            for _ in range(depth)
        )
        pair: Any
        if shared:
            for pair in self.layers:
                first, second = pair
                second.cross, second.cross_norm = first.cross, first.cross_norm
        count = 1 if one_way else 2
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, eps=norm_eps) if norm_first else nn.Identity() for _ in range(count)
        )
        self.apply(xavier)
        self.bias = bias

    def forward(self, streams: Mapping[str, Stream], layers: Sequence[int | None]) -> list[States]:
        if len(streams) != 2:
            raise ValueError(f"A cross trunk works on two parts, but these are {', '.join(streams)}.")
        names = list(streams)
        rows = [one.rows for one in streams.values()]
        masks = self._masks(list(streams.values()))
        there = [None if one.valid is None else one.valid.any(1)[:, None, None] for one in streams.values()]
        pair: Any
        states = {0: rows}
        for number, pair in enumerate(self.layers, start=1):
            before = rows
            rows = [
                layer(before[i], before[1 - i], masks[i][i], masks[i][1 - i], there[1 - i])
                for i, layer in enumerate(pair)
            ]
            rows = rows if len(rows) == 2 else [rows[0], before[1]]
            states[number] = rows
        states[-1] = [norm(one) for norm, one in zip(self.norms, rows, strict=False)] + rows[len(self.norms) :]
        return [(dict(zip(names, states[-1 if layer is None else layer], strict=True)), None) for layer in layers]

    def _masks(self, streams: list[Stream]) -> list[list[Tensor | None]]:
        """What each stream's rows may read of each: ``masks[reader][read]``."""
        lengths = [one.rows.shape[1] for one in streams]
        bias = None if self.bias is None else self.bias(dict(zip("ab", streams, strict=True)))
        found: list[list[Tensor | None]] = []
        for i in range(2):
            found.append([])
            for j in range(2):
                valid, mask = streams[j].valid, None
                if valid is not None:  # what is not there is left out after it is read
                    mask = valid[:, None, None, :] | ~valid.any(1)[:, None, None, None]
                if bias is not None:
                    own = bias[..., sum(lengths[:i]) :, sum(lengths[:j]) :][..., : lengths[i], : lengths[j]]
                    mask = own if mask is None else own.masked_fill(~mask, float("-inf"))
                found[-1].append(mask)
        return found


class CrossLayer(nn.Module):
    """Self-attention, cross-attention and an MLP, each added to its input.

    A sample whose other part is not there reads nothing: the cross-attention adds 0.
    """

    def __init__(
        self, width: int, num_heads: int, mlp_ratio: float, order: str, norm_first: bool, norm_eps: float
    ) -> None:
        super().__init__()
        self.order, self.norm_first = order, norm_first
        self.own, self.cross = Reading(width, num_heads), Reading(width, num_heads)
        self.own_norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width, eps=norm_eps) for _ in range(3))
        self.fc1, self.fc2 = nn.Linear(width, int(width * mlp_ratio)), nn.Linear(int(width * mlp_ratio), width)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        own: Tensor | None = None,
        other: Tensor | None = None,
        there: Tensor | None = None,
    ) -> Tensor:
        """Rows after the layer.

        Args:
            x: ``[B, L, D]``.
            memory: rows of the other part ``[B, K, D]``.
            own: what may be read of ``x``, as `attend` takes it.
            other: what may be read of the memory.
            there: ``[B, 1, 1]`` bool, whether the sample has the other part; None: all have.
        """
        if self.order == "self-cross":
            x = self._cross(self._own(x, own), memory, other, there)
        else:
            x = self._own(self._cross(x, memory, other, there), own)
        if self.norm_first:
            return x + self.fc2(F.gelu(self.fc1(self.mlp_norm(x))))
        return self.mlp_norm(x + self.fc2(F.gelu(self.fc1(x))))

    def _own(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.norm_first:
            normed = self.own_norm(x)
            return x + self.own(normed, normed, mask)
        return self.own_norm(x + self.own(x, x, mask))

    def _cross(self, x: Tensor, memory: Tensor, mask: Tensor | None, there: Tensor | None) -> Tensor:
        read = self.cross(self.cross_norm(x) if self.norm_first else x, memory, mask)
        read = read if there is None else read * there
        return x + read if self.norm_first else self.cross_norm(x + read)


class Reading(nn.Module):
    """Multi-head attention of some rows to others.

    Raises:
        ValueError: ``width`` is not a multiple of ``num_heads``.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"`width` must be a multiple of `num_heads` ({num_heads}), but is {width}.")
        self.num_heads = num_heads
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (self._heads(one(rows)) for one, rows in ((self.q, x), (self.k, memory), (self.v, memory)))
        return self.proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, L, D / H]
