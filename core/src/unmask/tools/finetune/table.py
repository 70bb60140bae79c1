"""The table of fine-tuning: for a terminal and as plain text, with what the numbers mean."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table

from unmask.tools.finetune.result import Result, Row
from unmask.tools.finetune.settings import EPOCHS, LEAST_STEPS

SHARES = ("accuracy", "macro F1", "mAP")
"""Scores in [0, 1], shown in percent."""


def table(result: Result) -> Table:
    """A rich table: a row per score, from scratch beside pretrained, the better of a row in bold."""
    drawn = Table(box=box.SIMPLE_HEAD, title="Fine-tuned", title_justify="left")
    drawn.add_column("test score", no_wrap=True)
    for encoder in result.encoders:
        drawn.add_column(encoder, justify="right", no_wrap=True)
    if len(result.encoders) > 1:
        drawn.add_column("gain", justify="right", no_wrap=True)
    for row in result.rows:
        means = [row.mean(encoder) for encoder in result.encoders]
        best = (max if row.higher_is_better else min)(means)
        cells = []
        for encoder, mean in zip(result.encoders, means, strict=True):
            text = _number(row, mean, row.error(encoder))
            cells.append(f"[bold]{text}[/bold]" if mean == best and len(means) > 1 else text)
        gain = row.gain
        cells += [_number(row, *gain, sign=True)] if gain else []
        drawn.add_row(_label(row), *cells)
    return drawn


def finetune_text(result: Result, about: str = "", width: int = 120) -> str:
    """The same table as text without colours, and its caption."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(table(result))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    return "\n".join(lines).strip("\n") + "\n\n" + caption(result, about) + "\n"


def caption(result: Result, about: str = "") -> str:
    """What the numbers mean: ``about`` (a sentence on the model), budget, sizes and seeds."""
    settings, trials = result.settings, result.trials
    number_of = {
        name: _span([getattr(trial, name) for trial in trials]) for name in ("num_train", "num_val", "num_test")
    }
    epochs = settings["epochs"]
    budget = f"{epochs} epochs" if epochs else f"{EPOCHS} epochs or {LEAST_STEPS:,} steps, whichever is more"
    budget += f", at most {settings['max_steps']:,} steps" if settings["max_steps"] else ""
    budget += f", ended after {settings['patience']} validations without gain" if settings["patience"] else ""
    trained = "the head alone, the encoder frozen" if settings["freeze"] else "encoder and head"
    unit = f"groups of `{result.groups}`" if result.groups else "seeds"
    per = " per token" if result.task["per_token"] else ""
    lines = [
        about,
        f"Task: {result.task['kind']}{per}. Trained: {trained}, {result.num_parameters:,} parameters.",
        f"Labels: {number_of['num_train']} to train on, {number_of['num_val']} held out to choose the epoch, "
        f"{number_of['num_test']} to test on.",
        f"Budget: {budget}.",
        f"Batches of {settings['batch_size']}; the same data, order and seeds in all columns.",
    ]
    if not settings["freeze"] and len(result.encoders) > 1:
        lines.append(f"Layer-wise decay of the learning rate: {settings['layer_decay']:g} pretrained, 1 from scratch.")
    if result.groups or len(result.seeds) > 1:
        gains = "; gains are paired" if len(result.encoders) > 1 else ""
        lines.append(f"± standard error over {unit} (seeds {', '.join(map(str, result.seeds))}){gains}.")
    return "\n".join(line for line in lines if line)


def _label(row: Row) -> str:
    number = "all labels" if row.labels_per_class is None else f"{row.labels_per_class} per class"
    return f"{row.name}{', %' if row.name in SHARES else ''}, {number}"


def _number(row: Row, mean: float, error: float | None, sign: bool = False) -> str:
    share = row.name in SHARES
    factor = 100 if share else 1
    form = ("+" if sign else "") + (".1f" if share else ".4g")
    text = f"{factor * mean:{form}}"
    return text if error is None else f"{text} ± {factor * error:{form.removeprefix('+')}}"


def _span(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
