"""Multi-task pretraining: one encoder learns labels, hidden pixels and likeness of two looks ("Heuristic Vision
Pre-Training with Self-Supervised and Supervised Multi-Task Learning", Qian 2023, arXiv:2310.07510)."""

from __future__ import annotations

from typing import Any, Literal

from unmask import MADE, Embedder, MaskSampler, Objective, Schedule
from unmask.api import at_least
from unmask.losses import BinaryCrossEntropyLoss
from unmask.masks import MaskByPart, NoMask
from unmask.predictors import PooledPredictor
from unmask.targets import LabelTarget
from unmask.terms import Contrast
from unmask_vision.methods.simmim import SimMIM
from unmask_vision.two_looks import TwoLooksTokenizer


class MultiTask(SimMIM):
    """SimMIM on a first look at an image, labels of the second, whole look, and contrast of both, by one encoder.

    ``loss = pixel_weight * SimMIM(first) + label_weight * mean of BCE(second) + contrast_weight * InfoNCE(both)``

    A branch of weight 0 leaves the rest as it is. Looks are made by an augmentation such as `TwoLooks`; without one,
    both are the same image. Labels may be one class a sample or several. Arguments are those of `SimMIM`, but:

    Args:
        num_classes: C of the labels, at least 2.
        label_key: of the labels in a batch: class numbers ``[B]``, or a 0 or 1 for each class ``[B, C]``.
        backbone: ``swinv2`` (the paper: Swin-B) or ``vit``.
        mask: of the first look; None: SimMIM's. A mask of both looks may be given, by part.
        tokenizer: of a look; None: SimMIM's.
        pixel_weight: of SimMIM's loss, at least 0.
        label_weight: of the labels' loss, at least 0, or a schedule of it.
        contrast_weight: of `Contrast` of the looks' mean codes, at least 0, or a schedule of it.
        contrast_width: that these are projected to.
        temperature: of the contrast, above 0.

    Differs from the paper, of which no code was released, in weights, mask, contrast and temperature, which are ours,
    and in the looks, which share their geometry.

    Raises:
        ValueError: as `SimMIM`; a number outside its range; when called, a batch without labels.
    """

    num_classes: int
    label_key: str = "label"
    backbone: Literal["vit", "swinv2"] = "swinv2"
    mask: MaskSampler = MADE
    pixel_weight: float = 1.0
    label_weight: float | Schedule = 1.0
    contrast_weight: float | Schedule = 1.0
    contrast_width: int = 128
    temperature: float = 0.1

    def complete(self) -> None:
        at_least(2, num_classes=self.num_classes)
        at_least(0, pixel_weight=self.pixel_weight)
        super().complete()
        if not isinstance(self.tokenizer, TwoLooksTokenizer):
            self.tokenizer = TwoLooksTokenizer(self.tokenizer)  # type: ignore[arg-type]
        if not self.mask.joint:
            self.mask = MaskByPart({"first": self.mask, "second": NoMask()})
        self.loss_weight = self.pixel_weight
        labels = Objective(
            "sample",
            PooledPredictor(self.encoder.width, self.num_classes),
            LabelTarget(self.label_key),
            BinaryCrossEntropyLoss(),
            self.label_weight,
            part="second",
        )
        looks = Contrast(
            "first", "second", self.contrast_width, temperature=self.temperature, weight=self.contrast_weight
        )
        self.objectives = {"labels": labels, **self.objectives}
        self.terms = {"contrast": looks, **self.terms}

    @property
    def embedder(self) -> Embedder:
        """The encoder, on single images."""
        tokenizer: Any = self.tokenizer
        return Embedder(tokenizer.patches, self.encoder)
