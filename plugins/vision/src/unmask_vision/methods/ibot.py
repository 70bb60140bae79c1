"""iBOT: hidden patches and class tokens of two views tell a slow copy's prototypes (Zhou et al. 2021,
arXiv:2111.07832)."""

from __future__ import annotations

from typing import Literal

from unmask import (
    Corruption,
    Cosine,
    Embedder,
    Loss,
    MaskSampler,
    Method,
    Optimization,
    Schedule,
    Target,
    Uniform,
    chosen,
)
from unmask.losses import PrototypeLoss
from unmask.masks import BlockMask
from unmask.predictors import PrototypePredictor
from unmask.targets import PrototypeTeacher
from unmask.terms import CrossedPrototypes
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer
from unmask_vision.two_looks import TwoLooksTokenizer

SIZES = {
    "tiny": "vit_tiny_patch16_224",
    "small": "vit_small_patch16_224",
    "base": "vit_base_patch16_224",
    "large": "vit_large_patch16_224",
}


class IBOT(Method):
    """A ViT sees two views of an image, some patches as a mask token, and names prototypes: those that a slow copy sees
    in the same patches of the whole view, and those that it sees in the class token of the other whole view.

    ``loss = mean over hidden patches of CE(teacher, student) + class_weight * mean over both crossed pairs of CE``

    Views are made by `TwoViews`, an augmentation; without it both are the same image.

    Args:
        size: ``tiny``, ``small``, ``base`` or ``large``; None: ``small``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels; None: 16.
        channels: colour channels of the images.
        num_prototypes: of the head that patches and class tokens share (section 4.1).
        hidden_width: of that head's inner layers.
        class_weight: of the crossed term, at least 0, or a schedule of it (equation 4).
        mask: of each view: a share drawn evenly in [0.1, 0.5], in blocks (section 4.1).
        encoder: None: timm's ViT of that size with stochastic depth 0.1; one with a class token.
        predictor: None: scores of prototypes.
        target: those of a slow copy, momentum 0.996 to 1, temperature 0.04 to 0.07 over 30 epochs.
        loss: cross-entropy at temperature 0.1.
        corruption: hidden patches are shown as the mask token.
        tokenizer: None: both views as patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW: base rate 5e-4, 1e-6 at the end, decay from 0.04 to 0.4, 10 warm-up epochs. Released with
            gradients clipped at 3, the trainer's ``gradient_clip_val``.

    Differs from the released code in that there are no small crops, in the mask, which hides something of every view
    (there of half of them), and in the centre of patches, see `PrototypeTeacher`.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own.
    """

    size: Literal["tiny", "small", "base", "large"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    num_prototypes: int = 8192
    hidden_width: int = 2048
    class_weight: float | Schedule = 1.0
    mask: MaskSampler = BlockMask(ratio=Uniform(0.1, 0.5))
    target: Target = PrototypeTeacher()
    loss: Loss = PrototypeLoss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(
        base_lr=5e-4, min_lr=1e-6, weight_decay=Cosine(0.04, 0.4), betas=(0.9, 0.999), warmup_epochs=10
    )

    encoder_options = ("size", "image_size")

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or TwoLooksTokenizer(PatchTokenizer(self.patch_size or 16, self.channels))
        self.encoder = self.encoder or ViTEncoder(
            chosen("size", self.size or "small", SIZES),
            self.image_size or 224,
            self.patch_size or 16,
            self.channels,
            mask_token=True,
            drop_path_ratio=0.1,
        )
        self.predictor = self.predictor or PrototypePredictor(
            self.encoder.width, self.num_prototypes, self.hidden_width
        )
        self.terms = {"class": CrossedPrototypes(weight=self.class_weight), **self.terms}

    @property
    def embedder(self) -> Embedder:
        """The slow copy, on single images (section 4.1)."""
        tokenizer, target = self.tokenizer, self.target
        return Embedder(getattr(tokenizer, "patches", tokenizer), getattr(target, "encoder", self.encoder))
