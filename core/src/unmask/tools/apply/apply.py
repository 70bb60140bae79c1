"""Labels for new data, from a fine-tuned model: a table with a row for each file, document, graph or token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from unmask.data import MaskedDataModule
from unmask.support.checks import at_least
from unmask.tools.apply.table import check_table, written_table
from unmask.tools.features.labels import CLASSIFICATION, MULTI_LABEL, real_tokens
from unmask.tools.features.samples import batches, owners, parts_of
from unmask.tools.finetune.model import FineTuning


class Applied(NamedTuple):
    """A finished table.

    Args:
        path: the file.
        num_rows: in it.
        counts: by class, how many rows are of it; empty: labels are numbers.
    """

    path: Path
    num_rows: int
    counts: dict[str, int]


class Answer(NamedTuple):
    """What a model says of one sample, or of one of its tokens.

    Args:
        whole: what the sample is a piece of, or a number of its own.
        name: of the sample.
        token: its number in the sample, None where answers are of samples.
        shares: ``[C]``, see `Objective.shares`.
        token_name: what the token is called; empty: it has no name.
    """

    whole: str | int
    name: str
    token: int | None
    shares: Tensor
    token_name: str = ""


def apply(
    tuned: FineTuning,
    datamodule: MaskedDataModule,
    out: Path | str,
    *,
    threshold: float = 0.5,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Applied:
    """Write what a fine-tuned model says of every sample of some data.

    Columns are ``name`` (of the file, row or graph; else the sample's number), ``token`` where labels are per token,
    its number in the sample, ``token_name`` where tokens have names (`MaskedDataModule.token_names`), and by task:

    - classification: ``class``, its ``probability``, and ``p(CLASS)`` of each class
    - multi-label: ``classes``, joined by semicolons, and ``p(CLASS)`` of each class
    - regression: ``prediction``, or ``prediction_0`` and so on

    Pieces of one thing (samples with ``piece``), such as windows of one recording, make one row: their probabilities or
    numbers are averaged.

    Args:
        tuned: the model.
        datamodule: the data; labels are not looked at.
        out: a file that ends in ``.csv`` or ``.parquet``.
        threshold: probability from which on a class is named, of multi-label tasks, in (0, 1).
        batch_size: samples at once, at least 1; None: as in validation.
        device: where to compute.
        overwrite: replace a file that is there.
        progress: called with samples done and samples in all.

    Raises:
        ValueError: an argument outside its range, a file that is there, data that the model does not go with, or
            answers that are not finite.
    """
    out = Path(out)
    check_table(out, overwrite)
    batch_size = datamodule.val_batch_size if batch_size is None else batch_size
    at_least(1, batch_size=batch_size)
    if not 0 < threshold < 1:
        raise ValueError(f"`threshold` must be in (0, 1), but is {threshold:g}.")
    told = _Told(tuned, threshold, named=_are_named(tuned, datamodule))
    counts = dict.fromkeys(told.classes, 0)
    num_rows = 0
    tuned = tuned.to(device).eval()
    with written_table(out, told.columns) as add:
        answers = _answers(tuned, datamodule, batch_size, torch.device(device), progress)
        for (_, name, token), own in groupby(answers, key=lambda answer: answer[:3]):
            pieces = [*own]
            shares = torch.stack([answer.shares for answer in pieces]).mean(0)
            if not shares.isfinite().all():
                raise ValueError(f"Answers must be finite, but those of {name} hold NaN or infinity.")
            row, named = told.row(name, token, pieces[0].token_name, shares)
            for word in named:
                counts[word] += 1
            add(row)
            num_rows += 1
    return Applied(out, num_rows, counts)


def _answers(
    tuned: FineTuning,
    datamodule: MaskedDataModule,
    batch_size: int,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Iterator[Answer]:
    parts = parts_of(datamodule, "all")
    done, total = 0, sum(map(len, parts.values()))  # type: ignore[arg-type]
    for split, part in parts.items():
        for batch in batches(datamodule, part, batch_size):
            names = batch.get("name")
            moved = move_data_to_device(batch, device)
            with torch.no_grad():
                tokens = tuned.tokenizer(moved)
                shares = tuned.objective.shares(tuned(moved).float()).cpu()
            num_samples = tokens.num_samples
            names = [str(done + i) if names is None else str(names[i]) for i in range(num_samples)]
            wholes = names if "piece" in batch else range(done, done + num_samples)
            if tuned.task.per_token:
                real = real_tokens(tokens)
                owner, place = (index[real].tolist() for index in owners(tokens))
                words = [datamodule.token_names(split, index) for index in batch["index"].tolist()]
                for sample, token, own in zip(owner, place, shares[real.cpu()], strict=True):
                    called = words[sample]
                    yield Answer(wholes[sample], names[sample], token, own, "" if called is None else called[token])
            else:
                yield from (
                    Answer(whole, name, None, own) for whole, name, own in zip(wholes, names, shares, strict=True)
                )
            done += num_samples
            progress(done, total)


def _are_named(tuned: FineTuning, datamodule: MaskedDataModule) -> bool:
    """Whether rows are of tokens that have names."""
    return tuned.task.per_token and any(
        datamodule.token_names(split, 0) is not None for split in parts_of(datamodule, "all")
    )


class _Told:
    """Rows of the table, by the task."""

    def __init__(self, tuned: FineTuning, threshold: float, named: bool) -> None:
        objective, self.kind, self.threshold = tuned.objective, tuned.task.kind, threshold
        self.per_token = tuned.task.per_token
        numbered = [str(number) for number in range(objective.num_outputs)]
        of_classes = self.kind in (CLASSIFICATION, MULTI_LABEL)
        self.classes = list(objective.classes or numbered) if of_classes else []
        if self.kind == CLASSIFICATION:
            own = ["class", "probability"]
        elif self.kind == MULTI_LABEL:
            own = ["classes"]
        else:
            own = ["prediction"] if objective.num_outputs == 1 else [f"prediction_{number}" for number in numbered]
        shares = [f"p({word})" for word in self.classes]
        self.named = named
        places = [*(["token"] if self.per_token else []), *(["token_name"] if named else [])]
        self.columns = ["name", *places, *own, *shares]

    def row(self, name: str, token: int | None, called: str, shares: Tensor) -> tuple[list[Any], list[str]]:
        """A row, and the classes that it names."""
        numbers = [float(f"{number:.6g}") for number in shares.tolist()]
        named: list[str] = []
        own: list[Any] = []
        if self.kind == CLASSIFICATION:
            place = int(shares.argmax())
            named, own = [self.classes[place]], [self.classes[place], numbers[place]]
        elif self.kind == MULTI_LABEL:
            named = [word for word, number in zip(self.classes, numbers, strict=True) if number >= self.threshold]
            own = [";".join(named)]
        places = [*([token] if self.per_token else []), *([called] if self.named else [])]
        return [name, *places, *own, *numbers], named
