"""The training step of every method: hide part of the data, encode the rest, predict what is hidden."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from unmask import agreements, seeds
from unmask.optim import Optimization, Planned, keeps_its_options
from unmask.parts import Encoder, Loss, MaskSampler, Predictor, Step, Target, Term, Tokenizer
from unmask.schedules import Progress, at
from unmask.structures import Corruption
from unmask.training.batch_norm import BatchNormNote
from unmask.training.compiled import names_for, plain_names
from unmask.training.guard import FiniteGuard
from unmask.training.resuming import ExactResume

LOGGED = ("loss", "lr")
"""Names of what every run logs, which no term may have."""


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
        terms: further summands of the loss, by the names that they are logged under.
        optim: optimiser and schedules.

    Raises:
        ValueError: a term of a name that is taken.
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
        terms: Mapping[str, Term] | None = None,
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
        for name in terms or {}:
            if name in LOGGED or hasattr(nn.ModuleDict, name) or not name.isidentifier():
                raise ValueError(
                    f"A term must have a name of its own, of letters, digits and underscores, but one is {name!r}."
                )
        own_terms = copy.deepcopy(dict(terms or {}))
        self.terms: Any = nn.ModuleDict(own_terms)
        self.optim = optim
        self.agreed: dict[str, Any] = {}  # what agreements keep with the weights
        self.seed: int | None = None
        self.target.start(encoder)
        for term in own_terms.values():
            term.start(self)

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

        return self.with_terms(Step(tokens, mask, target, latent, prediction, self.loss(prediction, target)))

    def with_terms(self, step: Step) -> Step:
        """The finished step with its terms in the loss; a method with a step of its own ends in this, too."""
        if not self.terms:
            return step
        values = {name: term(step, self) for name, term in self.terms.items()}
        weights = {name: at(term.weight, self.progress) for name, term in self.terms.items()}
        total = step.loss.total + sum(weights[name] * value for name, value in values.items())
        terms = {name: value.detach() for name, value in values.items()}
        return step._replace(loss=step.loss._replace(total=total), terms=terms)

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
        return self._logged("train", batch, *key)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._logged("val", batch, "validate", batch_idx, self.global_rank)

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._logged("test", batch, "test", batch_idx, self.global_rank)

    def _logged(self, stage: str, batch: Any, *key: Any) -> Tensor:
        """The loss of a step whose random numbers have this key; it and its terms are logged."""
        step = self.step(batch, seeds.generator(self.device, *key))
        options: dict[str, Any] = {"sync_dist": True, "batch_size": step.tokens.num_samples}
        self.log(f"{stage}/loss", step.loss.total, prog_bar=stage != "test", **options)
        self.log_dict({f"{stage}/{name}": value for name, value in step.terms.items()}, **options)
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
        for name, term in self.terms.items():
            numbers |= {f"{name}_{what}": value for what, value in term.update(self, self.progress).items()}
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
