"""data2vec: predict what a slow copy of the encoder makes of the whole image, as a mean over its top layers (Baevski et
al. 2022, arXiv:2202.03555)."""

from __future__ import annotations

from typing import Literal

from unmask import MADE, Corruption, Loss, MaskSampler, Method, Optimization, Schedule, Target, chosen, left_to
from unmask.losses import SmoothL1Loss
from unmask.masks import BlockMask
from unmask.predictors import LinearPredictor
from unmask.targets import EMATeacher
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

SIZES = {
    # size: width, depth, heads, stochastic depth, start of the branches' scale (released settings of B and L; tiny and
    # small are ours).
    "tiny": (192, 12, 3, 0.0, 1e-4),
    "small": (384, 12, 6, 0.1, 1e-4),
    "base": (768, 12, 12, 0.25, 1e-4),
    "large": (1024, 24, 16, 0.2, 1e-5),
}


class Data2Vec(Method):
    """A ViT that sees hidden patches as a token answers by one layer with the copy's features of the whole image.

    ``loss = mean over hidden patches of smooth-L1(W code, layer-norm(mean over top K of layer-norm(layer's codes)))``

    Args:
        size: ``tiny``, ``small``, ``base`` or ``large``; None: ``base``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels; None: 16.
        channels: colour channels of the images.
        top: K, layers that the target is the mean of, in [1, the encoder's]; None: 6, as in the release, or all of
            fewer.
        momentum: of the copy, in [0, 1], or a schedule of it; None: 0.9998, as in the release of the base size.
        mask: blocks of at least 16 patches that hide 60% (section 4.1).
        encoder: None: timm's ViT of that size without position table, one relative position bias shared by all blocks.
        predictor: None: one linear layer.
        target: None: the copy, see ``top`` and ``momentum``.
        loss: smooth L1, beta 2 (section 4.1).
        corruption: hidden patches are shown as the mask token (section 3.2).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW as in the released settings of the base size: rate 2e-3 at batch 2048 (2.5e-4 per 256), decay 0.05,
            10 warm-up epochs.

    Differs from the released code in the initialisation (there truncated normal, with output layers scaled down by
    depth; here Xavier-uniform), in exact counts of hidden patches, and in that no attention is dropped (there 0.05).

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own; ``top`` or ``momentum`` out of range,
            or beside a target, which has its own.
    """

    size: Literal["tiny", "small", "base", "large"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    top: int | None = None
    momentum: float | Schedule | None = None
    mask: MaskSampler = BlockMask(ratio=0.6)
    target: Target = MADE
    loss: Loss = SmoothL1Loss(beta=2.0)
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=2.5e-4, betas=(0.9, 0.999), warmup_epochs=10)

    encoder_options = ("size", "image_size")

    def complete(self) -> None:
        patch_size = self.patch_size or 16
        self.tokenizer = self.tokenizer or PatchTokenizer(patch_size, self.channels)
        self.encoder = self.encoder or beit_vit(self.size, self.image_size, patch_size, self.channels)
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, self.encoder.width)
        if self.target is not None:
            left_to("target", top=self.top, momentum=self.momentum)
        top = min(6, self.encoder.num_layers) if self.top is None else self.top
        self.target = self.target or EMATeacher(0.9998 if self.momentum is None else self.momentum, top=top)


def beit_vit(size: str | None, image_size: int | tuple[int, int] | None, patch_size: int, channels: int) -> ViTEncoder:
    """A ViT of that size with a mask token, without position table, and with one relative position bias that its blocks
    share, as BEiT's code pretrains it."""
    width, depth, num_heads, drop_path_ratio, scale = chosen("size", size or "base", SIZES)
    options = {"embed_dim": width, "depth": depth, "num_heads": num_heads, "init_values": scale}
    return ViTEncoder(
        "vit_relpos_base_patch16_cls_224",
        image_size or 224,
        patch_size,
        channels,
        mask_token=True,
        drop_path_ratio=drop_path_ratio,
        options={"rel_pos_type": "bias", "shared_rel_pos": True, "qkv_bias": True, **options},
    )
