"""Health of representations and losses: how far codes of different samples differ, and in how many directions.

Pure measures of a matrix of codes, and the rules that call one sick. Complete collapse (every sample
the same vector) shows in the spread of normalised codes, dimensional collapse (few directions) in the
effective rank. Neither has a healthy value of its own: narrow encoders, little data and averaging
over many tokens all make them small. So a matrix is judged beside what it was before training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss
from unmask.step import Given
from unmask.structures import Prediction

EPSILON = 1e-7
"""Added to singular values, as in RankMe for float32."""
MIN_SAMPLES = 8
"""Fewer codes are not judged."""

SHRUNK, NARROW_STD = 0.2, 0.1
"""Codes have become the same when their spread is below this share of its start, and this small in itself."""
FLATTENED, FEW = 0.25, 5.0
"""Codes live in few dimensions when their rank is below this share of its start, and this small in itself."""
IDENTICAL = 1e-5
"""A spread no larger than rounding: the same vectors, whatever the start."""
VANISHED = 0.01
"""A target is gone when its deviation, in its own units, is below this share of its start."""

SAME, FLAT, GONE = "same", "flat", "gone"


class Spread(NamedTuple):
    """How a matrix of codes is spread out.

    Args:
        feature_std: of normalised codes, see `feature_std`.
        effective_rank: RankMe, see `effective_rank`.
        centered_rank: the same about the mean code: in how many directions codes *differ*.
        deviation: mean standard deviation of a feature, in units of the codes.
        num_codes: n, how many were measured.
    """

    feature_std: float
    effective_rank: float
    centered_rank: float
    deviation: float
    num_codes: int

    @classmethod
    def of(cls, codes: Tensor) -> Spread:
        """Of codes ``[n, D]``."""
        codes = codes.detach().double().cpu()
        deviation = float(codes.std(0, correction=0).mean())
        ranks = effective_rank(codes), effective_rank(codes - codes.mean(0))
        return cls(feature_std(codes), *ranks, deviation, len(codes))


def effective_rank(codes: Tensor) -> float:
    """RankMe (Garrido et al. 2023, equation 1): ``exp(-sum p log p)``, in [1, min(n, D)] up to rounding.

    ``p = s / sum(s) + 1e-7`` with singular values s of ``codes`` ``[n, D]``, which are not centred.
    0 for codes that are all zero; NaN where one is not finite.
    """
    codes = codes.detach().double().cpu()
    if not codes.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(codes)
    if values.sum() == 0:
        return 0.0
    shares = values / values.sum() + EPSILON
    return float((-(shares * shares.log()).sum()).exp())


def feature_std(codes: Tensor) -> float:
    """Mean standard deviation of a feature over samples ``[n, D]`` of length 1, times ``sqrt(D)``.

    0: all point the same way; 1: evenly in all directions (SimSiam, Chen & He 2021, figure 2, there not
    multiplied). Layer norm fixes the length of a code and so cannot hide that all are alike.
    """
    directions = F.normalize(codes.detach().double(), dim=-1)
    return float(directions.std(0, correction=0).mean() * math.sqrt(codes.shape[-1]))


def perplexity(ids: Tensor, num_classes: int) -> float:
    """``exp(entropy)`` of how often ids occur: how many of the classes are in use, in [1, num_classes]."""
    shares = torch.bincount(ids.flatten().cpu(), minlength=num_classes).double()
    shares = shares / shares.sum()
    return float(torch.special.entr(shares).sum().exp())


def collapse(now: Spread | None, start: Spread | None) -> str | None:
    """``SAME`` when codes have become (nearly) one vector, ``FLAT`` when they live in few dimensions, else None.

    Args:
        now: of the codes of some samples.
        start: of the codes of the same samples before training.

    None where either is missing, or where there are fewer than 8 codes.
    """
    if now is None or start is None or now.num_codes < MIN_SAMPLES:
        return None
    narrow = now.feature_std < NARROW_STD and now.feature_std < SHRUNK * start.feature_std
    if narrow or now.feature_std < IDENTICAL:
        return SAME
    if now.centered_rank < FEW and now.centered_rank < FLATTENED * start.centered_rank:
        return FLAT
    return None


def target_collapse(now: Spread | None, start: Spread | None) -> str | None:
    """As `collapse`, and ``GONE`` when the target itself has shrunk to nothing. A target that is data never has."""
    if now is None or start is None:
        return None
    if now.num_codes >= MIN_SAMPLES and now.deviation < VANISHED * start.deviation:
        return GONE
    return collapse(now, start)


def moves(now: Spread | None, start: Spread | None) -> bool:
    """Whether the target of the same samples is another than it was: whether it is learned."""
    if now is None or start is None:
        return False
    pairs = zip(now[:4], start[:4], strict=True)
    return any(not math.isclose(a, b, rel_tol=0.01, abs_tol=1e-9) for a, b in pairs)


class Stretch(NamedTuple):
    """Training losses of consecutive steps.

    Args:
        step: the last one.
        num_losses: how many.
        mean: of the losses.
        variance: of the losses.
    """

    step: int
    num_losses: int
    mean: float
    variance: float


class Trend(NamedTuple):
    """The loss in the older and in the newer half of a window, and in the run's first stretch."""

    start: float
    older: float
    newer: float
    falls: bool


def trend(stretches: Sequence[Stretch], window: int) -> Trend | None:
    """Whether the loss fell over the last ``window`` steps: by more than twice its standard error and 0.1 %.

    None while there are too few steps to tell.
    """
    if not stretches or stretches[-1].step < window:
        return None
    end = stretches[-1].step
    newer = [one for one in stretches if one.step > end - window / 2]
    older = [one for one in stretches if end - window < one.step <= end - window / 2]
    if not newer or not older:
        return None
    (before, before_error), (after, after_error) = _mean(older), _mean(newer)
    least = max(2 * math.hypot(before_error, after_error), 1e-3 * abs(before))
    return Trend(stretches[0].mean, before, after, before - after > least)


def stuck(course: Trend | None, gain: float | None) -> bool:
    """Whether training goes nowhere: the loss does not fall, and nothing has been learnt either.

    Nothing has been learnt when the loss is within 2 % of the run's start or, for a target that does not move,
    less than 3 % below that of a constant answer (``gain``, see `constant_loss`). A loss that has fallen and now
    stands still is a run that has converged.
    """
    if course is None or course.falls:
        return False
    at_start = course.newer >= course.start - 0.02 * abs(course.start)
    return at_start or (gain is not None and gain < 0.03)


@torch.no_grad()
def constant_loss(
    loss: Loss, prediction: Prediction, target: Tensor, num_places: int | None, given: Given | None = None
) -> float:
    """The loss of the best answer that ignores its sample: the mean target of a place, or the classes' frequencies.

    The mean over the batch fits the batch too well, the mean over its other samples too badly; the middle of
    their two losses is what a mean over much data would have.

    Args:
        loss: of the model.
        prediction: whose places and shape count.
        target: ``[B, M, T]`` or ids ``[B, M]``, in groups ``[B, G, M, ...]``.
        num_places: N when place i means the same in all samples; None: it does not, and one mean serves all places.
        given: what the loss of the step was given.
    """
    asked = prediction.asked
    real = torch.ones_like(asked.index, dtype=torch.bool) if asked.valid is None else asked.valid
    if not target.is_floating_point():
        counts = torch.bincount(target[real], minlength=prediction.values.shape[-1]).double()
        scores = ((counts + 0.01) / (counts + 0.01).sum()).log().float()  # never -inf
        return float(loss(Prediction(scores.expand(*target.shape, -1), asked), target, given).total)

    values = target.float().flatten(0, -2)  # [E, T]
    weight = real.flatten()[:, None].float()
    place = asked.index.flatten() if num_places else torch.zeros_like(asked.index).flatten()
    total = values.new_zeros(num_places or 1, values.shape[-1]).index_add(0, place, values * weight)[place]
    count = values.new_zeros(num_places or 1, 1).index_add(0, place, weight)[place]
    overall = (values * weight).sum(0) / weight.sum().clamp(min=1)
    others = torch.where(count > 1, (total - values) / (count - 1).clamp(min=1), overall)
    means = (total / count.clamp(min=1), others)
    losses = [loss(Prediction(mean.view_as(target), asked), target, given).total for mean in means]
    return float(sum(losses) / 2)


def _mean(stretches: Sequence[Stretch]) -> tuple[float, float]:
    """The mean loss and its standard error."""
    count = sum(one.num_losses for one in stretches)
    mean = sum(one.num_losses * one.mean for one in stretches) / count
    variance = sum(one.num_losses * (one.variance + (one.mean - mean) ** 2) for one in stretches) / count
    return mean, math.sqrt(variance / count)
