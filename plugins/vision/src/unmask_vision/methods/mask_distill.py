"""MaskDistill: hidden patches are shown as a token, and what a teacher makes of them is predicted (Peng et al. 2022,
arXiv:2210.10615)."""

from __future__ import annotations

from typing import Literal

from unmask import MADE, Corruption, Encoder, Loss, MaskSampler, Method, Optimization, Target, Tokenizer, left_to
from unmask.api import taught_by
from unmask.losses import SmoothL1Loss
from unmask.masks import BlockMask
from unmask.predictors import LinearPredictor
from unmask_vision.methods.data2vec import beit_vit
from unmask_vision.tokenizer import PatchTokenizer


class MaskDistill(Method):
    """A ViT that sees hidden patches as a token answers by one layer with a teacher's normed features of them.

    ``loss = mean over hidden patches of smooth-L1(W code, layer-norm(teacher's feature))``

    Args:
        size: ``tiny``, ``small``, ``base`` or ``large``; None: ``base``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels; None: 16.
        channels: colour channels of the images.
        teacher: encoder with weights of its own, such as CLIP's or DINO's; it sees whole images, is frozen and left out
            of checkpoints. None: that of ``teacher_run``.
        teacher_run: folder of a run whose encoder is the teacher. None of both: a slowly following copy of the encoder,
            momentum 0.996 to 1.
        teacher_tokenizer: cuts images for the teacher into as many patches, where it needs another size or other
            normalised pixels, see `ResizedTokenizer`; None: it gets the student's.
        mask: blocks of at least 16 patches that hide 40%.
        encoder: None: timm's ViT of that size without position table, one relative position bias shared by all blocks.
        predictor: None: one linear layer.
        target: None: the teacher's features, layer-normed without scale and shift (section 3.2).
        loss: smooth L1 (section 3.2).
        corruption: hidden patches are shown as the mask token.
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW at rate 1.5e-3 for batch 2048, 10 warm-up epochs, as BEiT's (from memory).

    Differs from the paper in the initialisation, which is MAE's, and in exact counts of hidden patches.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own; two teachers, or one beside a target.
    """

    size: Literal["tiny", "small", "base", "large"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    teacher: Encoder | None = None
    teacher_run: str | None = None
    teacher_tokenizer: Tokenizer | None = None
    mask: MaskSampler = BlockMask(ratio=0.4)
    target: Target = MADE
    loss: Loss = SmoothL1Loss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=1.875e-4, betas=(0.9, 0.98), warmup_epochs=10)

    encoder_options = ("size", "image_size")

    def complete(self) -> None:
        patch_size = self.patch_size or 16
        self.tokenizer = self.tokenizer or PatchTokenizer(patch_size, self.channels)
        self.encoder = self.encoder or beit_vit(self.size, self.image_size, patch_size, self.channels)
        if self.target is not None:
            left_to("target", teacher_run=self.teacher_run, teacher=self.teacher)
            width = self.encoder.width
        else:
            options = {"tokenizer": self.teacher_tokenizer}
            self.target, width = taught_by(self.teacher, self.teacher_run, self.encoder, **options)
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, width)
        self.teacher = self.teacher_tokenizer = None  # the target has them
