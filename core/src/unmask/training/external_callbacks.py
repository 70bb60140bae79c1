"""Callbacks that installed packages add to every Lightning trainer: left out, and named, unless they are asked for.

Lightning takes callbacks from the entry points of any installed package (`GROUP`), so a package that a run knows
nothing of may print, write files or stop it. Here such packages are named without importing them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.connectors import callback_connector
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.model_helpers import is_overridden

from unmask.plugins.installed import entry_points, name_of
from unmask.support.nearest import nearest, quoted

GROUP = "lightning.pytorch.callbacks_factory"
ALL = "all"

_told: set[str] = set()


@contextmanager
def only(asked: Sequence[str] = (), beside: Sequence[Callback] = (), hint: str = "") -> Iterator[None]:
    """Trainers that are made in this block have the callbacks of the packages in ``asked``, and of no other.

    Packages that are left out, or that fail, are named in one line each, once in a process.

    Args:
        asked: names of distributions, or ``all``.
        beside: the trainer's other callbacks; a further one of the same state would make checkpoints ambiguous, and
            is left out.
        hint: what to do to have those that are left out.

    Raises:
        ValueError: a name of no distribution that has such callbacks; the message names the nearest.
    """
    factories = _factories()
    chosen = _chosen(asked, list(factories))
    if others := [name for name in factories if name not in chosen]:
        _tell(f"Left out: callbacks that {quoted(others)} would add to every run{hint and f'; {hint}'}.")

    def load(group: str) -> list[Callback]:
        taken: list[Callback] = []
        for name in chosen:
            for factory in factories[name]:
                taken += _made(name, factory, [*beside, *taken])
        return taken

    of_lightning = callback_connector._load_external_callbacks
    callback_connector._load_external_callbacks = load  # there is no public switch
    try:
        yield
    finally:
        callback_connector._load_external_callbacks = of_lightning


def _factories() -> dict[str, list[metadata.EntryPoint]]:
    """Entry points by the name of their distribution. Nothing is imported."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for entry in entry_points().select(group=GROUP):
        found.setdefault(name_of(entry), []).append(entry)
    return dict(sorted(found.items()))


def _chosen(asked: Sequence[str], there: Sequence[str]) -> list[str]:
    if ALL in asked:
        return list(there)
    names = {_normal(name): name for name in there}
    for name in asked:
        if _normal(name) not in names:
            near = nearest(name, there) or there
            hint = f"nearest: {quoted(near)}" if near else "there are none"
            raise ValueError(
                f"`external_callbacks` must be packages that add callbacks to Lightning, but is `{name}`; {hint}."
            )
    return [names[_normal(name)] for name in dict.fromkeys(asked)]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _made(name: str, factory: metadata.EntryPoint, beside: Sequence[Callback]) -> list[Callback]:
    """What a factory gives; nothing when it fails, whatever the reason."""
    try:
        given = factory.load()()
    except (Exception, SystemExit) as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        _tell(f"Left out: callbacks of `{name}`, whose {factory.value} failed with {cause}")
        return []
    taken: list[Callback] = []
    for one in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(one, Callback):
            _tell(f"Left out: {type(one).__name__} of `{name}`, which is no callback of Lightning's.")
        elif _state(one) is not None and _state(one) in map(_state, [*beside, *taken]):
            _tell(f"Left out: {type(one).__name__} of `{name}`, since the run has one.")
        else:
            taken.append(one)
    return taken


def _state(callback: Callback) -> str | None:
    """What its state is called in a checkpoint; None: it has none."""
    return callback.state_key if is_overridden("state_dict", instance=callback, parent=Callback) else None


@rank_zero_only
def _tell(line: str) -> None:
    if line not in _told:
        _told.add(line)
        print(line, flush=True)
