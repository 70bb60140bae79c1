"""Online probe: how much of the labels kNN and a linear classifier find in the codes, while a run goes on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch.utils.data import Subset

from unmask import seeds
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.support.checks import at_least
from unmask.support.nearest import nearest, quoted
from unmask.tools.features.labels import are_measured
from unmask.tools.features.samples import batches, split_of
from unmask.tools.features.vectors import Vectors, evaluating, vectors
from unmask.tools.probe.fits import ACCURACY, PROBES, scaled, score
from unmask.tools.probe.protocol import Protocol

OFFERED = ("knn", "linear")


class OnlineProbe(L.Callback):
    """Logs ``probe/knn`` and ``probe/linear``, accuracies in [0, 1], at the ends of epochs and in the progress bar.

    Fitted on ``probe_train`` and scored on ``probe_test`` of the data module, on codes of
    `MaskedModel.embedder` with nothing hidden: kNN by cosine (DINO, Caron et al. 2021), and logistic
    regression of one fixed strength. Made to follow a run and to compare its epochs; ``unmask probe``
    measures it, beside raw input and the untrained encoder. Training is not changed.

    Data without class labels are said once, in one line, and the probe is switched off. On several devices
    all compute codes, which a sharded model needs, and one fits.

    Args:
        every_n_epochs: epochs from one probe to the next, at least 1. The end of the run always has one.
        probes: ``knn``, ``linear`` or both.
        num_train: labelled samples to fit on, at most; at least 2. The same draw each time and in each run.
        num_test: samples to score on, at most; at least 1.
        pool: ``mean``, ``max``, ``mean+max`` or ``cls``, see `Latent.pool`.
        layer: whose codes, in [1, embedder.num_layers]; None: the last one's.

    Raises:
        ValueError: a count below its minimum, no or unknown ``probes``; in `setup`, another model than a
            `MaskedModel` or other data than a `MaskedDataModule`; while probing, as `features`.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        probes: tuple[str, ...] = OFFERED,
        num_train: int = 5000,
        num_test: int = 2000,
        pool: str = "mean",
        layer: int | None = None,
    ) -> None:
        at_least(1, every_n_epochs=every_n_epochs, num_test=num_test)
        at_least(2, num_train=num_train)
        wrong = [probe for probe in probes if probe not in OFFERED]
        if wrong or not probes:
            near = quoted(nearest(wrong[0], OFFERED) or OFFERED) if wrong else quoted(OFFERED)
            raise ValueError(f"`probes` must be some of {quoted(OFFERED)}, but is {list(probes)}; nearest: {near}.")
        self.every_n_epochs = every_n_epochs
        self.probes = tuple(probes)
        self.num_train, self.num_test = num_train, num_test
        self.pool, self.layer = pool, layer
        self._off = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, MaskedModel):
            raise ValueError(f"`OnlineProbe` needs a MaskedModel, but the model is a {type(pl_module).__name__}.")
        datamodule = getattr(trainer, "datamodule", None)
        if stage == "fit" and not isinstance(datamodule, MaskedDataModule):
            given = "loaders" if datamodule is None else f"a {type(datamodule).__name__}"
            raise ValueError(f"`OnlineProbe` needs a MaskedDataModule with probe sets, but the data is {given}.")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0 or _last_epoch(trainer)
        if self._off or not due:
            return
        matrices: list[np.ndarray] = []
        with ExitStack() as stack:
            stack.enter_context(evaluating(pl_module))
            stack.enter_context(trainer.precision_plugin.forward_context())
            for name, most in (("probe_train", self.num_train), ("probe_test", self.num_test)):
                codes, labels, _ = self._vectors(trainer, pl_module, name, most)  # type: ignore[arg-type]
                classes = trainer.datamodule.classes  # type: ignore[attr-defined]
                if (problem := _problem(codes, labels, classes)) is not None:
                    self._off = True
                    rank_zero_warn(f"`OnlineProbe` is switched off: {problem}.")
                    return
                matrices += [codes, labels]  # type: ignore[list-item]
            scores = _scores(self.probes, *matrices) if trainer.is_global_zero else {}
        scores = trainer.strategy.broadcast(scores)
        pl_module.log_dict({f"probe/{name}": score for name, score in scores.items()}, prog_bar=True, batch_size=1)

    def _vectors(self, trainer: L.Trainer, model: MaskedModel, name: str, most: int) -> Vectors:
        """Codes and labels of at most so many samples of a split, the same each time."""
        datamodule: MaskedDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if getattr(datamodule.splits, name) is None:
            return Vectors(np.zeros((0, model.embedder.width), np.float32), None, None)
        dataset = split_of(datamodule, name)
        total = len(dataset)  # type: ignore[arg-type]
        order = torch.randperm(total, generator=seeds.generator("cpu", "online probe", name))[:most]
        loader = batches(datamodule, Subset(dataset, order.sort().values.tolist()), datamodule.val_batch_size)
        converted = map(trainer.precision_plugin.convert_input, loader)
        return vectors(model.embedder, converted, self.pool, self.layer, model.device)


def _problem(codes: np.ndarray, labels: np.ndarray | None, classes: Sequence[str]) -> str | None:
    """Why accuracies cannot be had, or None."""
    if labels is None:
        return "the data has no labels"
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return f"it needs one class id per sample or token, but labels are {labels.dtype} {labels.shape}"
    if len(np.unique(labels)) < 2:
        return "it needs labels of at least 2 classes, but there is one"
    if are_measured(torch.from_numpy(labels), classes):
        return "it needs classes, but labels are measured numbers, hardly any two of them alike"
    return None if np.isfinite(codes).all() else "codes are NaN or infinite"


def _last_epoch(trainer: L.Trainer) -> bool:
    ends = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
    return ends or trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step


def _scores(
    probes: tuple[str, ...], train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> dict[str, float]:
    """Accuracies, after centring and dividing by one number, as `unmask probe` does."""
    train, test = scaled(train, test)
    scores = {}
    for name in probes:
        if name == "knn":
            predicted = PROBES["knn"].fit(train, train_labels, test, Protocol())
        else:
            with warnings.catch_warnings(), threadpool_limits(1, "blas"):
                warnings.simplefilter("ignore", ConvergenceWarning)  # near enough, to follow a run
                predicted = LogisticRegression(max_iter=200).fit(train, train_labels).predict(test)
        scores[name] = score(ACCURACY, test_labels, predicted)
    return scores
