"""How to fine-tune: the schedule of MAE's fine-tuning (He et al. 2021, table 9) with small data's regularisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unmask.support.checks import at_least
from unmask.support.nearest import nearest, quoted

CHOICES = {
    "task": ("classification", "multi-label", "regression"),
    "loss": ("mse", "l1"),
    "pool": ("mean", "max", "mean+max", "cls"),
    "head": ("linear", "mlp"),
    "precision": ("32-true", "bf16-mixed", "16-mixed"),
    "class_weights": ("none", "balanced"),
    "sampling": ("uniform", "balanced"),
    "masked_branch": ("none", "prediction", "labels"),
    "masked_as": ("drop", "zero"),
}
LR, FREEZE_LR = 1e-3, 0.1
EPOCHS, LEAST_STEPS = 50, 1000
"""Of training that is not told how long: few labels give short epochs, of which an encoder from scratch needs more."""


@dataclass(frozen=True)
class Settings:
    """The same for every encoder that is compared.

    AdamW (betas 0.9, 0.999), linear warm-up, half a cosine to 0. MAE's numbers are kept but for batch size
    (1024), epochs (100), warm-up (5 %) and the mixing and stochastic depth that it needs on ImageNet: mixup 0.8,
    cutmix 1.0, drop path 0.1. With few labels those cost more than they give, so they begin switched off.

    Args:
        task: ``classification`` (cross-entropy), ``multi-label`` (binary cross-entropy) or
            ``regression``; None: what the labels look like, see `unmask.tools.features.labels.task_of`.
        epochs: at least 1; None: 50, or as many times 50 as 1,000 steps take.
        max_steps: optimiser steps after which to stop even so, at least 1; None: no such end.
        batch_size: at least 1.
        lr: learning rate at a batch of 256, scaled by batch size / 256; None: 1e-3, or 0.1 with ``freeze``.
        weight_decay: at least 0; none with ``freeze``.
        warmup_ratio: warm-up as a share of all steps, in [0, 1).
        layer_decay: in (0, 1]; the learning rate of the pretrained encoder's block i is multiplied by
            ``layer_decay ** (num_blocks - i)``. An encoder from scratch has nothing to keep: its is 1.
        drop_path: stochastic depth of the last block, rising linearly from 0 at the first, in [0, 1).
        label_smoothing: of classification, in [0, 1).
        mixup: alpha of mixup, at least 0; 0: none.
        cutmix: alpha of CutMix, at least 0; 0: none. Where both are given, each has half of the batches.
        augment: apply the data module's own augmentation to training samples; None: when it has one.
        pool: what the head is given: ``mean``, ``max``, ``mean+max`` or ``cls``. Labels per token need ``mean``.
        head: ``linear`` or ``mlp`` (one hidden layer as wide as the codes).
        freeze: train the head alone, by SGD with momentum 0.9: linear probing (MAE, appendix A.1).
        val_ratio: share of the labels held out to choose the best epoch by and to stop early, in [0, 1);
            0: none, the weights of the last step count.
        patience: validations without a better score after which to stop; 0: never early. There is one after every
            epoch, or 50 in all where ``epochs`` is None.
        loss: of regression, on standardised labels: ``mse`` or ``l1``.
        class_weights: ``balanced``: the loss of a class is weighed by how rare it is among the labels trained on, the
            mean weight of a label being 1 (of multi-label: that of positive labels, by negative over positive ones);
            ``none``.
        sampling: ``balanced``: samples of each class are drawn as often, with repetition; ``uniform``: each sample once
            an epoch.
        focal_gamma: of the focal loss (Lin et al. 2017, section 3.2), at least 0; the paper's is 2; 0: none.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        monitor: the score of the held-out labels that the best epoch is chosen by, such as ``macro_f1`` or ``MAE``, or
            ``loss``; None: accuracy, mAP, or the loss of regression.
        lora_rank: at least 1: the encoder is frozen, and its blocks' linear layers learn a change of that rank, see
            `adapt`; it needs peft. 0: the weights themselves are trained.
        lora_alpha: of that change, above 0; None: twice the rank. LoRA: a constant that goes with the rate.
        masked_branch: a second pass on each training sample, part of it hidden, as `MaskedBranch` says: by the whole
            sample's ``prediction`` (MaskSub) or by the ``labels`` (MaskSup, MSL); ``none``. A step takes about as long
            again.
        masked_ratio: share of the tokens hidden in it, in [0, 1). MaskSub: 0.5.
        masked_weight: of its loss, at least 0; of ``prediction``, 1 is half and half.
        masked_agreement: of ``labels``: weight of the squared difference of both passes' answers, at least 0; None: 1
            with ``labels``, as in the papers.
        masked_as: how hidden tokens are shown: not at all (``drop``) or as zeros (``zero``, which labels per token
            need).
        rebuild_weight: of a loss by codes that were partly hidden and rebuilt, at least 0, see `Rebuilder` (masked
            feature modelling); for labels per token. 0: there is no such pass.
        rebuild_ratio: share of the tokens whose codes are hidden in it, in [0, 1).
        teacher: a checkpoint of ``unmask finetune``, whose answers are learnt beside the labels, see `TaskTeacher`;
            None: labels alone.
        teacher_weight: of that loss, at least 0.
        checkpoint_activations: whether the encoder's blocks keep their inputs alone for the backward pass, which
            computes the rest again: less memory, slower steps, the same results.

    Raises:
        ValueError: a value outside its range, or one that does not go with another.
    """

    task: str | None = None
    epochs: int | None = None
    max_steps: int | None = None
    batch_size: int = 64
    lr: float | None = None
    weight_decay: float = 0.05
    warmup_ratio: float = 0.1
    layer_decay: float = 0.75
    drop_path: float = 0.0
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    augment: bool | None = None
    pool: str = "mean"
    head: str = "linear"
    freeze: bool = False
    val_ratio: float = 0.1
    patience: int = 15
    loss: str = "mse"
    precision: str = "32-true"
    class_weights: str = "none"
    sampling: str = "uniform"
    focal_gamma: float = 0.0
    monitor: str | None = None
    lora_rank: int = 0
    lora_alpha: float | None = None
    masked_branch: str = "none"
    masked_ratio: float = 0.5
    masked_weight: float = 1.0
    masked_agreement: float | None = None
    masked_as: str = "drop"
    rebuild_weight: float = 0.0
    rebuild_ratio: float = 0.5
    teacher: str | None = None
    teacher_weight: float = 1.0
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            word = getattr(self, name)
            if word not in choices and not (name == "task" and word is None):
                near = quoted(nearest(word, choices) or choices)
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}, but is {word!r}; nearest: {near}.")
        at_least(1, epochs=self.epochs, max_steps=self.max_steps, batch_size=self.batch_size)
        at_least(0, patience=self.patience, lora_rank=self.lora_rank)
        for name in ("warmup_ratio", "drop_path", "label_smoothing", "val_ratio", "masked_ratio", "rebuild_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be in [0, 1), but is {getattr(self, name):g}.")
        weights = ("weight_decay", "mixup", "cutmix", "focal_gamma", "masked_weight", "masked_agreement")
        for name in (*weights, "rebuild_weight", "teacher_weight"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` must be at least 0, but is {getattr(self, name):g}.")
        if self.masked_agreement is not None and self.masked_branch != "labels":
            raise ValueError(
                f"`masked_agreement` is of `masked_branch` 'labels' and must be left out with {self.masked_branch!r}, "
                f"but is {self.masked_agreement:g}."
            )
        if self.lora_alpha is not None and not (self.lora_rank and 0 < self.lora_alpha < float("inf")):
            rule = "above 0" if self.lora_rank else "left out with `lora_rank` 0"
            raise ValueError(f"`lora_alpha` must be {rule}, but is {self.lora_alpha:g}.")
        if self.teacher is not None and (self.mixup or self.cutmix):
            raise ValueError(
                "`mixup` and `cutmix` must be 0 with a `teacher`, which sees samples that are not mixed, but are "
                f"{self.mixup:g} and {self.cutmix:g}."
            )
        if self.freeze and self.rebuild_weight:
            raise ValueError(
                f"`rebuild_weight` must be 0 with `freeze`, which trains no block, but is {self.rebuild_weight:g}."
            )
        if self.freeze and self.lora_rank:
            raise ValueError(f"`lora_rank` must be 0 with `freeze`, which trains no block, but is {self.lora_rank}.")
        if not 0 < self.base_lr < float("inf"):
            raise ValueError(f"`lr` must be above 0, but is {self.base_lr:g}.")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"`layer_decay` must be in (0, 1], but is {self.layer_decay:g}.")
        if self.monitor is not None and not self.val_ratio:
            raise ValueError(
                f"`monitor` is of held-out labels and must be left out with `val_ratio` 0, but is {self.monitor!r}."
            )
        if self.freeze and self.checkpoint_activations:
            raise ValueError(
                "`checkpoint_activations` must be false with `freeze`, which trains no block, but is true."
            )
        if self.freeze and self.drop_path:
            raise ValueError(f"`drop_path` must be 0 with `freeze`, which trains no block, but is {self.drop_path:g}.")

    def length(self, epoch_steps: int) -> tuple[int, int]:
        """Epochs to train, and from one validation to the next, where an epoch has ``epoch_steps`` optimiser steps."""
        every = 1 if self.epochs is not None else math.ceil(LEAST_STEPS / (EPOCHS * epoch_steps))
        epochs = self.epochs if self.epochs is not None else EPOCHS * every
        if self.max_steps is not None:  # at least one validation
            every = min(every, max(self.max_steps // epoch_steps, 1))
        return epochs, every

    @property
    def base_lr(self) -> float:
        """The learning rate at a batch of 256."""
        return self.lr if self.lr is not None else FREEZE_LR if self.freeze else LR
