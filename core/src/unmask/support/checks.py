"""Arguments that are numbers: what they must be, with an error that names the argument, the rule and the value."""

from __future__ import annotations


def at_least(least: float, /, **values: float | None) -> None:
    """Checks that no value is below ``least``; one that is None is not looked at.

    Raises:
        ValueError: one is, or is no number.
    """
    for name, value in values.items():
        if value is not None and not value >= least:
            raise ValueError(f"`{name}` must be at least {least}, but is {value}.")


def inside(interval: str, /, **values: float) -> None:
    """Checks that values lie in an interval, written as in mathematics.

    Args:
        interval: such as ``[0, 1)``, which holds 0 and does not hold 1.
        values: by the names of the arguments.

    Raises:
        ValueError: one does not, or is no number.
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    for name, value in values.items():
        above = value >= low if interval[0] == "[" else value > low
        below = value <= high if interval[-1] == "]" else value < high
        if not (above and below):
            raise ValueError(f"`{name}` must be in {interval}, but is {value}.")
