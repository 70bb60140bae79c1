"""Pictures of what a model makes of hidden places: the same samples and masks, epoch after epoch."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image

from unmask import seeds
from unmask.callbacks.fixed_batch import fixed_batch
from unmask.callbacks.showing import show
from unmask.support.atomic import written_whole
from unmask.support.checks import at_least
from unmask.tools.features.vectors import evaluating
from unmask.tools.pictures.drawing import draw

MOST = 50
"""Pictures of epochs that a run folder holds."""


class Pictures(L.Callback):
    """Writes ``pictures/epoch-0003.png`` and ``pictures/latest.png`` into the run folder, at most `MOST` of them.

    The first samples of the validation set (of the training set, when there is no other) go
    through `MaskedModel.step` under masks that are the same in every epoch and every run. Also shown
    in each logger that takes images, see `unmask.callbacks.showing.show`. The run's own random numbers
    are left untouched, and a picture that fails is reported once and never stops a run.

    A long run would leave thousands of files: once there would be more than `MOST`, every second one is deleted, and
    from then on every second one stays, and so on. The first one and the newest always stay. Which ones those are
    depends on the epoch alone, so a resumed run has the same. Loggers are shown those that stay.

    Args:
        num_samples: rows of a picture, at least 1.
        every_n_epochs: epochs from one picture to the next, at least 1: those whose number it divides. The end of
            the run always has one.

    Raises:
        ValueError: a count below 1.
    """

    def __init__(self, num_samples: int = 8, every_n_epochs: int = 1) -> None:
        at_least(1, num_samples=num_samples, every_n_epochs=every_n_epochs)
        self.num_samples = num_samples
        self.every_n_epochs = every_n_epochs
        self._batch: Any = None
        self._last: tuple[int, int] | None = None
        self._failed = False
        self._refused: set[str] = set()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._maybe_draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._last is None or self._last[0] != trainer.current_epoch:  # no validation in this epoch
            self._maybe_draw(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._last is None or self._last[1] != trainer.global_step:
            self._draw(trainer, pl_module, max(trainer.current_epoch - 1, 0))  # it has counted on by now

    def _maybe_draw(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch
        if epoch % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, epoch)

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        self._last = (epoch, trainer.global_step)
        if self._failed:
            return
        try:
            # On all devices, although one draws: the step of a sharded model needs every one of them.
            with ExitStack() as stack:
                stack.enter_context(torch.no_grad())
                stack.enter_context(evaluating(pl_module))
                stack.enter_context(trainer.precision_plugin.forward_context())
                if self._batch is None:  # collated once and kept on the CPU
                    self._batch = fixed_batch(trainer, self.num_samples, spread=False)
                batch = trainer.strategy.batch_to_device(self._batch, dataloader_idx=0)
                step = pl_module.step(batch, seeds.mix("pictures"))  # type: ignore[operator]
            if trainer.is_global_zero:
                self._write(trainer, draw(pl_module, step), epoch)  # type: ignore[arg-type]
        except NotImplementedError as error:
            self._failed = True
            rank_zero_warn(f"`Pictures` is switched off: {error}")
        except Exception as error:  # a picture is never worth a run
            self._failed = True
            rank_zero_warn(f"`Pictures` is switched off: drawing failed with {type(error).__name__}: {error}")

    def _write(self, trainer: L.Trainer, picture: Any, epoch: int) -> None:
        folder = Path(trainer.default_root_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (f"epoch-{epoch:04d}.png", "latest.png"):
            with written_whole(folder / name, sync=False) as part:
                Image.fromarray(picture).save(part, "png")
        apart = epochs_apart(epoch, self.every_n_epochs)
        if apart > self.every_n_epochs:
            _thin(folder, epoch, apart)
            if epoch % apart:
                return  # it stays until the next one only
        for logger in trainer.loggers:
            if type(logger).__name__ in self._refused:
                continue
            try:
                show(logger, "pictures", picture, trainer.global_step, folder / f"epoch-{epoch:04d}.png")
            except Exception as error:  # the service may be out of reach
                self._refused.add(type(logger).__name__)
                cause = " ".join(f"{type(error).__name__}: {error}".split())
                rank_zero_warn(f"`Pictures` are not shown in {type(logger).__name__}, which failed with {cause}")


def epochs_apart(epoch: int, every_n_epochs: int = 1) -> int:
    """Epochs between two pictures that stay, so that at most `MOST` have come up to ``epoch``, which stays too.

    It is ``every_n_epochs`` at first, and doubles.
    """
    apart = every_n_epochs
    while epoch // apart + 2 > MOST:
        apart *= 2
    return apart


def _thin(folder: Path, epoch: int, apart: int) -> None:
    """Deletes pictures of epochs that ``apart`` does not divide, but for that of ``epoch``."""
    for path in folder.glob("epoch-*.png"):
        number = path.stem.removeprefix("epoch-")
        if number.isdecimal() and int(number) != epoch and int(number) % apart:
            path.unlink(missing_ok=True)
