"""MFM: hide frequencies, not patches, and predict them (Xie et al. 2022, arXiv:2206.07706)."""

from __future__ import annotations

from unmask import MADE, Corruption, Loss, MaskSampler, Optimization, Target, chosen
from unmask.corruptions import FrequencyFilter
from unmask.losses import FrequencyLoss
from unmask.masks import EveryMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import SIZES
from unmask_vision.methods.maskfeat import MaskFeat
from unmask_vision.tokenizer import PatchTokenizer


class MFM(MaskFeat):
    """A ViT sees an image without its high frequencies, or without its low ones; a linear layer predicts its pixels.

    ``loss = mean over hidden frequencies and channels of |F(prediction - image)|``, F the orthonormal transform

    Arguments are those of `MaskFeat`, but:

    Args:
        mask: every patch: what is hidden of each are frequencies.
        corruption: None: frequencies within 16 of 0 are kept, or all but those, with equal chance (section 4.1), in
            pixels clamped to [0, 1] as in the released code.
        target: pixels, normalised over the data set.
        predictor: None: one linear layer, equal to a 1 x 1 convolution and pixel shuffle (section 3.3).
        loss: None: distance of spectra (section 3.3).
        optim: AdamW: base rate 3e-4, betas (0.9, 0.95), decay 0.05, 20 warm-up epochs; released with gradients clipped
            at 3, the trainer's ``gradient_clip_val``.

    Differs from the paper in what is not built: other corruptions (super-resolution, deblurring).

    Raises:
        ValueError: as `MaskFeat`.
    """

    mask: MaskSampler = EveryMask()
    target: Target = ValueTarget()
    corruption: Corruption = MADE
    loss: Loss = MADE
    optim: Optimization = Optimization(base_lr=3e-4, warmup_epochs=20)

    def complete(self) -> None:
        name, *_ = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        self.tokenizer = self.tokenizer or PatchTokenizer(patch_size, self.channels)
        self.encoder = self.encoder or ViTEncoder(name, self.image_size or 224, patch_size, self.channels)
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, patch_size**2 * self.channels)
        self.corruption = self.corruption or self.filter()
        self.loss = self.loss or FrequencyLoss(self.channels)

    def filter(self, radius: float = 16.0) -> FrequencyFilter:
        """A filter of pixels in [0, 1], which are scaled as the tokenizer scales them."""
        scale = {name: getattr(self.tokenizer, name).flatten().tolist() for name in ("mean", "std")}
        return FrequencyFilter(radius, channels=self.channels, **scale)
