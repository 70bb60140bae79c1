"""MMC: groups of patches are lost and restored, in pixels and in a slow copy's prototypes, and views of an image meet
(Wu et al. 2023, arXiv:2308.11448)."""

from __future__ import annotations

from unmask import Corruption, MaskSampler, Objective, Schedule, Uniform, chosen
from unmask.corruptions import StandIns
from unmask.losses import L1Loss
from unmask.masks import BoxMask
from unmask.targets import ValueTarget
from unmask.terms import Contrast
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.ibot import IBOT, SIZES
from unmask_vision.predictors import ConvPredictor


class MMC(IBOT):
    """A ViT sees two views of an image in which groups of patches are noise or another image. It restores their pixels
    and names their prototypes; class tokens name those of the other view, and are nearer to each other than to those of
    other images.

    ``loss = CE at hidden patches + class_weight * CE of class tokens + pixel_weight * |p - x| + contrast_weight * NCE``

    Arguments are those of `IBOT`, but:

    Args:
        pixel_weight: of the restored pixels, at least 0, or a schedule of it.
        contrast_weight: of the contrast of class tokens, at least 0, or a schedule of it.
        contrast_width: that class tokens are projected to for it, at least 1.
        mask: of each view, boxes of up to 0.3 of a side, until a share drawn in [0.5, 0.75] is hidden, as in GMML.
        corruption: 0.7 of the hidden patches are noise, the rest those of the next image of the batch, as in GMML.

    The paper's weights and sizes were not verified: all weights are 1 here. Differs from it, as far as is known, in
    that prototypes stand for all distillation, and class tokens of both views come from the model that is trained.

    Raises:
        ValueError: as `IBOT`; a weight below 0.
    """

    pixel_weight: float | Schedule = 1.0
    contrast_weight: float | Schedule = 1.0
    contrast_width: int = 256
    mask: MaskSampler = BoxMask(ratio=Uniform(0.5, 0.75))
    corruption: Corruption = StandIns(noise=0.7, other=0.3)

    def complete(self) -> None:
        patch_size = self.patch_size or 16
        self.encoder = self.encoder or ViTEncoder(
            chosen("size", self.size or "small", SIZES),
            self.image_size or 224,
            patch_size,
            self.channels,
            drop_path_ratio=0.1,
        )
        super().complete()
        head = ConvPredictor(self.encoder.width, patch_size**2 * self.channels, depth=1)
        pixels = Objective("hidden", head, ValueTarget(), L1Loss(), self.pixel_weight)
        self.objectives = {"pixels": pixels, **self.objectives}
        contrast = Contrast("first", "second", self.contrast_width, ("cls", "cls"), 0.1, self.contrast_weight)
        self.terms = {"contrast": contrast, **self.terms}
