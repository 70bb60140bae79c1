"""Labels for new data, from a fine-tuned model: a table with a row for each file, document, graph or token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from unmask.data import MaskedDataModule
from unmask.support.checks import at_least
from unmask.tools.apply.table import check_table, written_table
from unmask.tools.features.labels import CLASSIFICATION, MULTI_LABEL, real_tokens
from unmask.tools.features.samples import batches, owners, parts_of
from unmask.tools.finetune.model import FineTuning
from unmask.tools.wholes import Wholes, averaged, firsts


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


class Answers(NamedTuple):
    """What a model says of some samples, or of their tokens.

    Args:
        names: of the sample of each row.
        wholes: the number of what each is a piece of, see `Wholes`; None: samples are whole.
        tokens: the number of each token in its sample; None: answers are of samples.
        shares: ``[n, C]``, see `Objective.shares`.
        token_names: of each row's token; None: tokens have no names.
    """

    names: list[str]
    wholes: np.ndarray | None
    tokens: list[int] | None
    shares: Tensor
    token_names: list[str] | None = None


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

    Pieces of one thing, such as windows of one recording, make one row, as `Wholes` tells: their probabilities or
    numbers are averaged. They are kept in memory until all are there. Tokens are not averaged.

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
        for names, _, tokens, shares, words in _put_together(answers):
            places: Sequence[int | None] = tokens or [None] * len(names)
            for name, token, called, own in zip(names, places, words or [""] * len(names), shares, strict=True):
                if not own.isfinite().all():
                    raise ValueError(f"Answers must be finite, but those of {name} hold NaN or infinity.")
                row, named = told.row(name, token, called, own)
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
) -> Iterator[Answers]:
    parts = parts_of(datamodule, "all")
    done, total = 0, sum(map(len, parts.values()))  # type: ignore[arg-type]
    wholes = Wholes()
    for split, part in parts.items():
        for batch in batches(datamodule, part, batch_size):
            names = batch.get("name")
            moved = move_data_to_device(batch, device)
            with torch.no_grad():
                tokens = tuned.tokenizer(moved)
                shares = tuned.objective.shares(tuned(moved).float()).cpu()
            num_samples = tokens.num_samples
            names = [str(done + i) if names is None else str(names[i]) for i in range(num_samples)]
            if tuned.task.per_token:
                real = real_tokens(tokens)
                owner, place = (index[real].tolist() for index in owners(tokens))
                words = [datamodule.token_names(split, index) for index in batch["index"].tolist()]
                own = [words[sample] for sample in owner]
                called = ["" if given is None else given[token] for given, token in zip(own, place, strict=True)]
                yield Answers([names[sample] for sample in owner], None, place, shares[real.cpu()], called)
            else:
                yield Answers(names, wholes.of(batch, num_samples) if "piece" in batch else None, None, shares)
            done += num_samples
            progress(done, total)


def _put_together(answers: Iterator[Answers]) -> Iterator[Answers]:
    """Answers about pieces as answers about what they are pieces of."""
    waiting: list[Answers] = []
    for one in answers:
        if one.wholes is None:
            yield one
        else:
            waiting.append(one)
    if waiting:
        whole = np.concatenate([one.wholes for one in waiting if one.wholes is not None])
        names = [name for one in waiting for name in one.names]
        shares = averaged(torch.cat([one.shares for one in waiting]), whole)
        yield Answers([names[place] for place in firsts(whole)], None, None, shares)


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
