"""Masked training for denoising: noise and most pixels are taken from an image (Chen et al. 2023, arXiv:2303.13132)."""

from __future__ import annotations

from unmask import MADE, Corruption, Loss, MaskSampler, Method, Optimization, Target, Uniform
from unmask.corruptions import NoisyValues
from unmask.losses import L1Loss
from unmask.masks import EveryMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask_vision.encoders import SwinIREncoder
from unmask_vision.tokenizer import PatchTokenizer


class MaskedDenoising(Method):
    """SwinIR restores all pixels of a noisy image, of which it sees 10 to 20%, and a quarter in each attention.

    ``loss = mean over all pixels of |W code + b - clean pixel|``

    What it learns of images rather than of one noise helps against noise of other kinds.

    Args:
        image_size: of the images in pixels. Section 4.1: crops of 64.
        patch_size: side of a place in pixels; 1: a pixel.
        channels: colour channels of the images.
        noise_std: standard deviation of the noise, of pixels in [0, 1], at least 0. Section 4.1: 15 / 255.
        zeros: share of the noisy pixels that are set to 0, drawn evenly for each image (section 4.1).
        attention_mask_ratio: share of the places set to 0 before each attention, in [0, 1) (section 4.1).
        mask: every place: of each there is something hidden.
        encoder: None: SwinIR's trunk, 4 groups of 6 blocks of width 60 in windows of 8 (section 4.1).
        predictor: None: one linear layer.
        target: pixels.
        loss: absolute error.
        corruption: None: that noise, and those zeros.
        tokenizer: None: pixels in [0, 1].
        optim: Adam: rate 1e-4 at batch 64, no decay, betas (0.9, 0.999).

    Differs from the paper in the head, which adds nothing of the input, and in what is not built: an average of the
    weights. Masks count in validation, as in the released test script, but not where codes are used afterwards.

    Raises:
        ValueError: a number out of range.
    """

    image_size: int | tuple[int, int] | None = None
    patch_size: int = 1
    channels: int = 3
    noise_std: float = 15 / 255
    zeros: float | Uniform = Uniform(0.8, 0.9)
    attention_mask_ratio: float | None = None
    mask: MaskSampler = EveryMask()
    target: Target = ValueTarget()
    loss: Loss = L1Loss()
    corruption: Corruption = MADE
    optim: Optimization = Optimization(base_lr=4e-4, weight_decay=0.0, betas=(0.9, 0.999), warmup_epochs=0)

    encoder_options = ("image_size", "attention_mask_ratio")

    def complete(self) -> None:
        channels = self.channels
        self.tokenizer = self.tokenizer or PatchTokenizer(self.patch_size, channels, [0.0] * channels, [1.0] * channels)
        ratio = 0.75 if self.attention_mask_ratio is None else self.attention_mask_ratio
        self.encoder = self.encoder or SwinIREncoder(
            self.image_size or 64, self.patch_size, channels, attention_mask_ratio=ratio
        )
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, self.patch_size**2 * channels)
        self.corruption = self.corruption or NoisyValues(self.noise_std, self.zeros, channels)
