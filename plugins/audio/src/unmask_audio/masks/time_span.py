"""Time-span mask: runs of frames from random starts (wav2vec 2.0, Baevski et al. 2020, section 3.1)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unmask import Candidates, Draws, Layout, Mask, MaskSampler, Sequence
from unmask.api import at_least, inside
from unmask.masks import lowest


class TimeSpanMask(MaskSampler):
    """A share of all places is drawn as starts, without replacement; each start hides a run of places.

    Runs may overlap. A sample of n places has ``start_ratio * n`` starts, rounded up or down at random, and at least
    ``min_spans``, as far as so many runs fit side by side. Where no sample is padded, all hide as many places as the
    one that hides fewest: of the others, random hidden places are shown again, as in the release.

    Args:
        start_ratio: share of places that begin a run, in (0, 1). wav2vec 2.0: 0.065, which hides 49% of long clips;
            HuBERT: 0.08, 57%.
        length: places in a run, at least 1; fewer in a sample that has no more.
        min_spans: runs in a sample at least, at least 1. Release: 2.

    Differs from the release in padded batches, where every sample keeps what it hides.

    Raises:
        ValueError: an argument outside its range, a layout that is no sequence, or a sample of fewer than two places.
    """

    layouts = (Sequence,)

    def __init__(self, start_ratio: float = 0.065, length: int = 10, min_spans: int = 2) -> None:
        super().__init__()
        inside("(0, 1)", start_ratio=start_ratio)
        at_least(1, length=length, min_spans=min_spans)
        self.start_ratio = start_ratio
        self.length = length
        self.min_spans = min_spans

    def count(self, num_tokens: int, layout: Layout, ratio: float | None) -> int:
        if num_tokens < 2:
            raise ValueError(f"A sample must have at least 2 tokens to hide one, but has {num_tokens}.")
        return 0

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        valid = among.valid
        places = torch.arange(valid.shape[1], device=valid.device)
        num_places = valid.sum(1)  # [B]
        length = (num_places - 1).clamp(max=self.length)  # [B]
        noise = draws.uniform(2, valid.shape[1]).transpose(0, 1)  # [2, B, N]
        rounding = draws.uniform()  # [B]

        # Starts are drawn among those from which the whole run lies inside the sample.
        num_spans = (self.start_ratio * num_places + rounding).long().clamp(min=self.min_spans)
        num_spans = num_spans.minimum(num_places // length)  # [B], at least 1
        may_start = places + length[:, None] <= num_places[:, None]  # [B, N]
        starts = lowest(noise[0], num_spans, may_start)
        hidden = _runs(starts, length, places) & valid

        # Runs side by side may leave nothing to be seen: then there is one run.
        whole = (hidden == valid).all(1, keepdim=True)
        hidden = torch.where(
            whole, _runs(lowest(noise[0], torch.ones_like(num_spans), may_start), length, places), hidden
        )
        mask = Mask(hidden)
        if not bool(valid.all()):
            return mask
        fewest = hidden.sum(1).min()
        return replace(mask, hidden=lowest(noise[1], fewest.expand(len(valid)), hidden), num_hidden=int(fewest))


def _runs(starts: Tensor, length: Tensor, places: Tensor) -> Tensor:
    """Whether one of ``starts`` ``[B, N]`` lies at most ``length - 1`` places (``[B]``) before each place."""
    last = torch.where(starts, places, -len(places)).cummax(1).values  # the last start so far
    return places - last < length[:, None]
