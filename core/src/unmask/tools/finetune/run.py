"""The run: each encoder under each seed, number of labels and group, with the same data and budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from unmask import agreements
from unmask import seeds as keyed
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.support.yaml_files import parse_yaml
from unmask.tools.features.labels import CLASSIFICATION
from unmask.tools.features.samples import batches, split_of
from unmask.tools.finetune.labelled import Labelled, describe, read_labels
from unmask.tools.finetune.loop import Outcome, train
from unmask.tools.finetune.masked_branch import MaskedBranch
from unmask.tools.finetune.mixing import Mixing
from unmask.tools.finetune.model import FineTuning, trainable_embedder
from unmask.tools.finetune.objective import Objective, objective_of
from unmask.tools.finetune.predictions import Predictions
from unmask.tools.finetune.rebuilder import Rebuilder
from unmask.tools.finetune.saved import load, save
from unmask.tools.finetune.settings import Settings
from unmask.tools.finetune.task_teacher import TaskTeacher
from unmask.tools.finetune.trials import PRETRAINED, SCRATCH, Trial, tabled
from unmask.tools.output import write
from unmask.tools.results import Results


class Plan(NamedTuple):
    """The data of one trial, whichever the encoder."""

    labels_per_class: int | float | None
    group: Any
    seed: int
    train: Labelled
    val: Labelled | None
    test: Labelled
    objective: Objective

    @property
    def parts(self) -> tuple[Labelled, Labelled | None, Labelled]:
        """Labels to train on, held out, and to test on."""
        return self.train, self.val, self.test


def finetune(
    datamodule: MaskedDataModule,
    *,
    pretrained: MaskedModel | None = None,
    scratch: Callable[[int], MaskedModel] | None = None,
    settings: Settings = Settings(),
    seeds: Sequence[int] = (0,),
    labels_per_class: Sequence[int | float | None] = (None,),
    groups: str | None = None,
    device: torch.device | str = "cpu",
    folder: Path | str | None = None,
    config: str | None = None,
    about: str = "",
    progress: bool = False,
) -> Results:
    """Fine-tune a pretrained encoder, and one from scratch beside it.

    Pieces of one thing, such as windows of a recording, are trained on one by one. Everywhere else they count as one,
    see `unmask.tools.wholes`: they are drawn, held out and answered together, and class weights and scores are of
    wholes.

    Both columns of a trial see the same labels, in the same order, with the same augmentation, mixing, head and
    number of steps. Test labels are looked at once, when the best epoch has been chosen on held-out ones.

    Args:
        datamodule: with labels in its probe sets.
        pretrained: a trained model, whose `embedder` is fine-tuned; left as it is.
        scratch: gives a freshly initialised model for a seed. At least one of the two must be given.
        settings: schedule and everything else. What the labels are taken for is printed before training.
        seeds: of the trials, each at least 0.
        labels_per_class: labels of each class to draw, with the held-out ones among them; a float is a share of each
            class, in (0, 1); None: all labels.
        groups: a key of the samples: every value of it is left out once and tested on, the rest trained on.
        device: one device.
        folder: where to write ``finetune.json``, ``finetune/predictions.csv`` and ``finetune/*.ckpt``, the
            weights of the first seed (and group) of each column; None: nothing is written.
        config: the text of the run's ``config.yaml``, kept in checkpoints so that `load` needs nothing else.
        about: a sentence on the model for the caption.
        progress: show a bar.

    Returns:
        A row per score and number of labels; the details are as of `tabled`.

    Raises:
        ValueError: data without labels, too few of them, settings that do not fit the data or the
            encoder, ``scratch`` models that are the same under all seeds, or a score that is not finite.
    """
    begun = time.perf_counter()
    first = pretrained if pretrained is not None else scratch(seeds[0]) if scratch is not None else None
    if first is None or not seeds:
        raise ValueError("`pretrained` or `scratch`, and a seed, must be given to fine-tune.")
    columns: list[tuple[str, Callable[[int], MaskedModel], Settings]] = []
    if scratch is not None:
        _check_random(scratch, seeds[0])
        columns.append((SCRATCH, scratch, replace(settings, layer_decay=1.0)))
    if pretrained is not None:
        columns.append((PRETRAINED, lambda _: pretrained, settings))

    augment = datamodule.augment if settings.augment in (None, True) else None
    if settings.augment and augment is None:
        raise ValueError("`augment` must be left out, for the data has no augmentation of its own.")
    agreements.check(first, datamodule, loaded=False, other=True)
    with keyed.seeded("finetune", "read"):  # loaders draw a number
        datamodule.setup("validate")  # says what was found
        agreements.check(first, datamodule, loaded=True, other=True)
        train_labels, test_labels = read_labels(datamodule, first.embedder.tokenizer, settings.task, groups)
        few = next(iter(batches(datamodule, split_of(datamodule, "probe_train"), 2)))
    task = train_labels.task
    print(describe(train_labels, test_labels), flush=True)
    Mixing(settings.mixup, settings.cutmix).check(first.embedder.tokenizer(few), task)
    if (masked := MaskedBranch.of(settings)) is not None:
        masked.check(first.embedder.tokenizer(few), task)
    if settings.rebuild_weight:
        Rebuilder.check(first.embedder.tokenizer(few), task)
    plans = list(_plans(train_labels, test_labels, settings, seeds, labels_per_class))
    teacher = None if settings.teacher is None else TaskTeacher(load(settings.teacher))
    if teacher is not None:
        teacher.check(plans[0].objective, task)

    trials: list[Trial] = []
    folder = None if folder is None else Path(folder)
    with nullcontext() if folder is None else Predictions(folder / "finetune" / "predictions.csv", task) as table:
        for number, (plan, (name, build, own)) in enumerate(product(plans, columns), start=1):
            title = _title(name, plan, groups)
            if progress:
                print(f"[{number}/{len(plans) * len(columns)}] {title}", flush=True)
            model = FineTuning(build(plan.seed), plan.objective, task, own, plan.seed, teacher)
            done = train(model, datamodule, plan.train, plan.val, plan.test, augment, device, progress)
            keep = folder is not None and (plan.seed, plan.group) == (plans[0].seed, plans[0].group)
            checkpoint = f"finetune/{_file_name(name, plan)}.ckpt" if keep else None
            if folder is not None and checkpoint is not None:
                save(model, folder / checkpoint, config, done.num_steps)
            if table is not None:
                table.add(name, plan.labels_per_class, plan.group, plan.seed, done.answers, plan.objective)
            trials.append(_trial(name, plan, done, checkpoint))
    objective = plans[0].objective
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    result = tabled({
        "about": about, "trials": trials, "encoders": [name for name, *_ in columns], "names": objective.names,
        "higher_is_better": objective.higher_is_better, "task": asdict(task), "settings": asdict(settings),
        "seeds": list(seeds), "groups": groups, "num_parameters": trained, "seconds": time.perf_counter() - begun,
        "num_pieces": _num_pieces(plans[0]), "config": parse_yaml(config or "", "config"),
    })  # fmt: skip
    if folder is not None:
        write(folder / "finetune.json", result.to_json().encode())
    return result


def _plans(
    train: Labelled,
    test: Labelled,
    settings: Settings,
    seeds: Sequence[int],
    labels_per_class: Sequence[int | float | None],
) -> Iterator[Plan]:
    """Every trial's data, all of them checked before any training."""
    num_classes = 0
    if train.task.kind == CLASSIFICATION:
        num_classes = int(max(train.value.max(), test.value.max())) + 1
    for group, own_train, own_test in _folds(train, test):
        for number, seed in product(labels_per_class, seeds):
            drawn = own_train if number is None else own_train.draw(number, seed, 0)
            kept, val = drawn.hold_out(settings.val_ratio, seed, 1)
            tested, trained = own_test.of_wholes, kept.of_wholes
            if train.task.kind == CLASSIFICATION and len(trained.unique()) < 2:
                raise ValueError("Classification needs labels of at least 2 classes to train on, but there is one.")
            objective = objective_of(train.task, trained, settings, num_classes, train.classes)
            where = "" if group is None else f" of group {group!r}"
            blank = objective.scores(torch.zeros(len(tested), objective.num_outputs), tested)
            undefined = [name for name, score in blank.items() if not np.isfinite(score)]
            if undefined:
                raise ValueError(f"{undefined[0]} cannot be measured on the test labels{where}: they are all alike.")
            yield Plan(number, group, seed, kept, val, own_test, objective)


def _folds(train: Labelled, test: Labelled) -> Iterator[tuple[Any, Labelled, Labelled]]:
    if train.groups is None:
        yield None, train, test
        return
    own = np.array([str(train.groups[sample]) for sample in train.sample])
    names = list(dict.fromkeys(sorted(own)))
    if len(names) < 2:
        raise ValueError(f"`groups` needs at least 2 groups, but all samples are of {names}.")
    for name in names:
        yield name, train.take(own != name), train.take(own == name)


def _num_pieces(plan: Plan) -> int:
    parts = [part for part in plan.parts if part is not None]
    num_samples = sum(map(len, parts))
    return num_samples if num_samples > sum(len(part.of_wholes) for part in parts) else 0


def _trial(name: str, plan: Plan, done: Outcome, checkpoint: str | None) -> Trial:
    num_train, num_val, num_test = (0 if part is None else len(part.of_wholes) for part in plan.parts)
    return Trial(
        name, plan.labels_per_class, plan.group, plan.seed, done.scores, done.val_scores, done.best_epoch,
        done.num_epochs, done.num_steps, num_train, num_val, num_test,
        done.curve, done.seconds, checkpoint,
    )  # fmt: skip


def _check_random(scratch: Callable[[int], MaskedModel], seed: int) -> None:
    """An encoder that is built with weights of its own is not from scratch."""
    one, other = (
        [p for p in trainable_embedder(scratch(each)).encoder.parameters() if p.requires_grad and p.ndim > 1]
        for each in (seed, seed + 1)
    )
    if one and all(torch.equal(a, b) for a, b in zip(one, other, strict=True)):
        raise ValueError(
            "The encoder begins with the same weights under any seed, such as pretrained ones that its config "
            "asks for, so that nothing is from scratch; use `--no_scratch`."
        )


def _title(name: str, plan: Plan, groups: str | None) -> str:
    amount = plan.labels_per_class
    number = f"{amount:.3g} of all labels" if isinstance(amount, float) else f"{amount} labels per class"
    number = "all labels" if amount is None else number
    without = f", without {groups} {plan.group}" if groups else ""
    return f"{name}, {number}{without}, seed {plan.seed}"


def _file_name(name: str, plan: Plan) -> str:
    amount = plan.labels_per_class
    number = f"-{amount:g}-of-all" if isinstance(amount, float) else f"-{amount}-per-class"
    number = "" if amount is None else number
    return f"{'scratch' if name == SCRATCH else name}{number}-seed{plan.seed}"
