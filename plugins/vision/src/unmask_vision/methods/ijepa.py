"""I-JEPA: predict a teacher's codes of whole blocks from one context (Assran et al. 2023, arXiv:2301.08243)."""

from __future__ import annotations

from typing import Literal

from unmask import (
    Cosine,
    Embedder,
    Loss,
    MaskSampler,
    Method,
    Optimization,
    Target,
    chosen,
    left_to,
)
from unmask.losses import SmoothL1Loss
from unmask.masks import MultiBlockMask
from unmask.predictors import TransformerPredictor
from unmask.targets import EMATeacher
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

SIZES = {
    # size: timm model, patch size, predictor depth and heads (appendix A.1: width 384 throughout,
    # depth 6 for B, 12 for L and H, as many heads as the encoder). Tiny and small are ours.
    "tiny": ("vit_tiny_patch16_224", 16, 4, 3),
    "small": ("vit_small_patch16_224", 16, 6, 6),
    "base": ("vit_base_patch16_224", 16, 6, 12),
    "large": ("vit_large_patch16_224", 16, 12, 16),
    "huge": ("vit_huge_patch14_224", 14, 12, 16),
}
PREDICTOR_WIDTH = 384


class IJEPA(Method):
    """A ViT encodes one context block; a narrow predictor answers for four target blocks, each by itself.

    ``loss = mean over target places of smooth-L1(predictor(codes), layer-norm(teacher's codes))``

    Args:
        size: ``tiny``, ``small``, ``base``, ``large`` or ``huge``; None: ``base``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels; None: 16, or 14 for ``huge``.
        channels: colour channels of the images.
        position_noise: sigma of stochastic positions, at least 0 (StoP, Bar et al. 2023, arXiv:2308.00566; its best:
            0.25): mask tokens are told where they lie with noise that is drawn in training. None: 0, as in I-JEPA.
        mask: one context and four target blocks (section 3 and appendix A.1).
        encoder: None: timm's ViT of that size without class token, with fixed sine-cosine positions.
        predictor: None: the predictor of that size.
        target: an EMA teacher, momentum 0.996 to 1 (appendix A.1).
        loss: smooth L1, as in the released code (the paper says squared error, section 3).
        corruption: hidden patches are dropped (section 3).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW of appendix A.1: rate 1e-3 at batch 2048, 1e-6 at the end, 15 warm-up epochs, decay
            from 0.04 to 0.4. The decay follows a cosine, as in the released code.

    Differs from the released code in the warm-up, which begins at 0, and in the initialisation, which is
    MAE's Xavier-uniform (there truncated normal, with output layers scaled down by depth).

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own; noise beside a predictor, likewise.
    """

    size: Literal["tiny", "small", "base", "large", "huge"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    position_noise: float | None = None
    mask: MaskSampler = MultiBlockMask()
    target: Target = EMATeacher()
    loss: Loss = SmoothL1Loss()
    optim: Optimization = Optimization(
        base_lr=1.25e-4,
        min_lr=1.25e-7,
        weight_decay=Cosine(start=0.04, end=0.4),
        betas=(0.9, 0.999),
        warmup_epochs=15,
    )

    encoder_options = ("size", "image_size")

    def complete(self) -> None:
        name, default_patch, depth, num_heads = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or default_patch
        self.tokenizer = self.tokenizer or PatchTokenizer(patch_size, self.channels)
        self.encoder = self.encoder or ViTEncoder(
            name,
            self.image_size or 224,
            patch_size,
            self.channels,
            positions="sincos",
            options={"class_token": False, "global_pool": "avg", "fc_norm": False},
        )
        if self.predictor is not None:
            left_to("predictor", position_noise=self.position_noise)
        width = self.encoder.width
        self.predictor = self.predictor or TransformerPredictor(
            width, width, PREDICTOR_WIDTH, depth, num_heads, position_noise=self.position_noise or 0.0
        )

    @property
    def embedder(self) -> Embedder:
        """The teacher, whose codes the paper evaluates (section 5)."""
        used = self.target.teacher if isinstance(self.target, EMATeacher) else self.encoder
        return Embedder(self.tokenizer, used)
