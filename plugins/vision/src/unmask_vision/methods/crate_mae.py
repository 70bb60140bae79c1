"""CRATE-MAE: an autoencoder of white-box blocks (Pai et al. 2024, arXiv:2404.02446)."""

from __future__ import annotations

from typing import Literal

from unmask import Corruption, Loss, MaskSampler, Method, Optimization, Target, chosen
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import CRATEPredictor
from unmask.targets import ValueTarget
from unmask_vision.encoders import CRATEEncoder
from unmask_vision.tokenizer import PatchTokenizer

SIZES = {
    # size: width, depth and heads of the encoder, and of the decoder. Tiny is ours.
    "tiny": (192, 12, 3),
    "small": (576, 12, 12),
    "base": (768, 12, 12),
}


class CRATEMAE(Method):
    """Blocks of subspace attention and sparse coding encode all places, hidden ones as a token; inverse blocks decode.

    ``loss = mean over hidden patches of mean((decoder(codes) - normalised pixels)^2)``

    Args:
        size: ``tiny``, ``small`` or ``base``; None: ``base``.
        patch_size: side of a patch in pixels.
        channels: colour channels of the images.
        mask: 75% of the patches at random, as MAE.
        encoder: None: `CRATEEncoder` of that size.
        predictor: None: `CRATEPredictor`, as wide and deep.
        target: pixels normalised per patch, as MAE.
        loss: squared error, as MAE.
        corruption: hidden patches are shown as the mask token, before the encoder (released code).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: MAE's.

    Differs from the released code in that its decoder has no class token.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own.
    """

    size: Literal["tiny", "small", "base"] | None = None
    patch_size: int = 16
    channels: int = 3
    mask: MaskSampler = RandomMask(ratio=0.75)
    target: Target = ValueTarget(normalize=True)
    loss: Loss = MSELoss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(warmup_epochs=40)

    encoder_options = ("size",)

    def complete(self) -> None:
        width, depth, num_heads = chosen("size", self.size or "base", SIZES)
        self.tokenizer = self.tokenizer or PatchTokenizer(self.patch_size, self.channels)
        self.encoder = self.encoder or CRATEEncoder(
            width, depth, num_heads, self.patch_size, self.channels, mask_token=True
        )
        self.predictor = self.predictor or CRATEPredictor(
            self.encoder.width, self.patch_size**2 * self.channels, depth=depth, num_heads=num_heads
        )
