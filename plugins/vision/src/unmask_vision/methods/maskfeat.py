"""MaskFeat: predict histograms of gradients of hidden patches (Wei et al. 2021, arXiv:2112.09133)."""

from __future__ import annotations

from typing import Literal

from unmask import MADE, Corruption, Loss, MaskSampler, Method, Optimization, Target, chosen
from unmask.losses import MSELoss
from unmask.masks import BlockMask
from unmask.predictors import LinearPredictor
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import SIZES
from unmask_vision.targets import HOGTarget
from unmask_vision.tokenizer import PatchTokenizer


class MaskFeat(Method):
    """A ViT sees every place, hidden ones as a learned token; one linear layer predicts HOG features of those.

    ``loss = mean over hidden patches of mean((W code + b - HOG)^2)``

    Args:
        size: ``tiny``, ``small``, ``base``, ``large`` or ``huge``; None: ``base``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels; None: 16, or 14 for ``huge``.
        channels: colour channels of the images.
        mask: 40% of the patches in blocks (section 4.1).
        encoder: None: timm's ViT of that size.
        predictor: None: one linear layer (section 3.1).
        target: None: `HOGTarget` of cells of half a patch, 9 bins per channel, 108 numbers of a patch (section 3.2).
        loss: squared error (section 3.1).
        corruption: hidden patches are shown as the mask token (section 3.1).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW: base rate 2e-4, betas (0.9, 0.999), decay 0.05, 30 warm-up epochs (appendix B). Clipping of
            gradients at 0.02 is the trainer's ``gradient_clip_val``.

    Differs from the paper in the mask, whose count is exact, and in what is not built: clips.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own.
    """

    size: Literal["tiny", "small", "base", "large", "huge"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    mask: MaskSampler = BlockMask(ratio=0.4)
    target: Target = MADE
    loss: Loss = MSELoss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=2e-4, betas=(0.9, 0.999), warmup_epochs=30)

    encoder_options = ("size", "image_size")

    def complete(self) -> None:
        name, *_ = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        self.tokenizer = self.tokenizer or PatchTokenizer(patch_size, self.channels)
        self.encoder = self.encoder or ViTEncoder(
            name, self.image_size or 224, patch_size, self.channels, mask_token=True
        )
        self.target = self.target or HOGTarget(self.channels, cell_size=max(patch_size // 2, 1))
        if self.predictor is None:
            width = patch_size**2 * self.channels
            width = self.target.width(patch_size) if isinstance(self.target, HOGTarget) else width
            self.predictor = LinearPredictor(self.encoder.width, width)
