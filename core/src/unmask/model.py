"""The training step of every method: hide part of the data, encode the rest, predict what is hidden."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from unmask import agreements, seeds
from unmask.draws import Draws
from unmask.embedder import Embedder
from unmask.joint import encoded_with_layers
from unmask.objectives import Objective, Question, asking, check_ask, check_asked, check_visible
from unmask.optim import Optimization, Planned, keeps_its_options
from unmask.parts import Corruption, Encoder, Loss, MaskSampler, Part, Predictor, Target, Term, Tokenizer
from unmask.schedules import Progress, Schedule, at
from unmask.step import NOTHING, Answer, Given, JointLossValue, Shown, Step
from unmask.structures import Latent, Mask, Tokens
from unmask.training import sharding
from unmask.training.batch_norm import BatchNormNote, synchronise
from unmask.training.compiled import names_for, plain_names
from unmask.training.guard import FiniteGuard
from unmask.training.resuming import ExactResume

LOGGED = ("loss", "lr")
"""Names of what every run logs, which no term and no objective may have."""


class MaskedModel(L.LightningModule):
    """Seven parts and one step. A method subclasses this to give the parts its paper's defaults.

    What is drawn for a sample (its mask, its stand-ins) is keyed by the run's seed, the epoch and the sample's
    ``index``, so it is the same in any batch, on any number of devices; in validation by the index alone, so losses
    of different runs compare. Batches without an ``index`` are keyed by their number and the device, as dropout is.

    Args:
        tokenizer: cuts a batch into tokens.
        mask: chooses what is hidden. Copied, as are ``target`` and ``loss``: instances given as
            defaults in a signature are shared between models.
        encoder: makes codes of what it is shown.
        predictor: answers at the asked places; None, with ``target`` and ``loss``: nothing is predicted.
        target: the right answers.
        loss: compares the two.
        corruption: how hidden places are shown to the encoder.
        objectives: what else is asked of the codes, by the names that they are logged under.
        terms: further summands of the loss, made of the finished step, by their names likewise.
        optim: optimiser and schedules.

    Raises:
        ValueError: a term or objective of a name that is taken, or neither a loss nor a term.
    """

    ask: str | float = "hidden"
    """Where the model's own predictor is asked: see `Objective`."""
    ask_of: str | None = None
    """The part of a sample that it is asked of; None: all."""
    loss_weight: float | Schedule = 1.0
    """What the loss of the model's own predictor counts in the total."""
    resting: tuple[str, ...] = ()
    """Beginnings of names of the encoder's weights that pretraining leaves as they are, and fine-tuning trains."""
    first_stage: Any = None
    """An `unmask.api.FirstStage` where the method builds on another run."""
    standing = Progress()
    """Where a model without a trainer stands."""
    left_out = False
    """Whether the optimiser step that has just been was left out, see `FiniteGuard`."""
    warmup_steps: int | None = None
    """Optimiser steps until the learning rate is highest; known once the optimiser is made."""

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        mask: MaskSampler,
        encoder: Encoder,
        predictor: Predictor | None = None,
        target: Target | None = None,
        loss: Loss | None = None,
        corruption: Corruption = Corruption(drop=1),
        objectives: Mapping[str, Objective] | None = None,
        terms: Mapping[str, Term] | None = None,
        optim: Optimization = Optimization(),
    ) -> None:
        super().__init__()
        check_ask(self.ask)
        if not (predictor and target and loss) and (predictor or target or loss or not terms):
            raise ValueError("`predictor`, `target` and `loss` must be given, or none of them and at least one term.")
        self.tokenizer = tokenizer
        self.mask = copy.deepcopy(mask)
        self.encoder = encoder
        self.predictor: Any = predictor
        self.target: Any = copy.deepcopy(target)
        self.loss: Any = copy.deepcopy(loss)
        self.corruption = copy.deepcopy(corruption)
        self.objectives: Any = nn.ModuleDict(_named("An objective", objectives or {}))
        self.terms: Any = nn.ModuleDict(_named("A term", terms or {}))
        for name in self.terms:
            if name in self.objectives:
                raise ValueError(f"A term and an objective must not have the same name, but both are {name!r}.")
        self.optim = optim
        self.agreed: dict[str, Any] = {}  # what agreements keep with the weights
        self.seed: int | None = None
        self.start_parts()

    def start_parts(self) -> None:
        """Lets every part begin, teachers as copies of the encoder; again when the encoder gets other weights."""
        for _, part in sorted(self._parts(), key=lambda one: isinstance(one[1], MaskSampler)):
            part.start(self)  # masks last: they may look at a teacher
        for layer in self._layers():
            self.encoder.depth(layer or None)  # refuses one that is not there

    def step(self, batch: Any, seed: int | None = None) -> Step:
        """Hide, encode, predict. Samples draw from streams keyed by ``seed``; None: by torch's own generator."""
        # Cut the batch into what may be hidden, and choose what is, and what the encoder sees in its place.
        tokens = self.tokenizer(batch)  # values [B, N, V]
        hidden = self.mask(tokens, self.progress, streams_of(batch, tokens, seed))  # hidden [B, N]
        shown = self.corruption(tokens, hidden)
        check_visible(shown.mask, self.mask)

        # What should be predicted is fixed before anything is encoded.
        given = Given(batch, shown, self.progress)
        questions = self.questions(shown.mask)
        with torch.no_grad():
            fixed = {name: question.fixed(tokens, given) for name, question in questions.items()}  # [B, M, T]

        # The encoder sees nothing that is hidden; a predictor knows only where hidden places lie.
        latent = self.encoded(shown)  # values [B, K, D]
        answers = {name: one.answered(latent, tokens, given, fixed[name]) for name, one in questions.items()}

        return self.summed(tokens, latent, given, answers)

    def encoded(self, shown: Shown) -> Latent:
        """Codes of what is shown, with those of further layers where a part reads them."""
        return encoded_with_layers(self.encoder, shown.tokens, shown.mask, self._layers())

    def _layers(self) -> list[int]:
        readers = [self.predictor, *self.objectives.values(), *self.terms.values()]
        return sorted({layer for part in readers if part is not None for layer in part.reads})

    def questions(self, mask: Mask) -> dict[str, Question]:
        """What is asked of the codes: by the model's own parts, under no name, and by each further objective."""
        own = {"": self, **self.objectives} if self.loss is not None else dict(self.objectives)
        return {
            name: Question(
                check_asked(asking(mask, one.ask, name, self.ask_of if one is self else one.part), self.mask, one.ask),
                one.predictor or self.predictor,
                one.target or self.target,
                one.loss or self.loss,
                layer=None if one is self else one.layer,
            )
            for name, one in own.items()
        }

    def summed(self, tokens: Tokens, latent: Latent, given: Given, answers: dict[str, Answer]) -> Step:
        """The finished step, with objectives and terms in the loss; a method with a step of its own ends here, too."""
        own = answers.pop("", NOTHING)
        step = Step(
            tokens, own.mask or given.shown.mask, own.target, latent, own.prediction, own.loss, {}, given, answers
        )
        values = {name: answer.loss.total for name, answer in answers.items()}
        of_parts = own.loss.parts if isinstance(own.loss, JointLossValue) else {}
        parts = {f"loss.{name}": value.detach() for name, value in of_parts.items()}
        values |= {name: term(step, self) for name, term in self.terms.items()}
        if not values and self.loss_weight == 1:
            return step._replace(terms=parts)
        weights = {name: at(one.weight, self.progress) for name, one in [*self.objectives.items(), *self.terms.items()]}
        total = at(self.loss_weight, self.progress) * step.loss.total + sum(
            weights[name] * value for name, value in values.items()
        )
        terms = parts | {name: value.detach() for name, value in values.items()}
        return step._replace(loss=step.loss._replace(total=total), terms=terms)

    def _parts(self) -> Iterator[tuple[str, Part]]:
        """All parts, those in other parts as well, with what their numbers are logged behind."""
        for path, module in list(self.named_modules()):
            if isinstance(module, Part):
                family, _, rest = path.partition(".")
                yield (f"{rest.partition('.')[0]}_" if family in ("terms", "objectives") else ""), module

    @property
    def embedder(self) -> Embedder:
        """What is used once training is done. A method whose codes are those of another encoder (a teacher), or of
        other tokens (nodes where edges are hidden), overrides this alone."""
        return Embedder(self.tokenizer, self.encoder)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Names of the parts of its samples that can be used without the others; none where samples have no parts."""
        return tuple(self.tokenizer.part_names)

    def embedder_of(self, names: Sequence[str]) -> Embedder:
        """What is used of some parts: of its `embedder` where that has parts, else of what was trained.

        Raises:
            ValueError: samples without parts, or a part that is not there.
        """
        used = self.embedder
        return (used if used.tokenizer.part_names else Embedder(self.tokenizer, self.encoder)).of(names)

    def embed(self, batch: Any, layer: int | None = None) -> Latent:
        """Codes of everything ``[B, N, D]``, nothing hidden; ``layer`` as in `Encoder.forward`."""
        return self.embedder(batch, layer)

    @property
    def progress(self) -> Progress:
        """Where the run stands; without a trainer `standing`, all zeros unless a step is taken again."""
        trainer = self._trainer
        if trainer is None or not trainer.training:
            return self.standing
        return Progress(trainer.global_step, trainer.current_epoch, self._total_steps, self._total_epochs)

    def trained_on(self, batch: Any, batch_idx: int, epoch: int, rank: int) -> Step:
        """The step of training that this batch has in this epoch on this process: `replay` takes the same again."""
        assert self.seed is not None  # set when the fit starts
        key = (self.seed, "train", epoch)
        torch.manual_seed(seeds.mix(*key, batch_idx, rank, "dropout"))
        return self._keyed(batch, batch_idx, rank, *key)

    # Lightning calls what follows.

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self._log("train", self.trained_on(batch, batch_idx, self.current_epoch, self.global_rank))
        for _, part in self._parts():
            part.observe(step, self)
        return step.loss.total

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._logged("val", batch, batch_idx, "validate").loss.total

    def test_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._logged("test", batch, batch_idx, "test").loss.total

    def _logged(self, stage: str, batch: Any, batch_idx: int, *key: Any) -> Step:
        """A step whose random numbers have this key, logged."""
        return self._log(stage, self._keyed(batch, batch_idx, self.global_rank, *key))

    def _keyed(self, batch: Any, batch_idx: int, rank: int, *key: Any) -> Step:
        """A step whose random numbers have this key."""
        if _index(batch) is None:
            key = (*key, batch_idx, rank)
        return self.step(batch, seeds.mix(*key))

    def _log(self, stage: str, step: Step) -> Step:
        """Its loss and what else is summed are logged."""
        options: dict[str, Any] = {"sync_dist": True, "batch_size": step.tokens.num_samples}
        self.log(f"{stage}/loss", step.loss.total, prog_bar=stage != "test", **options)
        self.log_dict({f"{stage}/{name}": value for name, value in step.terms.items()}, **options)
        return step

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One vector per sample ``[B, D]``: the mean code, with nothing hidden."""
        return self.embed(batch).pool("mean")

    def configure_callbacks(self) -> list[L.Callback]:
        return [FiniteGuard(), ExactResume(), BatchNormNote()]

    def prepare_data(self) -> None:
        if self.first_stage is not None:  # on one process, before any other sets up
            self.first_stage.ensure(self)

    def configure_model(self) -> None:
        trainer = self.trainer
        # `unmask.cli.trainer.Trainer` says whether it was asked for; Lightning's own does not.
        if trainer.state.fn == "fit" and trainer.world_size > 1 and getattr(trainer, "sync_batchnorm", True):
            synchronise(self, trainer.strategy.root_device.type)
        if self.device_mesh is not None:  # of a strategy that shares a model out
            sharding.shard(self, self.device_mesh["data_parallel"])

    def setup(self, stage: str) -> None:
        agreements.check(self, getattr(self.trainer, "datamodule", None), loaded=True)

    def on_fit_start(self) -> None:
        if self.seed is None:  # a resumed run has the seed of its beginning
            self.seed = self.trainer.strategy.broadcast(torch.initial_seed())
        for _, part in self._parts():
            part.begin(self)

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
        self.warmup_steps = warmup_steps = optim.warmup_within(self._total_steps, warmup_steps)

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

        self.left_out = False
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

        # A teacher follows the encoder once per optimiser step, not once per accumulated batch.
        numbers: dict[str, float] = {}
        for name, part in () if self.left_out else self._parts():
            numbers |= {f"{name}{what}": value for what, value in part.update(self, self.progress).items()}
        self.log_dict({"train/lr": lr} | {f"train/{name}": value for name, value in numbers.items()})

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        sharding.share_buffers(self)

    def on_after_backward(self) -> None:
        sharding.average_whole(self)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if gradient_clip_val and sharding.is_sharded(self):
            sharding.clip(self, float(gradient_clip_val), gradient_clip_algorithm or "norm")
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

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


def _named(what: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of these parts.

    Raises:
        ValueError: a name that is taken, or no name.
    """
    for name in parts:
        taken = name in LOGGED or hasattr(nn.ModuleDict, name)
        if taken or not name.isidentifier():
            why = f", which is taken; nearest: {name}_1" if taken else ""
            raise ValueError(
                f"{what} must have a name of its own, of letters, digits and underscores, but one is {name!r}{why}."
            )
    return copy.deepcopy(dict(parts))


def _index(batch: Any) -> Tensor | None:
    """Which samples of the data set a batch is made of ``[B]`` int64; None where it does not say."""
    index = batch.get("index") if isinstance(batch, Mapping) else None
    return index if isinstance(index, Tensor) and index.ndim == 1 else None


def streams_of(batch: Any, tokens: Tokens, seed: int | None) -> Draws:
    """The samples' streams of random numbers."""
    if seed is None:
        return Draws.fresh(tokens.num_samples, tokens.device)
    index = _index(batch)
    if index is None or len(index) != tokens.num_samples:
        index = torch.arange(tokens.num_samples)
    return Draws.of(seed, index.to(tokens.device))


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
