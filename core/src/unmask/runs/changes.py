"""What ``--ckpt_path`` of ``unmask fit`` brings with it: the options of the run before, against those given now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities.exceptions import MisconfigurationException

from unmask.support.errors import UserError
from unmask.support.yaml_files import parse_yaml, read_yaml

SEED = "seed_everything"
"""The one option that a checkpoint decides: masks, order and augmentations go on by it."""
_ELSEWHERE = (SEED, "ckpt_path", "config", "trainer.default_root_dir")
"""Options that say where, not what, or are treated by themselves."""
_LONGEST = 60


class Change(NamedTuple):
    """An option that was another one."""

    key: str
    then: Any
    now: Any

    def __str__(self) -> str:
        return f"`{self.key}` {_short(self.then)} -> {_short(self.now)}"


class Before(NamedTuple):
    """The options of the run that a checkpoint is of.

    Args:
        path: the checkpoint.
        step: optimiser steps done.
        options: as its config has them; None: neither the checkpoint nor a ``config.yaml`` beside it says.
        given: the seed that was asked for now.
    """

    path: Path
    step: int
    options: dict[str, Any] | None
    given: int | bool

    @classmethod
    def of(cls, path: Path, checkpoint: Any, given: int | bool) -> Before:
        """As the checkpoint says, or the run folder that it lies in."""
        about = checkpoint if isinstance(checkpoint, dict) else {}
        text, step = about.get("config"), about.get("global_step")
        if isinstance(text, str):
            options = parse_yaml(text, f"{path}: config")
        else:
            folders = [folder for folder in path.absolute().parents[:2] if (folder / "config.yaml").is_file()]
            options = read_yaml(folders[0] / "config.yaml") if folders else None
        known = options if isinstance(options, dict) else None
        return cls(path, step if isinstance(step, int) else 0, known, given)

    @property
    def seed(self) -> int | bool:
        """What the run was seeded with, and goes on with; the one given where that is not known."""
        then = (self.options or {}).get(SEED)
        return then if isinstance(then, int) and not isinstance(then, bool) else self.given

    def told(self, text: str) -> str | None:
        """What to say of options that are others in ``text``, the config of the run that goes on; None: none are."""
        if self.options is None:
            return f"The options that `{self.path}` was trained with are not known: those given now apply."
        found = [one for one in _changes(self.options, parse_yaml(text, "config")) if one.key not in _ELSEWHERE]
        parts = [f"{', '.join(map(str, found))} (applied)"] if found else []
        if self.seed != self.given:
            parts.append(f"{Change(SEED, self.seed, self.given)} (not applied: {self.seed} is kept)")
        return f"Resumed at step {self.step:,} with other options: {'; '.join(parts)}." if parts else None


def not_resumable(error: Exception, path: str | None) -> UserError | None:
    """What to say of an error in the part of Lightning that reads a checkpoint; None: it came from elsewhere."""
    if path is None or isinstance(error, UserError | MisconfigurationException):
        return None
    trace, where = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").endswith("checkpoint_connector"):
            where = _PARTS.get(trace.tb_frame.f_code.co_name, where)
        trace = trace.tb_next
    if where is None:
        return None
    why = " ".join(str(error).split())[:200] or "it is empty"
    return UserError(f"`{path}` cannot be resumed: {where} what this run would write ({type(error).__name__}: {why}).")


_PARTS = {
    "restore_datamodule": "the state of its data is not",
    "restore_callbacks": "the states of its callbacks are not",
    "restore_precision_plugin_state": "the state of its precision is not",
    "restore_loops": "its counters are not",
    "restore_optimizers": "the states of its optimiser are not",
    "restore_lr_schedulers": "the states of its learning-rate schedule are not",
}
"""Functions of Lightning's, and what they read."""


def _changes(then: Any, now: Any, key: str = "", free: bool = False) -> Iterator[Change]:
    """Options that differ. Where the class does, its arguments are not compared; what one side lacks is an option of
    another version, except in a mapping that is an option's value (``free``)."""
    if isinstance(then, dict) and isinstance(now, dict):
        if then.get("class_path") != now.get("class_path"):
            yield Change(key, then, now)
        elif "class_path" in then:
            for part in ("init_args", "dict_kwargs"):
                yield from _changes(then.get(part) or {}, now.get(part) or {}, key)
        else:
            for name in then | now:
                if free or (name in then and name in now):
                    inner = f"{key}.{name}" if key else name
                    yield from _changes(then.get(name), now.get(name), inner, free=bool(key))
    elif _are_classes(then) and _are_classes(now) and len(then) == len(now):
        for i, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _changes(one, other, f"{key}.{i}")
    elif then != now:
        yield Change(key, then, now)


def _are_classes(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(one, dict) and "class_path" in one for one in values)


def _short(value: Any) -> str:
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    words = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."
