"""MoM: distances of objects, whose patches are hidden and restored as well (DistFormer, Panariello et al. 2024,
arXiv:2401.03191)."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from unmask import MADE, Corruption, MaskSampler, Method, Optimization, Schedule, Uniform, chosen
from unmask.losses import MSELoss
from unmask.masks import EveryMask, InsideMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask.terms import MaskedPass
from unmask_vision.boxes import BoxNumbers, BoxTokenizer
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import SIZES


class MoM(Method):
    """A ViT sees whole images, and tells a number, such as the distance, of each object in a box. In a second pass a
    share of the patches of objects is left out, and a light decoder restores them.

    ``loss = mean over objects of |number - answer| + masked_weight * mean over hidden patches of MSE of pixels``

    Batches have ``boxes`` ``[B, O, 4]`` in pixels and ``distance`` ``[B, O]``, as `DrawnObjectsData` makes them.

    Args:
        size: ``tiny``, ``small``, ``base``, ``large`` or ``huge``, of encoder and decoder; None: ``base``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels; None: 16, or 14 for ``huge``.
        channels: colour channels of the images.
        key: of the objects' numbers in the batch.
        hidden_width: of the head that tells them, at least 1.
        masked_weight: of the masked pass, at least 0, or a schedule of it; 0: plain regression.
        masked: what is hidden in that pass: a share drawn in [0.5, 0.8] of the patches of objects.
        decoder: of that pass; None: MAE's of that size.
        encoder: None: timm's ViT of that size, with fixed sine-cosine positions.
        tokenizer: None: patches with the boxes that cover them.
        optim: AdamW as MAE's.

    Shares and weight are from memory of the paper. Differs from it in the encoder (there convolutions), in the
    features of an object, which are the mean over its patches, and in what is restored: hidden patches, no crops.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own; a weight below 0.
    """

    size: Literal["tiny", "small", "base", "large", "huge"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    key: str = "distance"
    hidden_width: int = 256
    masked_weight: float | Schedule = 1.0
    masked: MaskSampler = InsideMask(Uniform(0.5, 0.8))
    decoder: Any = MADE
    mask: MaskSampler = field(init=False, default_factory=EveryMask)
    predictor: Any = field(init=False, default=None)
    target: Any = field(init=False, default=None)
    loss: Any = field(init=False, default=None)
    corruption: Corruption = field(init=False, default_factory=lambda: Corruption(keep=1))
    optim: Optimization = Optimization(warmup_epochs=40)

    encoder_options = ("image_size",)

    def complete(self) -> None:
        name, width, depth, num_heads = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        self.tokenizer = self.tokenizer or BoxTokenizer(patch_size, self.channels)
        self.encoder = self.encoder or ViTEncoder(
            name, self.image_size or 224, patch_size, self.channels, positions="sincos"
        )
        values = patch_size**2 * self.channels
        decoder = self.decoder or TransformerPredictor(self.encoder.width, values, width, depth, num_heads)
        numbers = BoxNumbers(self.encoder.width, self.key, self.hidden_width)
        masked = MaskedPass(self.masked, decoder, ValueTarget(normalize=True), MSELoss(), weight=self.masked_weight)
        self.terms = {self.key: numbers, "masked": masked, **self.terms}
        self.decoder = self.masked = MADE  # the term has them
