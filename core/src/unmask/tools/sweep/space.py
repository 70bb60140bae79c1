"""What a sweep varies: an option of ``unmask fit``, and the values that it may take."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from unmask.support.errors import UserError

FLAGS = ("log", "int")


@dataclass(frozen=True)
class Setting:
    """One option and its values: a range, or several.

    Args:
        key: of the option, such as ``model.mask.ratio``.
        low: the least value of a range.
        high: its greatest, above ``low``.
        log: equal factors are equally likely; ``low`` must be above 0.
        whole: whole numbers only.
        choices: the values, where it is no range.
    """

    key: str
    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def text(self) -> str:
        """As `read_setting` reads it."""
        if self.choices:
            return f"{self.key}={','.join(written(one) for one in self.choices)}"
        flags = "".join(f":{name}" for name, on in (("log", self.log), ("int", self.whole)) if on)
        return f"{self.key}={self.low}:{self.high}{flags}"

    def distribution(self) -> Any:
        """For Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution([written(one) for one in self.choices])
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


def read_setting(word: str) -> Setting:
    """``KEY=LOW:HIGH``, with ``:log`` or ``:int`` behind it, or ``KEY=this,that``. Two whole numbers are whole.

    Raises:
        UserError: something else, a range that is none, or fewer than two values.
    """
    key, equals, values = word.partition("=")
    key = key.strip().removeprefix("--")
    if not key or not equals:
        raise UserError(f"`--vary` must be such as `model.mask.ratio=0.4:0.9`, but is `{word}`.")
    if ":" in values and "," not in values:
        return _range(key, values.split(":"), word)
    choices = tuple(yaml.safe_load(one) for one in values.split(","))
    if len({written(one) for one in choices}) < 2:
        raise UserError(f"`--vary {key}` must have two values at least, but has `{values}`.")
    return Setting(key, choices=choices)


def written(value: Any) -> str:
    """A value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _range(key: str, words: list[str], word: str) -> Setting:
    ends, flags = words[:2], words[2:]
    numbers = [number for one in ends if (number := _number(one)) is not None]
    if len(numbers) < 2 or any(flag not in FLAGS for flag in flags):
        raise UserError(f"`--vary` must be such as `{key}=0.4:0.9` or `{key}=1e-4:1e-2:log`, but is `{word}`.")
    low, high = numbers
    if not low < high:
        raise UserError(f"`--vary {key}` must be a range from low to high, but is `{word.partition('=')[2]}`.")
    log = "log" in flags
    if log and not low > 0:
        raise UserError(f"`--vary {key}` must begin above 0 where it is `:log`, but begins at {ends[0]}.")
    whole = "int" in flags or all(isinstance(one, int) for one in numbers)
    if whole and not (low == int(low) and high == int(high)):
        raise UserError(f"`--vary {key}` must have whole ends where it is `:int`, but is `{word.partition('=')[2]}`.")
    return Setting(key, low, high, log, whole)


def _number(word: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return None
