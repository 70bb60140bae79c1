"""Decoding: hidden places are filled in several steps, each with what is known by then (MaskGIT, Chang et al. 2022;
masked diffusion, Sahoo et al. 2024; orders, Kim et al. 2025, arXiv:2502.06768)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from unmask.noise import Process
from unmask.schedules import Progress, Schedule, at

Score = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(ids [B, N], sample [M], place [M]) -> scores [M, V]`` of the values at some places, given what is known: hidden
places of ``ids`` hold what they held at first. A score of -inf is for what must never be drawn."""

Order = Literal["random", "fixed", "probability", "margin", "correction"]
ORDERS: tuple[Order, ...] = ("random", "fixed", "probability", "margin", "correction")
COUNTS = ("cosine", "linear")


@torch.no_grad()
def decode(
    score: Score,
    ids: Tensor,
    hidden: Tensor,
    steps: int = 12,
    schedule: Literal["cosine", "linear"] | int | Process = "cosine",
    order: Order | Tensor = "probability",
    temperature: float | Schedule = 1.0,
    choice_noise: float = 0.0,
    unconditional: Score | None = None,
    guidance: float | Schedule = 0.0,
    grid: Literal["even", "cosine"] = "even",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fills the hidden places of ids, the surest first or in any other order; all other places stay as they are.

    Each step says how many places are filled and which; values are drawn from the softmax of their scores by the
    Gumbel-max trick in float64: in float32 the noise is cut off, which lowers the temperature unasked (Zheng et al.
    2024, arXiv:2409.02908, section 4). Values drawn in one step do not know of each other.

    Two samplers of masked diffusion are cases of this. Ancestral: a `Process` in ``random`` order. First-hitting (Zheng
    et al. 2024, section 3): ``schedule=1`` in ``random`` order, exact for an exact model that is not told the time.

    Args:
        score: says what may stand at a place, given what is known.
        ids: ``[B, N]`` int64; at hidden places, what stands for a hidden value.
        hidden: ``[B, N]`` bool, the places to fill.
        steps: at least 1. MaskGIT: 8 to 12. Not used where ``schedule`` is a number.
        schedule: how many of a sample's n places are hidden after a share s of the steps: ``cosine``,
            ``floor(n cos(pi s / 2))`` (MaskGIT, section 3.3), or ``linear``, ``floor(n (1 - s))``. A step fills at
            least one place, and the last step has at least one left, where there are enough. A number fills so many
            places at a time. A `Process` goes down its times: each hidden place is filled with the probability of its
            transition.
        order: which places come first. ``random``; ``fixed``, from first to last; ``probability``, those whose drawn
            value is likeliest (MaskGIT); ``margin``, those whose two likeliest values are furthest apart (Kim et al.);
            ``correction``, by probability too, where values that have been filled in are judged again in every step
            and the least sure are hidden again. Or turns ``[N]`` or ``[B, N]``, the lowest first.
        temperature: scores are divided by it, above 0, before values are drawn; or a schedule of it over the steps.
        choice_noise: how much Gumbel noise is added to log-probabilities or margins, at least 0; falls to 0 with the
            steps. MaskGIT: 4.5.
        unconditional: scores without the condition, for guidance.
        guidance: w in ``(1 + w) * score - w * unconditional``, or a schedule of it over the steps.
        grid: how a `Process` spaces its times, see `Process.grid`.
        generator: of the random numbers, on the device of ``ids``.

    Returns:
        ``[B, N]`` int64.

    Raises:
        ValueError: a number outside its range, or an unknown order, schedule or grid.
    """
    _check(steps, schedule, order, choice_noise)
    first, ids = ids, ids.clone()
    unknown, start = hidden.clone(), hidden.sum(1)  # [B, N], [B]
    if isinstance(schedule, int):
        steps = math.ceil(int(start.max()) / schedule)
    times = schedule.grid(steps, grid) if isinstance(schedule, Process) else None
    draw = _Drawer(ids, generator)
    turn = order if isinstance(order, Tensor) else torch.arange(ids.shape[1], device=ids.device)
    if order == "random" and times is None:
        turn = draw.uniform(ids.shape)
    blind = isinstance(order, Tensor) or order in ("random", "fixed")

    for step in range(steps):
        progress = Progress(step=step, total_steps=steps)
        # How many places of each sample are filled in this step.
        if times is not None:
            assert isinstance(schedule, Process)
            lots = draw.uniform(ids.shape)
            falls = unknown & (lots < schedule.transition(times[step], times[step + 1]))
            falls = unknown if step + 1 == steps else falls
            count = falls.sum(1)
            turn = lots if order == "random" else turn
        else:
            count = _count(schedule, start, unknown.sum(1), (step + 1) / steps)  # type: ignore[arg-type]

        # Which those are: known at once, or by what is drawn for all of them.
        places = _lowest(turn.expand(ids.shape), unknown, count) if blind else unknown
        places = hidden if order == "correction" else places & (count > 0)[:, None]
        sample, place = places.nonzero(as_tuple=True)  # [M]
        if not len(sample):
            continue
        scores = score(ids, sample, place).double()  # [M, V]
        if unconditional is not None:
            extra = at(guidance, progress)
            scores = (1 + extra) * scores - extra * unconditional(ids, sample, place).double()
        values = draw.values(scores, at(temperature, progress))  # [M]
        if blind:
            ids[sample, place] = values
            unknown = unknown & ~places
            continue
        values = torch.where(unknown[sample, place], values, ids[sample, place])  # what is filled in is judged as it is
        sure = torch.full(ids.shape, -math.inf, dtype=torch.float64, device=ids.device)
        sure[sample, place] = _sureness(scores, values, order == "margin")
        if choice_noise:
            sure = sure + choice_noise * (1 - (step + 1) / steps) * draw.gumbel(ids.shape)
        count = count + (places & ~unknown).sum(1)
        kept = _lowest(-sure, places, count)
        filled = ids.index_put((sample, place), values)
        ids = torch.where(kept, filled, torch.where(places, first, ids))
        unknown = (unknown | places) & ~kept
    return ids


class _Drawer:
    """Random numbers in float64 from a generator, on the device of ids."""

    def __init__(self, ids: Tensor, generator: torch.Generator | None) -> None:
        self.device, self.generator = ids.device, generator

    def uniform(self, shape: torch.Size) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device, dtype=torch.float64)

    def gumbel(self, shape: torch.Size) -> Tensor:
        return -self.uniform(shape).clamp(min=1e-300).log().neg().log()

    def values(self, scores: Tensor, temperature: float) -> Tensor:
        """A value for each row of scores ``[M, V]``."""
        if not temperature > 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature:g}.")
        return (scores / temperature + self.gumbel(scores.shape)).argmax(1)


def _count(schedule: str | int, start: Tensor, waiting: Tensor, done: float) -> Tensor:
    """How many of the places ``waiting`` ``[B]`` are filled in the step after which a share ``done`` is over."""
    if isinstance(schedule, int):
        return waiting.clamp(max=schedule)
    share = math.cos(math.pi / 2 * done) if schedule == "cosine" else 1 - done
    left = (start.double() * share + 1e-6).floor().long()
    if done < 1:
        left = left.clamp(min=1)
    return waiting - torch.minimum(left, (waiting - 1).clamp(min=0))


def _sureness(scores: Tensor, values: Tensor, margin: bool) -> Tensor:
    """How sure the model is of these values: their log-probability, or how far the two likeliest are apart ``[M]``."""
    if not margin:
        return scores.log_softmax(-1).gather(1, values[:, None])[:, 0].clamp(min=-1e300)
    best = scores.softmax(-1).topk(min(2, scores.shape[-1])).values
    return best[:, 0] - best[:, -1]


def _lowest(keys: Tensor, among: Tensor, count: Tensor) -> Tensor:
    """Of the places ``among`` ``[B, N]``, as many as ``count`` ``[B]`` says with the lowest keys; of equal ones, the
    first."""
    rank = keys.double().masked_fill(~among, math.inf).argsort(dim=1, stable=True).argsort(1)
    return among & (rank < count[:, None])


def _check(steps: int, schedule: object, order: object, choice_noise: float) -> None:
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, but is {steps}.")
    if isinstance(schedule, int) and schedule < 1:
        raise ValueError(f"`schedule` must fill at least 1 place at a time, but is {schedule}.")
    if not isinstance(schedule, int | Process) and schedule not in COUNTS:
        raise ValueError(f"`schedule` must be one of {', '.join(COUNTS)}, a number or a process, but is {schedule!r}.")
    if not isinstance(order, Tensor) and order not in ORDERS:
        raise ValueError(f"`order` must be one of {', '.join(ORDERS)} or a tensor of turns, but is {order!r}.")
    if not choice_noise >= 0:
        raise ValueError(f"`choice_noise` must be at least 0, but is {choice_noise}.")
