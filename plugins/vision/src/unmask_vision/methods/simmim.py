"""SimMIM: show a mask token for hidden patches, predict raw pixels by one layer (Xie et al. 2021, arXiv:2111.09886)."""

from __future__ import annotations

from typing import ClassVar, Literal

from unmask import (
    MADE,
    Corruption,
    Loss,
    MaskSampler,
    Method,
    Optimization,
    Target,
    chosen,
)
from unmask.losses import L1Loss
from unmask.masks import RandomMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask_vision.encoders import MapEncoder, SwinV2Encoder, ViTEncoder
from unmask_vision.predictors import SwinPredictor
from unmask_vision.tokenizer import PatchTokenizer

MASK_UNIT = 32
"""Side of what is hidden together, in pixels, whatever the patch size (section 3.2, table 1)."""


class SimMIM(Method):
    """The encoder sees every place, hidden ones as a learned token; one linear layer predicts pixels.

    ``loss = sum over hidden pixels of |prediction - pixel| / (hidden pixels x channels)``

    Args:
        backbone: ``vit``: timm's ViT-B without position table, one relative position bias shared by
            all blocks (section 4.1.1), biased queries and keys and branches scaled by 0.1 at first, as in
            the released code; ``swinv2``: timm's SwinV2-B.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224 for ``vit``, 256
            for ``swinv2``.
        patch_size: side of a patch in pixels; None: 16 for ``vit``, 4 for ``swinv2``, and the stride of an encoder that
            makes maps, such as a CNN, which a patch must divide.
        channels: colour channels of the images.
        mask: None: 60% of 32-pixel units at random, rounded up (section 4.1.2, table 1).
        encoder: None: that backbone; the ViT with stochastic depth 0.1. Any other that is shown mask tokens, such as a
            `CNNEncoder`.
        predictor: None: the linear head that fits it (section 4.1.2, table 2).
        target: raw pixels, normalised over the data set (section 3.4).
        loss: absolute error (section 3.4, table 4).
        corruption: hidden patches are shown as the mask token (section 3.2).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW as in the released settings of ViT-B, 800 epochs: rate 1e-4 at batch 512 (5e-5
            per 256), betas (0.9, 0.999), decay 0.05, 10 warm-up epochs.

    Differs from the released code in the decay of the rate (there 0.1 times from epoch 700 on, here a
    cosine), in the initialisation (there truncated normal, with output layers scaled down by depth;
    here Xavier-uniform), and in the denominator, which it enlarges by 1e-5 of a pixel.

    Raises:
        ValueError: an unknown backbone, an image size beside an encoder, which has its own, or patches that do not
            divide the stride of an encoder that makes maps.
    """

    backbone: Literal["vit", "swinv2"] = "vit"
    image_size: int | tuple[int, int] | None = None
    patch_size: int | None = None
    channels: int = 3
    mask: MaskSampler = MADE
    target: Target = ValueTarget()
    loss: Loss = L1Loss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=5e-5, betas=(0.9, 0.999), warmup_epochs=10)

    encoder_options = ("image_size",)
    backbones: ClassVar[dict[str, bool]] = {"vit": False, "swinv2": True}
    """Words for ``backbone``, and whether each is a Swin."""

    def complete(self) -> None:
        swin = chosen("backbone", self.backbone, self.backbones)
        stride = self.encoder.stride if isinstance(self.encoder, MapEncoder) else None
        patch_size = self.patch_size or stride or (4 if swin else 16)
        if stride is not None and stride % patch_size:
            near = max(size for size in range(1, stride + 1) if stride % size == 0 and size <= max(patch_size, 1))
            raise ValueError(
                f"`patch_size` must divide {stride}, the stride of the encoder, but is {patch_size}; nearest: {near}."
            )
        self.tokenizer = self.tokenizer or PatchTokenizer(patch_size, self.channels)
        self.mask = self.mask or RandomMask(ratio=0.6, unit=max(MASK_UNIT // patch_size, 1))
        if self.encoder is None and swin:
            options = {"patch_size": patch_size}
            self.encoder = SwinV2Encoder(image_size=self.image_size or 256, channels=self.channels, options=options)
        self.encoder = self.encoder or ViTEncoder(
            "vit_relpos_base_patch16_cls_224",
            self.image_size or 224,
            patch_size,
            self.channels,
            mask_token=True,
            drop_path_ratio=0.1,
            options={"rel_pos_type": "bias", "shared_rel_pos": True, "qkv_bias": True, "init_values": 0.1},
        )
        widths = self.encoder.width, patch_size**2 * self.channels
        if stride is not None:
            self.predictor = self.predictor or SwinPredictor(*widths, downsampling=stride // patch_size)
        head = SwinPredictor if isinstance(self.encoder, SwinV2Encoder) else LinearPredictor
        self.predictor = self.predictor or head(*widths)
