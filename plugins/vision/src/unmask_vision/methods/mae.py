"""MAE: hide most patches, encode the rest, reconstruct pixels (He et al. 2021, arXiv:2111.06377)."""

from __future__ import annotations

from typing import Literal

from unmask import Loss, MaskSampler, Method, Optimization, Target, chosen
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

SIZES = {
    # size: timm model, decoder width, depth and heads. The paper has B, L and H (table 8 and section
    # 4.1: decoder 8 blocks of width 512); the decoders of tiny and small are ours, as wide as they need.
    "tiny": ("vit_tiny_patch16_224", 192, 4, 3),
    "small": ("vit_small_patch16_224", 256, 4, 8),
    "base": ("vit_base_patch16_224", 512, 8, 16),
    "large": ("vit_large_patch16_224", 512, 8, 16),
    "huge": ("vit_huge_patch14_224", 512, 8, 16),
}


class MAE(Method):
    """A ViT encodes the visible patches only; a light decoder predicts the hidden ones.

    ``loss = mean over hidden patches of mean((decoder(codes) - normalised pixels)^2)``

    Args:
        size: ``tiny``, ``small``, ``base``, ``large`` or ``huge``; None: ``base``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels; None: 16, or 14 for ``huge``.
        channels: colour channels of the images.
        mask: 75% of the patches at random (section 3 and figure 5).
        encoder: None: timm's ViT of that size, with fixed sine-cosine positions.
        predictor: None: the decoder of that size.
        target: pixels normalised per patch (section 3 and table 1d).
        loss: squared error (section 3).
        corruption: hidden patches are dropped (section 3).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW of table 8: base rate 1.5e-4, betas (0.9, 0.95), decay 0.05, 40 warm-up epochs.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own.
    """

    size: Literal["tiny", "small", "base", "large", "huge"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    mask: MaskSampler = RandomMask(ratio=0.75)
    target: Target = ValueTarget(normalize=True)
    loss: Loss = MSELoss()
    optim: Optimization = Optimization(warmup_epochs=40)

    encoder_options = ("size", "image_size")

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or PatchTokenizer(self._patch_size, self.channels)
        self.encoder = self.encoder or self.made_vit()
        self.predictor = self.predictor or self.made_decoder(self._patch_size**2 * self.channels)

    def made_vit(self, drop_path_ratio: float = 0.0) -> ViTEncoder:
        """The encoder of the method's size, with fixed positions."""
        name, *_ = chosen("size", self.size or "base", SIZES)
        sides = self.image_size or 224, self._patch_size
        return ViTEncoder(name, *sides, self.channels, positions="sincos", drop_path_ratio=drop_path_ratio)

    def made_decoder(self, target_width: int) -> TransformerPredictor:
        """The decoder of the method's size, for answers of this width."""
        _, width, depth, num_heads = chosen("size", self.size or "base", SIZES)
        return TransformerPredictor(self.encoder.width, target_width, width, depth, num_heads)

    @property
    def _patch_size(self) -> int:
        return self.patch_size or (14 if self.size == "huge" else 16)
