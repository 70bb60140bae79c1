"""One training: Lightning's loop, the best epoch by held-out labels restored, the test labels answered once."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from unmask import seeds
from unmask.data import Augmented, KeyedSampler, MaskedDataModule, ResumableLoader
from unmask.tools.finetune.labelled import Labelled
from unmask.tools.finetune.model import Answers, FineTuning
from unmask.training.external_callbacks import only
from unmask.training.progress_bar import ProgressBar
from unmask.training.quiet import quiet


class Outcome(NamedTuple):
    """How a training went; see `unmask.tools.finetune.trials.Trial`."""

    scores: dict[str, float]
    val_scores: dict[str, float | None] | None
    best_epoch: int
    num_epochs: int
    num_steps: int
    curve: list[dict[str, float | None]]
    answers: Answers
    seconds: float


def train(
    model: FineTuning,
    datamodule: MaskedDataModule,
    train_labels: Labelled,
    val_labels: Labelled | None,
    test_labels: Labelled,
    augment: Callable[[Any], Any] | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Outcome:
    """Train ``model`` in place; it ends with the weights of its best epoch, on the CPU, in evaluation mode.

    Args:
        model: to be trained.
        datamodule: whose way of collating and number of loading processes are used.
        train_labels: to train on.
        val_labels: to choose the best epoch by, and to stop early; None: the last step's weights count.
        test_labels: to answer in the end.
        augment: of training samples.
        device: one device.
        progress: show a bar.

    Raises:
        ValueError: outputs or scores that are not finite, or as the encoder.
    """
    begun = time.perf_counter()
    settings = model.settings
    epoch_steps = math.ceil(len(train_labels.samples()) / settings.batch_size)
    epochs, every = settings.length(epoch_steps)
    curve = Curve(every)
    model.val_wholes = None if val_labels is None else val_labels.samples().wholes
    with tempfile.TemporaryDirectory() as folder, quiet(), seeds.seeded(model.seed, "finetune"), only():
        best = ModelCheckpoint(
            dirpath=folder,
            monitor="val/chooses",
            mode="min" if model.objective.falls else "max",
            save_weights_only=True,
            save_on_train_epoch_end=False,
        )
        callbacks: list[L.Callback] = [curve]
        if val_labels is not None:
            callbacks.append(best)
            if settings.patience:
                callbacks.append(EarlyStopping("val/chooses", patience=settings.patience, mode=best.mode))
        trainer = L.Trainer(
            **_where(torch.device(device)),
            precision=settings.precision,  # type: ignore[arg-type]
            max_epochs=epochs,
            max_steps=settings.max_steps or -1,
            check_val_every_n_epoch=every,
            val_check_interval=min(epoch_steps, settings.max_steps or epoch_steps),  # at least one validation
            limit_val_batches=1.0 if val_labels is not None else 0,
            num_sanity_val_steps=0,
            logger=False,
            default_root_dir=folder,
            callbacks=[*callbacks, *([ProgressBar()] if progress else [])],
            enable_checkpointing=val_labels is not None,
            enable_progress_bar=progress,
            enable_model_summary=False,
        )
        trainer.fit(
            model,
            _train_loader(datamodule, train_labels, augment, model, lambda: (trainer.current_epoch, 0)),
            None if val_labels is None else _loader(datamodule, val_labels),
        )
        num_epochs = curve.num_epochs
        best_epoch = num_epochs - 1
        if val_labels is not None:
            state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
            model.load_state_dict(state["state_dict"])
            best_epoch = int(state["epoch"])
        answers = model.of_wholes(
            trainer.predict(model, _loader(datamodule, test_labels)),  # type: ignore[arg-type]
            test_labels.samples().wholes,
        )
    model.cpu().eval()
    if not bool(answers.outputs.isfinite().all()):
        raise ValueError("The trained outputs must be finite, but are not: lower `lr`.")
    answers = answers._replace(sample=torch.from_numpy(test_labels.samples().numbers)[answers.sample])
    scores = model.score([answers])
    val_scores: dict[str, float | None] | None = None
    if val_labels is not None:
        kept = next(one for one in curve.epochs if one["epoch"] == best_epoch)
        val_scores = {name: kept.get(f"val/{name}") for name in scores}
    seconds = time.perf_counter() - begun
    return Outcome(scores, val_scores, best_epoch, num_epochs, trainer.global_step, curve.epochs, answers, seconds)


class Curve(L.Callback):
    """Notes what was logged, every so many epochs and in the last.

    Args:
        every: epochs from one note to the next.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.epochs: list[dict[str, float | None]] = []
        self.num_epochs = 0
        self._validated = -1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validated = trainer.current_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch
        self.num_epochs = epoch + 1
        known = self._validated == epoch  # `max_steps` may end an epoch before its validation
        if (epoch + 1) % self.every and not known and not self._ends(trainer):
            return
        logged = {
            name: float(f"{number:.7g}") if bool(number.isfinite()) else None
            for name, number in trainer.callback_metrics.items()
            if name != "val/chooses" and (known or not name.startswith("val/"))
        }
        self.epochs.append({"epoch": epoch, "step": trainer.global_step, **logged})

    @staticmethod
    def _ends(trainer: L.Trainer) -> bool:
        return trainer.global_step == trainer.estimated_stepping_batches


class BalancedSampler(KeyedSampler):
    """Keys of samples drawn with repetition, so that each class comes as often."""

    def of(self, label: Tensor) -> Self:
        """Takes the class ids of all samples, ``[n]``."""
        _, place, counts = label.unique(return_inverse=True, return_counts=True)
        self.weight = 1 / counts[place].double()
        return self

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        rng = seeds.generator("cpu", self.seed, "balanced", self.epoch)
        order = torch.multinomial(self.weight, len(self.weight), replacement=True, generator=rng)
        for index in order[self.start :].tolist():
            yield self.seed, self.epoch, index


def _train_loader(
    datamodule: MaskedDataModule,
    labelled: Labelled,
    augment: Callable[[Any], Any] | None,
    model: FineTuning,
    where: Callable[[], tuple[int, int]],
) -> ResumableLoader:
    """Keyed order and augmentation, so that encoders which are compared see the same."""
    dataset = Augmented(labelled.samples(), augment)
    like = datamodule.val_dataloader()
    sampler = KeyedSampler(dataset, 1, 0, seed=model.seed, drop_last=False)
    if model.settings.sampling == "balanced":
        label = labelled.value[np.argsort(labelled.sample, kind="stable")]
        sampler = BalancedSampler(dataset, 1, 0, seed=model.seed, drop_last=False).of(label)
    return ResumableLoader(
        dataset,
        sampler=sampler,
        where=where,
        batch_size=model.settings.batch_size,
        num_workers=like.num_workers,
        persistent_workers=like.num_workers > 0,
        collate_fn=like.collate_fn,
    )


def _loader(datamodule: MaskedDataModule, labelled: Labelled) -> DataLoader:
    like = datamodule.val_dataloader()
    return DataLoader(
        Augmented(labelled.samples()),
        batch_size=datamodule.val_batch_size,
        num_workers=like.num_workers,
        persistent_workers=like.num_workers > 0,
        collate_fn=like.collate_fn,
    )


def _where(device: torch.device) -> dict[str, Any]:
    """Lightning's words for one device."""
    if device.type == "cpu":
        return {"accelerator": "cpu", "devices": 1}
    return {"accelerator": device.type, "devices": [device.index or 0]}
