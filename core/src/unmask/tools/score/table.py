"""The table of scores: one row per run, and which runs compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from unmask.tools.probe.probe import PRETRAINED, RAW, UNTRAINED
from unmask.tools.results import Cell, Measure, Results, Row
from unmask.tools.score.decoder import NUM_FOLDS
from unmask.tools.score.rows import RATIO
from unmask.tools.score.score import Score, comparable

MEASURE = Measure("own loss or share", less_is_better=True, form=".4g", error_form=".2g")
TITLE = "Hidden places: less is better"
SHOWN, LETTER = "hidden are", "data and\nmasks"
"""Headings of words on each run."""


def side_by_side(names: Sequence[str], scores: Sequence[Score], about: Sequence[str]) -> Results:
    """A row per run; runs that compare have the same letter.

    Args:
        names: of the runs.
        scores: of the same runs.
        about: a sentence on each.
    """
    columns = [f"own loss, {column}" for column in (UNTRAINED, PRETRAINED)]
    columns += [f"unexplained, {column}" for column in (RAW, UNTRAINED, PRETRAINED)]
    rows = []
    for name, one, letter in zip(names, scores, letters(scores), strict=True):
        found = {f"own loss, {column}": Cell(*numbers) for column, numbers in one.own_loss.items()}
        found |= {f"unexplained, {column}": Cell(*numbers) for column, numbers in one.unexplained.items()}
        rows.append(Row(name, MEASURE, found, {SHOWN: one.shown, LETTER: letter}))
    return Results(TITLE, columns, rows, _lines(scores, about), head="run", bold="", notes=[SHOWN, LETTER])


def by_measure(score: Score, method: str, about: str) -> Results:
    """The scores of one run for its JSON file: a row per measure.

    Args:
        score: of the run.
        method: whose own loss it is; only losses of one method compare.
        about: a sentence on the run.
    """
    own = {column: Cell(*numbers) for column, numbers in score.own_loss.items()}
    shares = {column: Cell(*numbers, score.folds[column]) for column, numbers in score.unexplained.items()}
    rows = [Row("unexplained", MEASURE, shares), Row(f"own loss of {method}", MEASURE, own)]
    rows = [row for row in rows if row.cells]
    columns = [column for column in (RAW, UNTRAINED, PRETRAINED) if any(column in row.cells for row in rows)]
    return Results(TITLE, columns, rows, _lines([score], [about]), asdict(score), head="score")


def letters(scores: Sequence[Score]) -> list[str]:
    """For each score ``A``, ``B``, ...: those that compare share theirs."""
    leaders: list[Score] = []
    for one in scores:
        if not any(comparable(one, leader) for leader in leaders):
            leaders.append(one)
    numbers = [next(i for i, leader in enumerate(leaders) if comparable(one, leader)) for one in scores]
    return [chr(ord("A") + number) if number < 26 else str(number) for number in numbers]


def _lines(scores: Sequence[Score], about: Sequence[str]) -> list[str]:
    """What the numbers mean and what compares."""
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
    return lines
