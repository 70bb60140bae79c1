"""What an encoder says of hidden places: one row of features per place, whether it is shown hidden places or not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask import seeds
from unmask.draws import Draws
from unmask.masks.random import RandomMask
from unmask.parts import Corruption, Encoder
from unmask.schedules import Progress
from unmask.structures import Grid, Layout, Mask, Sequence, Tokens
from unmask.tools.features.labels import real_tokens

RATIO = 0.5
"""Share of places hidden: less than MAE's and more than BERT's, and nobody's own."""
NUM_FIXED = 32
"""Places that are asked at where all samples have the same places."""


class FixedMask(RandomMask):
    """Half of the places at random, on any layout, of each part: the same for every model that is shown the same batch.

    Drawn on the CPU, so that devices agree; ``number`` is the batch's, and keys the draw.
    """

    layouts = (Layout,)
    grid_sides = (1, 2, 3, 4)
    joint = True

    def __init__(self) -> None:
        super().__init__(RATIO)
        self.number = 0

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        if tokens.parts is not None:
            masks = {name: self.forward(part) for name, part in tokens.parts.items()}
            return Mask.join(masks)
        valid, offsets = (None if x is None else x.cpu() for x in (tokens.valid, tokens.offsets))
        twin = Tokens(torch.empty(real_tokens(tokens).shape), tokens.layout, valid=valid, offsets=offsets)
        draws = Draws.of(seeds.mix("score", self.number), torch.arange(tokens.num_samples))
        mask = super().forward(twin, None, draws)
        device = tokens.values.device
        draws = Draws(draws.keys.to(device), draws.seed)
        return Mask(mask.hidden.to(device), valid=tokens.valid, num_hidden=mask.num_hidden, draws=draws)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Hidden places of one sample that answers are asked at.

    Args:
        real: ``[n]`` int64, the sample's tokens among those of the batch, flattened.
        hidden: ``[n]`` bool.
        asked: ``[m]`` int64, which of the n are asked for.
        place: ``[n, P]`` coordinates, or None where the layout has none.
        spacing: the mean distance of a place to the nearest other one.
    """

    real: Tensor
    hidden: Tensor
    asked: Tensor
    place: Tensor | None
    spacing: float

    @property
    def visible(self) -> Tensor | None:
        """Coordinates of the visible places."""
        return None if self.place is None else self.place[~self.hidden]


def choose(tokens: Tokens, mask: Mask, first: int, most: int, fixed: bool) -> list[Chosen]:
    """Hidden places to ask at, for each sample of a batch.

    Args:
        tokens: the batch.
        mask: what is hidden.
        first: the number of the batch's first sample.
        most: places per sample at most.
        fixed: ask at the same `NUM_FIXED` places in all samples, where a sample hides them.
    """
    real = real_tokens(tokens)
    hidden = mask.hidden.flatten()
    offsets = tokens.offsets
    found = []
    for sample in range(tokens.num_samples):
        if offsets is not None:
            own = torch.arange(int(offsets[sample]), int(offsets[sample + 1]), device=hidden.device)
        else:
            own = real[sample].nonzero().squeeze(1) + sample * real.shape[1]
        key = ("fixed", len(own)) if fixed else ("asked", first + sample)
        order = torch.randperm(len(own), generator=seeds.generator("cpu", "score", *key)).to(own.device)
        order = order[:NUM_FIXED] if fixed else order
        asked = order[hidden[own][order]][:most].sort().values
        found.append(Chosen(own, hidden[own], asked, *_where(tokens, own, sample)))
    return found


def regular(tokens: Tokens) -> bool:
    """Whether the batch's samples have the same places, in an order."""
    return tokens.offsets is None and tokens.valid is None and isinstance(tokens.layout, Grid | Sequence)


def shown(corruption: Corruption) -> Corruption:
    """How hidden places are shown for the score: as the model's own corruption does, but never as they are.

    Raises:
        ValueError: it only ever keeps them.
    """
    if corruption.drop:
        return corruption
    if corruption.token or corruption.random:
        return Corruption(token=1) if corruption.token else Corruption(random=1)
    raise ValueError("The model's `corruption` must hide something for the score, but keeps all places as they are.")


def coded(encoder: Encoder, tokens: Tokens, mask: Mask, chosen: list[Chosen]) -> Tensor:
    """Features of the asked places of all samples ``[m, F]``: what the encoder's codes say around each.

    The mean over codes of visible places; their mean weighted by nearness, where places have coordinates; and
    the code at the place itself, where the encoder makes one (it is shown a stand-in there, no value).
    """
    latent = encoder(tokens, mask)
    if tokens.parts is not None:  # one part of an encoder of several
        (name,) = tokens.parts
        tokens, mask, latent = tokens.part(name), mask.part(name), latent.part(name)
    values = latent.values
    if latent.seen is None and tokens.offsets is None and values.shape[1] != mask.hidden.shape[1]:
        return torch.cat(
            [_around(values[i], _coarse(tokens, values.shape[1]), one) for i, one in enumerate(chosen)]
        )  # fmt: skip
    if latent.seen is None:  # a code of every place
        flat = values if tokens.offsets is not None else values.flatten(0, 1)
        own = [flat[one.real] for one in chosen]
        return torch.cat(
            [_around(c[~one.hidden], one.visible, one, c[one.asked]) for c, one in zip(own, chosen, strict=True)]
        )
    rows = []
    for number, one in enumerate(chosen):
        if tokens.offsets is not None:
            index = latent.seen.index
            seen = values[(index >= one.real[0]) & (index <= one.real[-1])]
        else:
            seen = values[number] if latent.seen.valid is None else values[number][latent.seen.valid[number]]
        rows.append(_around(seen, one.visible, one))
    return torch.cat(rows)


def raw(tokens: Tokens, chosen: list[Chosen]) -> Tensor:
    """The same features from token values in place of codes ``[m, F]``."""
    flat = _flat(tokens)
    return torch.cat([_around(flat[one.real[~one.hidden]], one.visible, one) for one in chosen])


def answers(tokens: Tokens, chosen: list[Chosen]) -> Tensor:
    """The values at the asked places ``[m, V]``."""
    return torch.cat([_flat(tokens)[one.real[one.asked]] for one in chosen])


def _flat(tokens: Tokens) -> Tensor:
    """Values as ``[T, V]``, or ``[B * N, V]``."""
    return tokens.values.flatten(1) if tokens.offsets is not None else tokens.values.flatten(0, 1).flatten(1)


def _around(codes: Tensor, places: Tensor | None, one: Chosen, own: Tensor | None = None) -> Tensor:
    parts = [codes.mean(0).expand(len(one.asked), -1)]
    if places is not None and one.place is not None:
        distance = torch.cdist(one.place[one.asked], places) / one.spacing  # [m, K]
        parts.append((-distance.square() / 2).softmax(-1).to(codes.dtype) @ codes)
    return torch.cat(parts if own is None else [*parts, own], dim=1).float()


def _where(tokens: Tokens, real: Tensor, sample: int) -> tuple[Tensor | None, float]:
    """Coordinates of a sample's tokens ``[n, P]``, and how far neighbours are apart."""
    layout = tokens.layout
    if isinstance(layout, Grid | Sequence):
        first = tokens.offsets[sample] if tokens.offsets is not None else sample * tokens.values.shape[1]
        shape = layout.shape if isinstance(layout, Grid) else (int(real[-1] - first) + 1,)
        return torch.stack(torch.unravel_index(real - first, shape), dim=1).float(), 1.0
    if tokens.positions is None:
        return None, 1.0
    positions = tokens.positions if tokens.offsets is not None else tokens.positions.flatten(0, 1)
    place = positions[real].float()
    distance = torch.cdist(place, place).fill_diagonal_(float("inf"))
    return place, max(float(distance.amin(1).mean()), 1e-12)


def _coarse(tokens: Tokens, num_codes: int) -> Tensor | None:
    """Centres of a coarser grid's cells, in steps of the finer one ``[K, P]``; None when it is no such grid."""
    if not isinstance(tokens.layout, Grid):
        return None
    shape = tokens.layout.shape
    step = round((math.prod(shape) / num_codes) ** (1 / len(shape)))
    if any(side % step for side in shape) or math.prod(side // step for side in shape) != num_codes:
        return None
    axes = [torch.arange(side // step, device=tokens.values.device) * step + (step - 1) / 2 for side in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
