"""Span mask: runs of a sequence (wav2vec 2.0, Baevski et al. 2020; SpanBERT, Joshi et al. 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Sequence


class SpanMask(MaskSampler):
    """Hides spans one after another until the count is reached; they may overlap and so merge.

    Starts are drawn evenly among those from which the whole span lies inside the sample. The last
    span is cut short where the count says so.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it. SpanBERT's default (section 3.1).
        length: places in a span, at least 1; the longest of them when ``geometric`` is set. A
            span is never longer than what is to be hidden. wav2vec 2.0's default (section 4.2).
        geometric: p in (0, 1) of SpanBERT (0.2, with ``length`` 10): a span has l places with
            probability proportional to ``p (1 - p)^(l - 1)``, l from 1 to ``length``. None: all
            have ``length``.
        poisson: mean above 0 of a Poisson distribution that lengths are drawn from, 0 counting as 1 and more than
            ``length`` as ``length``; instead of ``geometric``. LayoutLMv3 (Huang et al. 2022, section 3.3): 3.

    Raises:
        ValueError: an argument outside its range, or a layout that is no sequence.

    Differs from wav2vec 2.0, which draws the number of spans and hides however many places they
    cover, in that the count is exact.
    """

    layouts = (Sequence,)

    def __init__(
        self,
        ratio: Ratio = 0.15,
        length: int = 10,
        geometric: float | None = None,
        poisson: float | None = None,
    ) -> None:
        super().__init__(ratio)
        if length < 1:
            raise ValueError(f"`length` must be at least 1 place, but is {length}.")
        if geometric is not None and not 0 < geometric < 1:
            raise ValueError(f"`geometric` must be in (0, 1), but is {geometric}.")
        if poisson is not None and (geometric is not None or not poisson > 0):
            raise ValueError(f"`poisson` must be above 0 and without `geometric`, but is {poisson}.")
        self.length = length
        self.geometric = geometric
        self.poisson = poisson

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        valid, counts = among.valid, among.counts
        num_tokens = valid.shape[1]
        length = min(self.length, num_tokens)
        share, order = draws.uniform(2, num_tokens).unbind(1)  # [B, N]
        # One span may start at every place; these are their lengths and the order they come in.
        lengths = self._lengths(share, length).minimum(counts[:, None])  # [B, N]
        places = torch.arange(num_tokens, device=valid.device)
        end = torch.where(valid, places, -1).amax(1, keepdim=True) + 1  # [B, 1]
        # Spans that would run over the end come last, so that no ratio is out of reach.
        turn = order + (places + lengths > end)
        turn = turn.masked_fill(~valid, float("inf")).argsort(1).argsort(1)  # [B, N]

        # A place is hidden in the turn of the first span that covers it, places of a span in order.
        steps = torch.arange(length - 1, -1, -1, device=valid.device)  # from a start to the place
        key = _windows(turn, length, fill=num_tokens) * length + steps  # [B, N, L]
        covered = _windows(lengths, length, fill=0) > steps
        key = key.masked_fill(~covered, num_tokens * length).amin(-1)
        return lowest(key.float() if num_tokens * length < 2**24 else key.double(), counts, valid)

    def _lengths(self, uniform: Tensor, longest: int) -> Tensor:
        """Span lengths, at least 1, from numbers drawn evenly in [0, 1)."""
        if self.poisson is not None:
            count = torch.arange(longest, device=uniform.device, dtype=torch.float64)
            chances = torch.exp(count * math.log(self.poisson) - self.poisson - torch.lgamma(count + 1))
            return torch.searchsorted(chances.cumsum(0), uniform.double(), right=True).clamp(1, longest)
        if self.geometric is None:
            return torch.full_like(uniform, longest, dtype=torch.long)
        miss = 1 - self.geometric
        quantile = torch.log1p(-uniform * (1 - miss**longest)) / math.log(miss)
        return quantile.long().clamp(max=longest - 1) + 1


def _windows(values: Tensor, length: int, fill: int) -> Tensor:
    """Of each place, the value there and at the ``length - 1`` places before it: ``[B, N, length]``."""
    return torch.nn.functional.pad(values, (length - 1, 0), value=fill).unfold(1, length, 1)
