"""What is wrong with a run, in plain sentences: what was seen, with numbers, and what usually helps."""

from __future__ import annotations

from unmask.tools.health.measures import FLAT, GONE, SAME, Spread, Trend

DIVERGED = "What usually helps: a lower learning rate, a longer warm-up, gradient clipping, bf16 in place of fp16."


def collapsed(kind: str, now: Spread, before: Spread) -> str:
    """Codes, or a target, that have collapsed.

    Args:
        kind: ``SAME``, ``FLAT`` or ``GONE``, see `unmask.tools.health.measures.collapse`.
        now: of the codes, or for ``GONE`` of the target.
        before: likewise, before training.
    """
    if kind == SAME:
        return (
            "the codes of different samples have become nearly the same: their spread (0: one vector, 1: all "
            f"directions) is {now.feature_std:.2g}, and was {before.feature_std:.2g} before training."
        )
    if kind == FLAT:
        return (
            f"the codes of different samples live in few dimensions: they differ in {now.centered_rank:.1f} "
            f"directions (effective rank), and did in {before.centered_rank:.1f} before training."
        )
    assert kind == GONE
    return (
        f"the target has shrunk to nothing: its standard deviation is {now.deviation:.2g}, and was "
        f"{before.deviation:.2g} before training."
    )


def with_its_target(what: str) -> str:
    """Collapse of codes and learned target together."""
    return (
        f"Collapse: {what} With such a target the loss falls while nothing is learnt. What usually helps: no gradient "
        "through the target, an EMA teacher with a momentum nearer to 1, a lower learning rate or a longer warm-up."
    )


def without_its_target(what: str, num_steps: int) -> str:
    """Collapse of codes alone, for ``num_steps`` steps."""
    return (
        f"Collapse: for {num_steps:,} steps {what} The encoder tells next to nothing about its input. What usually "
        "helps: a lower learning rate, a longer warm-up, or a smaller predictor, which needs the codes."
    )


def standing_still(trend: Trend, gain: float | None, window: int) -> str:
    """A stuck loss."""
    beside = "" if gain is None else f", {gain:.1%} below that of a constant answer"
    return (
        f"Stuck: the training loss has not fallen for {window:,} steps. It was {trend.start:.4g} at the start, "
        f"{trend.older:.4g} in the first half of them, and is {trend.newer:.4g}{beside}. What usually helps: another "
        "learning rate (a lower one if the loss jumps), a longer warm-up, hiding less."
    )
