"""An encoder and a head trained on labels: nothing is hidden, every weight follows."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from unmask import seeds
from unmask.embedder import Embedder
from unmask.joint import encoded
from unmask.model import MaskedModel, streams_of
from unmask.optim import Optimization
from unmask.structures import Latent, Mask, Tokens
from unmask.tools.features.labels import Task, real_tokens
from unmask.tools.features.samples import owners
from unmask.tools.finetune.drop_path import set_drop_path
from unmask.tools.finetune.heads import Head, pooled_width
from unmask.tools.finetune.lora import adapt
from unmask.tools.finetune.masked_branch import MaskedBranch
from unmask.tools.finetune.mixing import Mixing
from unmask.tools.finetune.objective import Objective
from unmask.tools.finetune.rebuilder import Rebuilder
from unmask.tools.finetune.settings import Settings
from unmask.tools.finetune.task_teacher import TaskTeacher
from unmask.tools.wholes import firsts, shared
from unmask.training.activations import checkpoint_activations
from unmask.training.blocks import blocks_of
from unmask.training.in_place import as_it_was


class Answers(NamedTuple):
    """What the head said, a row per sample, whole, or real token where labels are per token, on the CPU.

    Args:
        outputs: ``[n, C]`` float32.
        label: ``[n]`` or ``[n, C]``.
        sample: ``[n]`` int64, the sample's number in its data set; that of a whole's first piece.
        place: ``[n]`` int64, the token's among those of its sample; zeros where labels are of samples.
    """

    outputs: Tensor
    label: Tensor
    sample: Tensor
    place: Tensor


class FineTuning(L.LightningModule):
    """``head(pool(encoder(tokens)))``, or the head on every token's code.

    Random numbers of a training step (mixing, dropout) are keyed by seed, epoch and batch, so that encoders which
    are compared get the same.

    Args:
        model: whose `embedder` is copied.
        objective: what the labels ask of the head.
        task: whether there is a label per token.
        settings: the schedule, and everything else.
        seed: of the head, the mixing and dropout.
        teacher: whose answers are learnt beside the labels; None: nobody's.

    Raises:
        ValueError: stochastic depth or LoRA for an encoder that has no blocks, or a pooling that labels per token
            or this encoder do not have.
    """

    def __init__(
        self,
        model: MaskedModel,
        objective: Objective,
        task: Task,
        settings: Settings,
        seed: int = 0,
        teacher: TaskTeacher | None = None,
    ) -> None:
        super().__init__()
        if task.per_token and settings.pool != "mean":
            raise ValueError(f"`pool` must be 'mean' where labels are per token, but is {settings.pool!r}.")
        embedder = trainable_embedder(model)
        self.tokenizer, self.encoder = embedder.tokenizer, embedder.encoder
        width = pooled_width(self.encoder.width, settings.pool)
        self.head = Head(width, objective.num_outputs, settings.head, seed)
        self.objective = copy.deepcopy(objective)
        self.task, self.settings, self.seed = task, settings, seed
        self.agreed = dict(getattr(model, "agreed", {}))  # what the data of before must have in common with other
        self.parts = getattr(model, "names", None)  # of joint samples, where only some are used
        self.mixing = Mixing(settings.mixup, settings.cutmix)
        self.masked = MaskedBranch.of(settings)
        self.teacher = teacher
        rebuilt = settings.rebuild_weight > 0
        self.rebuilder = Rebuilder(self.encoder.width, settings.rebuild_ratio, seed) if rebuilt else None
        self.val_wholes: np.ndarray | None = None  # of each sample that is validated on, what it is a piece of
        set_drop_path(self.encoder, settings.drop_path)
        if settings.checkpoint_activations and not blocks_of(self.encoder):
            raise ValueError(
                f"`checkpoint_activations` must be false for {type(self.encoder).__name__}, which has no repeated "
                "layers, but is true."
            )
        if settings.freeze:
            for part in self._frozen():
                part.requires_grad_(False)
        if settings.lora_rank:
            alpha = 2.0 * settings.lora_rank if settings.lora_alpha is None else settings.lora_alpha
            adapt(self.encoder, settings.lora_rank, alpha, seed)
        self.train()

    def forward(self, batch: Any) -> Tensor:
        """The head's outputs ``[B, C]``; per token ``[B, N, C]``, packed ``[T, C]``."""
        tokens = self.tokenizer(batch)
        outputs: Tensor = self.head(self._codes(tokens))
        return outputs

    @torch.no_grad()
    def predict(self, batch: Any) -> Tensor:
        """Class ids, each class's probability (multi-label) or numbers in the labels' units, shaped as labels are."""
        return self.objective.answer(self(batch).float())

    # Lightning calls what follows.

    def on_fit_start(self) -> None:
        if self.settings.checkpoint_activations:
            checkpoint_activations(self.encoder)

    def on_fit_end(self) -> None:
        as_it_was(self.encoder)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        key = (self.seed, "finetune", self.current_epoch, batch_idx)
        torch.manual_seed(seeds.mix(*key, "dropout"))
        tokens = self.tokenizer(batch)
        real = self._rows(tokens)
        target, known = self.objective.target(batch["label"][real])  # [n, C], [n] or [n, C]
        tokens, target, known = self.mixing(tokens, target, known, *key)
        latent = self._latent(tokens)
        outputs = self.head(self._read(latent, tokens)[real]).float()
        parts: dict[str, Tensor] = {}
        if self.masked is None:
            loss = self.objective.loss(outputs, target, known)
        else:
            draws = streams_of(batch, tokens, seeds.mix(self.seed, "finetune", self.current_epoch, "masked"))
            masked = self.head(self._codes(*self.masked.hide(tokens, draws))[real]).float()
            loss, parts = self.masked.total(self.objective, outputs, masked, target, known)
        if self.rebuilder is not None:
            draws = streams_of(batch, tokens, seeds.mix(self.seed, "finetune", self.current_epoch, "rebuilt"))
            rebuilt = self.head(self._read(self.rebuilder(latent, tokens, draws), tokens)[real]).float()
            parts["rebuilt"] = self.objective.loss(rebuilt, target, known)
            loss = loss + self.settings.rebuild_weight * parts["rebuilt"]
        if self.teacher is not None:
            parts["teacher"] = self.teacher.loss(self.objective, outputs, batch, real)
            loss = loss + self.settings.teacher_weight * parts["teacher"]
        if parts:
            named = {f"train/{name}": value.detach() for name, value in parts.items()}
            self.log_dict(named, on_step=False, on_epoch=True, batch_size=tokens.num_samples)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=tokens.num_samples)
        return loss

    def on_validation_epoch_start(self) -> None:
        self._answers: list[Answers] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._answers.append(self.predict_step(batch))

    def on_validation_epoch_end(self) -> None:
        numbers = self.score([self.of_wholes(self._answers, self.val_wholes)])
        chooses = self.objective.chooses
        sign = -1 if self.objective.falls else 1
        if not math.isfinite(numbers["loss"]):
            chosen_by = -sign * math.inf  # diverged: the epochs before may still be good
        elif not math.isfinite(numbers[chooses]):
            raise ValueError(f"{chooses} cannot be measured on the held-out labels: raise `val_ratio`, or set it to 0.")
        else:  # few held-out labels often tie, and the epoch of lower loss is then the better one
            chosen_by = numbers["loss"] if chooses == "loss" else numbers[chooses] - sign * 1e-4 * numbers["loss"]
        self.log("val/chooses", chosen_by, logger=False)
        for name, number in numbers.items():
            self.log(f"val/{name}", number, prog_bar=name in ("loss", chooses, self.objective.names[0]))

    def predict_step(self, batch: Any, *_: Any) -> Answers:
        """One row per sample, or per real token."""
        tokens = self.tokenizer(batch)
        real = self._rows(tokens)
        owner, place = owners(tokens)
        if self.task.per_token:
            owner, place = owner[real], place[real]
        else:
            owner = torch.arange(tokens.num_samples, device=self.device)
            place = torch.zeros_like(owner)
        outputs = self.head(self._codes(tokens)[real]).float()
        return Answers(
            *(x.cpu() for x in (outputs, self.objective.given(batch["label"][real]), batch["index"][owner], place))
        )

    @torch.no_grad()
    def of_wholes(self, answers: list[Answers], wholes: np.ndarray | None) -> Answers:
        """One row per whole, in which the answers about its pieces are averaged.

        Args:
            answers: batches of them.
            wholes: the number of what each sample of the data set is a piece of; None: samples are wholes.
        """
        every = Answers(*(torch.cat(each) for each in zip(*answers, strict=True)))
        whole = None if wholes is None else wholes[every.sample.numpy()]
        if whole is None or len(first := firsts(whole)) == len(whole):
            return every
        outputs = copy.deepcopy(self.objective).cpu().averaged(every.outputs, whole)
        return Answers(outputs, shared(every.label, whole), every.sample[first], every.place[first])

    @torch.no_grad()
    def score(self, answers: list[Answers]) -> dict[str, float]:
        """The loss and the objective's scores over batches of answers, on the CPU."""
        objective = copy.deepcopy(self.objective).cpu()
        outputs, label = (torch.cat(each) for each in list(zip(*answers, strict=True))[:2])
        loss = objective.loss(outputs, *objective.target(label)).item()
        numbers = {"loss": loss, **objective.scores(outputs, label)}
        return {name: float(f"{number:.7g}") for name, number in numbers.items()}  # float32 knows no more digits

    def train(self, mode: bool = True) -> FineTuning:
        super().train(mode)
        if self.settings.freeze:
            for part in self._frozen():
                part.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRScheduler:
        settings = self.settings
        total_steps = int(self.trainer.estimated_stepping_batches)
        optim = Optimization(settings.base_lr, betas=(0.9, 0.999), layer_decay=settings.layer_decay)
        lr = settings.base_lr * settings.batch_size / 256
        if settings.freeze:
            optimizer: torch.optim.Optimizer = torch.optim.SGD(self.head.parameters(), lr, momentum=0.9)
        else:
            optimizer = optim.optimizer(self, lr, settings.weight_decay)
        warmup_steps = round(settings.warmup_ratio * total_steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: optim.factor(step, warmup_steps, total_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _codes(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """``[B, D]``; per token ``[B, N, D]``, packed ``[T, D]``."""
        return self._read(self._latent(tokens, mask), tokens, mask)

    def _latent(self, tokens: Tokens, mask: Mask | None = None) -> Latent:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.settings.freeze):
            return encoded(self.encoder, tokens, mask)

    def _read(self, latent: Latent, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """What of the codes the head is given."""
        if not self.task.per_token:
            return latent.pool(self.settings.pool, tokens.places if mask is None else None)
        real = real_tokens(tokens)
        if latent.values.shape[: real.ndim] != real.shape:
            raise ValueError(
                f"Labels per token need one code per token, but there are codes {tuple(latent.values.shape)}."
            )
        return latent.values

    def _rows(self, tokens: Tokens) -> Any:
        """Where labels are: real tokens, or every sample."""
        return real_tokens(tokens) if self.task.per_token else slice(None)

    def _frozen(self) -> tuple[nn.Module, ...]:
        return self.tokenizer, self.encoder


def trainable_embedder(model: MaskedModel) -> Embedder:
    """A copy of what is used of the model, its encoder as trainable as the one that was trained.

    A teacher's parameters take no gradient; what is fixed by design, such as a table of positions, is
    fixed in the online encoder, too. What rests in pretraining alone is trained.
    """
    used = model.embedder
    embedder: Embedder = copy.deepcopy(used)
    if all(used.encoder is not part for part in model.encoder.modules()):
        online = dict(model.encoder.named_parameters())
        for name, parameter in embedder.encoder.named_parameters():
            parameter.requires_grad_(online[name].requires_grad if name in online else parameter.is_floating_point())
    for name, parameter in embedder.encoder.named_parameters():
        if any(name.startswith(start) for start in model.resting):
            parameter.requires_grad_(True)
    return embedder
