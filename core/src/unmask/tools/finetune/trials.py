"""What fine-tuning measured: every trial, and the table of them with a row per score and number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unmask.tools.finetune.scores import SHARES
from unmask.tools.finetune.settings import EPOCHS, LEAST_STEPS
from unmask.tools.results import Cell, Measure, Results, Row

SCRATCH, PRETRAINED = "from scratch", "pretrained"


@dataclass(frozen=True)
class Trial:
    """One training.

    Args:
        encoder: `SCRATCH` or `PRETRAINED`.
        labels_per_class: of the draw; a float: that share of each class; None: all labels.
        group: the group left out and tested on; None: no groups.
        seed: of the split, the head, the order, augmentation, mixing and dropout.
        scores: on the test labels, by name, and ``loss``.
        val_scores: likewise on the held-out labels, at the best epoch; None: nothing was held out.
        best_epoch: counted from 0, whose weights are used.
        num_epochs: trained.
        num_steps: optimiser steps trained.
        num_train: labels trained on, one of each whole.
        num_val: labels held out, likewise.
        num_test: labels tested on, likewise.
        curve: of each validated epoch ``epoch``, ``step``, ``train/loss`` the held-out ``val/...``; None: not finite.
        seconds: of training and testing.
        checkpoint: the file of its weights in the run folder, or None.
    """

    encoder: str
    labels_per_class: int | float | None
    group: Any
    seed: int
    scores: dict[str, float]
    val_scores: dict[str, float | None] | None
    best_epoch: int
    num_epochs: int
    num_steps: int
    num_train: int
    num_val: int
    num_test: int
    curve: list[dict[str, float | None]]
    seconds: float
    checkpoint: str | None = None


def tabled(details: dict[str, Any]) -> Results:
    """A row per score and number of labels, from scratch beside pretrained; ± is over seeds, or over groups.

    Args:
        details: everything that was measured and what with:

            - ``about``: a sentence on the model
            - ``trials``: each `Trial`, in the order of training
            - ``encoders``: the columns
            - ``names``, ``higher_is_better``: of the scores
            - ``task``: what the labels ask for, as plain words
            - ``settings``: as plain numbers and words
            - ``seeds``: of the trials
            - ``groups``: the key that groups were made by, or None
            - ``num_parameters``: trained ones of each encoder with its head
            - ``seconds``: of everything
            - ``num_pieces``: samples of the first trial, where some are pieces of one thing; 0: each is a whole
            - ``config``: the parsed config of the run, or None
    """
    encoders, trials = details["encoders"], details["trials"]
    both = len(encoders) > 1
    rows = []
    for number in dict.fromkeys(trial.labels_per_class for trial in trials):
        own = [trial for trial in trials if trial.labels_per_class == number]
        for name, higher in zip(details["names"], details["higher_is_better"], strict=True):
            if not all(name in trial.scores for trial in own):
                continue  # of a number that is the same in all labels
            measure = Measure(name, percent=name in SHARES, less_is_better=not higher, form=".4g")
            row = Row(name, measure, {encoder: _cell(own, name, encoder, details["groups"]) for encoder in encoders})
            gain = row.gain(PRETRAINED, SCRATCH) if both else None
            rows.append(replace(row, details={"labels_per_class": number, "gain": gain}))
    heading = "gain" if both else ""
    return Results("Fine-tuned", encoders, rows, _lines(details), details, head="test score", gain=heading)


def _cell(trials: Sequence[Trial], name: str, encoder: str, groups: str | None) -> Cell:
    """A score for each of what ± is over: groups where there are any, else seeds."""
    units: dict[Any, list[float]] = {}
    for trial in trials:
        if trial.encoder == encoder:
            units.setdefault(trial.seed if groups is None else trial.group, []).append(trial.scores[name])
    return Cell.of([float(np.mean(scores)) for scores in units.values()])


def _lines(details: dict[str, Any]) -> list[str]:
    """What the numbers mean: the model, budget, sizes and seeds."""
    settings, trials, task, groups = (details[name] for name in ("settings", "trials", "task", "groups"))
    seeds, both = details["seeds"], len(details["encoders"]) > 1
    number_of = {
        name: _span([getattr(trial, name) for trial in trials]) for name in ("num_train", "num_val", "num_test")
    }
    epochs = settings["epochs"]
    budget = f"{epochs} epochs" if epochs else f"{EPOCHS} epochs or {LEAST_STEPS:,} steps, whichever is more"
    budget += f", at most {settings['max_steps']:,} steps" if settings["max_steps"] else ""
    budget += f", ended after {settings['patience']} validations without gain" if settings["patience"] else ""
    trained = "the head alone, the encoder frozen" if settings["freeze"] else "encoder and head"
    if rank := settings.get("lora_rank"):
        trained = f"the head and changes of rank {rank} of the frozen encoder"
    per = " per token" if task["per_token"] else ""
    lines = [
        details["about"],
        f"Task: {task['kind']}{per}. Trained: {trained}, {details['num_parameters']:,} parameters.",
        f"Labels: {number_of['num_train']} to train on, {number_of['num_val']} held out to choose the epoch, "
        f"{number_of['num_test']} to test on.",
        *([_PIECES.format(details["num_pieces"])] if details["num_pieces"] else []),
        f"Budget: {budget}.",
        f"Batches of {settings['batch_size']}; the same data, order and seeds in all columns.",
    ]
    if settings.get("masked_branch", "none") != "none":
        lines.append(
            f"A second pass with {settings['masked_ratio']:.0%} of the tokens hidden, by {settings['masked_branch']}."
        )
    if teacher := settings.get("teacher"):
        lines.append(f"Answers of {teacher} are learnt beside the labels, of weight {settings['teacher_weight']:g}.")
    if weight := settings.get("rebuild_weight"):
        lines.append(
            f"A loss by codes, {settings['rebuild_ratio']:.0%} of them hidden and rebuilt, of weight {weight:g}."
        )
    if not settings["freeze"] and both:
        lines.append(f"Layer-wise decay of the learning rate: {settings['layer_decay']:g} pretrained, 1 from scratch.")
    if groups or len(seeds) > 1:
        unit, gains = f"groups of `{groups}`" if groups else "seeds", "; gains are paired" if both else ""
        lines.append(f"± standard error over {unit} (seeds {', '.join(map(str, seeds))}){gains}.")
    return lines


_PIECES = (
    "These are of wholes, cut into {:,} pieces that are trained on one by one; else the answers about the pieces of "
    "one are averaged."
)


def _span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
