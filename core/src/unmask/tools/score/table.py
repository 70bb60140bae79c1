"""The table of scores: one row per run."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from unmask.tools.probe.probe import PRETRAINED, RAW, UNTRAINED
from unmask.tools.score.decoder import NUM_FOLDS
from unmask.tools.score.rows import RATIO
from unmask.tools.score.score import Score, comparable


def table(names: Sequence[str], scores: Sequence[Score]) -> Table:
    """A rich table; runs that compare have the same letter.

    Args:
        names: of the runs.
        scores: of the same runs.
    """
    drawn = Table(box=box.SIMPLE_HEAD, title="Hidden places: less is better", title_justify="left")
    drawn.add_column("run")
    for column in (UNTRAINED, PRETRAINED):
        drawn.add_column(f"own loss,\n{column}", justify="right", no_wrap=True)
    for column in (RAW, UNTRAINED, PRETRAINED):
        drawn.add_column(f"unexplained,\n{column}", justify="right", no_wrap=True)
    for heading in ("hidden are", "data and\nmasks"):
        drawn.add_column(heading, no_wrap=True)
    for name, one, letter in zip(names, scores, letters(scores), strict=True):
        losses = [_number(one.own_loss.get(column)) for column in (UNTRAINED, PRETRAINED)]
        shares = [_number(one.unexplained.get(column)) for column in (RAW, UNTRAINED, PRETRAINED)]
        drawn.add_row(name, *losses, *shares, one.shown, letter)
    return drawn


def plain(names: Sequence[str], scores: Sequence[Score], about: Sequence[str], width: int = 200) -> str:
    """The same table as text without colours, and its caption."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(table(names, scores))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    return "\n".join(lines).strip("\n") + "\n\n" + caption(scores, about) + "\n"


def caption(scores: Sequence[Score], about: Sequence[str]) -> str:
    """What the numbers mean and what compares; ``about`` is a sentence on each run."""
    first = scores[0]
    lines = [
        *about,
        f"{first.num_samples:,} validation samples, {RATIO:.0%} of the places hidden by masks that are the same for "
        "every run. ± standard error over batches (own loss) and folds.",
        "Own loss: of the method; compares runs of one method, target and loss only.",
    ]
    if any(one.unexplained for one in scores):
        decoder = "one for each place" if first.by_place else "one for all places"
        lines.append(
            "Unexplained: share of the variance of hidden values that a linear decoder of frozen codes leaves, "
            f"{decoder}, in {NUM_FOLDS}-fold cross-validation; 1 is the mean value. Compares any methods on the same "
            "data and tokens; where hidden places are shown as a token, the decoder has the code there as well."
        )
    lines += dict.fromkeys(one.note for one in scores if one.note)
    if len(set(letters(scores))) > 1:
        lines.append("Runs of different letters differ in data or tokens: their scores do not compare.")
    return "\n".join(lines)


def letters(scores: Sequence[Score]) -> list[str]:
    """For each score ``A``, ``B``, ...: those that compare share theirs."""
    leaders: list[Score] = []
    for one in scores:
        if not any(comparable(one, leader) for leader in leaders):
            leaders.append(one)
    numbers = [next(i for i, leader in enumerate(leaders) if comparable(one, leader)) for one in scores]
    return [chr(ord("A") + number) if number < 26 else str(number) for number in numbers]


def _number(found: tuple[float, float | None] | None) -> str:
    if found is None:
        return "—"
    mean, error = found
    return f"{mean:.4g}" if error is None else f"{mean:.4g} ± {error:.2g}"
