"""The training step of every method: hide part of the data, encode the rest, predict what is hidden."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from unmask import agreements, seeds
from unmask.optim import Optimization, Planned, keeps_its_options
from unmask.parts import Encoder, Loss, LossValue, MaskSampler, Predictor, Target, Tokenizer
from unmask.schedules import Progress, at
from unmask.structures import Corruption, Latent, Mask, Prediction, Tokens
from unmask.training.batch_norm import BatchNormNote
from unmask.training.compiled import names_for, plain_names
from unmask.training.guard import FiniteGuard
from unmask.training.resuming import ExactResume


class Step(NamedTuple):
    """All that one step made, for losses, pictures and monitors."""

    tokens: Tokens
    mask: Mask
    target: Tensor
    latent: Latent
    prediction: Prediction
    loss: LossValue


class MaskedModel(L.LightningModule):
    """Six parts and one step. A method subclasses this to give the parts its paper's defaults.

    Random numbers of a training step (mask, dropout) are keyed by the run's seed, the epoch and the
    batch (and the device), so a resumed run equals an uninterrupted one; those of validation by the
    batch alone, so losses of different runs compare.

    Args:
        tokenizer: cuts a batch into tokens.
        mask: chooses what is hidden. Copied, as are ``target`` and ``loss``: instances given as
            defaults in a signature are shared between models.
        encoder: makes codes of what it is shown.
        predictor: answers at the asked places.
        target: the right answers.
        loss: compares the two.
        corruption: how hidden places are shown to the encoder.
        optim: optimiser and schedules.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        mask: MaskSampler,
        encoder: Encoder,
        predictor: Predictor,
        target: Target,
        loss: Loss,
        corruption: Corruption = Corruption(drop=1),
        optim: Optimization = Optimization(),
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.mask = copy.deepcopy(mask)
        self.encoder = encoder
        self.predictor = predictor
        self.target = copy.deepcopy(target)
        self.loss = copy.deepcopy(loss)
        self.corruption = corruption
        self.optim = optim
        self.agreed: dict[str, Any] = {}  # what agreements keep with the weights
        self.seed: int | None = None
        self.target.start(encoder)

    def step(self, batch: Any, generator: torch.Generator | None = None) -> Step:
        """Hide, encode, predict. Masks are drawn from ``generator``, on the model's device."""
        # Cut the batch into what may be hidden, and choose what is.
        tokens = self.tokenizer(batch)  # values [B, N, V]
        mask = self.corruption(self.mask(tokens, self.progress, generator), generator)  # hidden [B, N]

        # What should be predicted is fixed before anything is encoded.
        with torch.no_grad():
            target = self.target(tokens, mask)  # [B, M, T]

        # The encoder sees nothing that is hidden; the predictor knows only where hidden places lie.
        latent = self.encoder(tokens, mask)  # values [B, K, D]
        prediction = self.predictor(latent, tokens.places, mask)  # values [B, M, T]

        return Step(tokens, mask, target, latent, prediction, self.loss(prediction, target))

    @property
    def embedder(self) -> Encoder:
        """The encoder whose codes are used once training is done."""
        return self.encoder

    @property
    def embedding_tokenizer(self) -> Tokenizer:
        """What cuts a batch for `embedder`: another tokenizer where what is hidden has no codes of its own."""
        return self.tokenizer

    @property
    def progress(self) -> Progress:
        """Where the run stands; all zeros without a trainer."""
        trainer = self._trainer
        if trainer is None or not trainer.training:
            return Progress()
        return Progress(trainer.global_step, trainer.current_epoch, self._total_steps, self._total_epochs)

    # Lightning calls what follows.

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        assert self.seed is not None  # set when the fit starts
        key = (self.seed, "train", self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(seeds.mix(*key, "dropout"))
        step = self.step(batch, seeds.generator(self.device, *key))
        self.log("train/loss", step.loss.total, prog_bar=True, sync_dist=True, batch_size=step.tokens.num_samples)
        return step.loss.total

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.step(batch, seeds.generator(self.device, "validate", batch_idx, self.global_rank))
        self.log("val/loss", step.loss.total, prog_bar=True, sync_dist=True, batch_size=step.tokens.num_samples)
        return step.loss.total

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.step(batch, seeds.generator(self.device, "test", batch_idx, self.global_rank))
        self.log("test/loss", step.loss.total, sync_dist=True, batch_size=step.tokens.num_samples)
        return step.loss.total

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One vector per sample ``[B, D]``: the mean code, with nothing hidden."""
        tokens = self.embedding_tokenizer(batch)
        return self.embedder(tokens).pool("mean", tokens.places)

    def configure_callbacks(self) -> list[L.Callback]:
        return [FiniteGuard(), ExactResume(), BatchNormNote()]

    def setup(self, stage: str) -> None:
        agreements.check(self, getattr(self.trainer, "datamodule", None), loaded=True)

    def on_fit_start(self) -> None:
        if self.seed is None:  # a resumed run has the seed of its beginning
            self.seed = self.trainer.strategy.broadcast(torch.initial_seed())

    def on_fit_end(self) -> None:
        if self.seed is not None:  # the steps have seeded torch with keys of theirs
            torch.manual_seed(self.seed)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        trainer, optim = self.trainer, self.optim
        if trainer.train_dataloader is None:  # Lightning would load it later than its length is needed here
            trainer.fit_loop.setup_data()
        total_steps = trainer.estimated_stepping_batches
        if total_steps in (float("inf"), -1):
            raise ValueError("`trainer.max_steps` must be set when the length of the data is not known, but is -1.")
        self._total_steps = int(total_steps)
        epoch_steps = trainer.num_training_batches / trainer.accumulate_grad_batches  # may be infinite
        epoch_steps = epoch_steps if math.isinf(epoch_steps) else math.ceil(epoch_steps)
        max_epochs = trainer.max_epochs or -1
        self._total_epochs = max_epochs if max_epochs > 0 else math.ceil(self._total_steps / epoch_steps)

        warmup_steps = optim.warmup_steps
        if warmup_steps is None:
            if optim.warmup_epochs and math.isinf(epoch_steps):
                raise ValueError(
                    "`optim.warmup_steps` must be given instead of `optim.warmup_epochs` when the length of "
                    "the data is not known."
                )
            warmup_steps = round(optim.warmup_epochs * epoch_steps) if optim.warmup_epochs else 0
        warmup_steps = optim.warmup_within(self._total_steps, warmup_steps)

        lr = optim.base_lr
        if optim.scale_lr:
            lr *= _batch_size(trainer) * trainer.world_size * trainer.accumulate_grad_batches / 256
        optimizer = optim.optimizer(self, lr, at(optim.weight_decay, self.progress))
        keeps_its_options(optimizer)
        schedule = Planned(optimizer, lambda step: optim.factor(step, warmup_steps, self._total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        weight_decay = at(self.optim.weight_decay, self.progress)
        for group in optimizer.param_groups:
            group["weight_decay"] = weight_decay if group["decays"] else 0.0
        lr = max(group["lr"] for group in optimizer.param_groups)

        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

        # The teacher follows the encoder once per optimiser step, not once per accumulated batch.
        numbers = self.target.update(self.encoder, self.progress)
        self.log_dict({"train/lr": lr} | {f"train/{name}": value for name, value in numbers.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = plain_names(checkpoint["state_dict"])
        checkpoint["seed"] = self.seed
        checkpoint["agreed"] = dict(self.agreed)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "state_dict" in checkpoint:  # not in a sharded one
            checkpoint["state_dict"] = names_for(self.state_dict(), checkpoint["state_dict"])
        self.seed = checkpoint["seed"]
        self.agreed.update(checkpoint.get("agreed", {}))  # one of an earlier version has none
        data = getattr(self._trainer, "datamodule", None)
        agreements.check(self, data, loaded=True, resumed=True)


def _batch_size(trainer: L.Trainer) -> int:
    """Samples per device and batch, from the data module or else from the training loader."""
    for source in (getattr(trainer, "datamodule", None), trainer.train_dataloader):
        batch_size = getattr(source, "batch_size", None)
        if batch_size is not None:
            return int(batch_size)
    raise ValueError(
        "`optim.scale_lr` must be False, and `base_lr` the learning rate itself, when neither the data "
        "module nor its loader has a `batch_size`."
    )
