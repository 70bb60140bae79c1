"""CropMAE: a crop of an image, nearly all hidden, is rebuilt from the image (Eymael et al. 2024, arXiv:2403.17823)."""

from __future__ import annotations

from typing import Any

from unmask import Corruption, Embedder, MaskSampler, chosen
from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.predictors import CrossAttentionPredictor
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import MAE, SIZES
from unmask_vision.tokenizer import CropTokenizer, PatchTokenizer


class CropMAE(MAE):
    """One ViT encodes a whole view and the visible patches of a crop of it; a decoder rebuilds the crop by attention to
    the whole view.

    ``loss = mean over hidden patches of the crop of mean((decoder(codes, whole view's codes) - normalised pixels)^2)``

    Two patches of 196 tell where the crop lies and how large it is; the rest must be looked up. Crops are made by
    `NestedCrops`, an augmentation; images without one are cropped in their middle. Arguments are those of `MAE`, but:

    Args:
        mask: 98.5% of the crop's patches at random, nothing of the whole view (section 3).
        predictor: None: the decoder of that size: cross-attention, MLP and self-attention, normed after each.

    Differs from the paper in the decoder of sizes other than small, which is as wide as MAE's.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own.
    """

    mask: MaskSampler = MaskByPart({"whole": NoMask(), "local": RandomMask(ratio=0.985)})
    corruption: Corruption = Corruption(drop=1)

    def complete(self) -> None:
        name, width, depth, num_heads = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        self.tokenizer = self.tokenizer or CropTokenizer(PatchTokenizer(patch_size, self.channels))
        self.encoder = self.encoder or ViTEncoder(
            name, self.image_size or 224, patch_size, self.channels, positions="sincos"
        )
        num_values = patch_size**2 * self.channels
        self.predictor = self.predictor or CrossAttentionPredictor(
            self.encoder.width, num_values, width, depth, num_heads
        )

    @property
    def embedder(self) -> Embedder:
        """The encoder, on whole images alone."""
        tokenizer: Any = self.tokenizer
        return Embedder(tokenizer.patches, self.encoder)
