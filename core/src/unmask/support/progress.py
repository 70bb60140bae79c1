"""A progress bar for long work: on a terminal, and nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Moved(Protocol):
    """Called with how much is done so far, out of ``total``; ``what`` is being done."""

    def __call__(self, done: float, total: float | None = None, what: str | None = None) -> None: ...


@contextmanager
def progress(what: str, total: float | None = None, shown: bool = True) -> Iterator[Moved]:
    """A bar in the block, moved by what it gives.

    Args:
        what: is being done.
        total: how much there is to do; None: the first call says it. What that call says is done already does not
            count as speed.
        shown: whether there is a bar at all.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    begun, console = what, Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        if total is not None:
            bar.add_task(what, total=max(total, 1))

        def moved(done: float, total: float | None = None, what: str | None = None) -> None:
            if not bar.tasks:
                bar.add_task(what or begun, total=max(total or 1, 1), completed=int(done))
            task = bar.tasks[0]
            whole = max(total, 1) if total is not None else task.total or 1
            bar.update(task.id, description=what, total=whole, completed=min(done, whole))

        yield moved
        for task in bar.tasks:
            bar.update(task.id, completed=task.total)


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """``items`` one after the other, with a bar."""
    with progress(what, len(items)) as moved:
        for done, item in enumerate(items, 1):
            yield item
            moved(done)
