"""Point-MAE: hide most patches, encode the rest, rebuild points (Pang et al. 2022, arXiv:2203.06604)."""

from __future__ import annotations

from unmask import (
    Loss,
    MaskSampler,
    Method,
    Optimization,
    Target,
    chosen,
)
from unmask.masks import RandomMask
from unmask_pointcloud.losses import ChamferLoss
from unmask_pointcloud.methods.sizes import SIZES, Size, encoder_of, heads
from unmask_pointcloud.predictors.decoder import PointDecoder
from unmask_pointcloud.targets.points import PointTarget
from unmask_pointcloud.tokenizer import PointTokenizer


class PointMAE(Method):
    """A transformer encodes the visible patches only; a light decoder predicts the points of the hidden ones.

    ``loss = mean over hidden patches of Chamfer-L2(decoder(codes), points)``

    Args:
        size: ``tiny`` or ``small``; None: ``small``, the paper's.
        num_patches: of a cloud. 64 for clouds of 1,024 points (section 4.1).
        patch_size: points of a patch (section 4.1).
        channels: numbers of a point beside its coordinates.
        mask: 60% of the patches at random (table 6).
        encoder: None: of that size.
        predictor: None: the decoder of that size.
        target: the points of hidden patches; or one of GeoMAE's, with the loss that belongs to it.
        loss: Chamfer distance, squared (equation 4).
        corruption: hidden patches are dropped (section 3.2).
        tokenizer: None: patches of those numbers.
        optim: AdamW of section 4.1: rate 1e-3 at batch 128, 10 warm-up epochs, decay 0.05.

    Differs from the released code as `PointTransformer` tells; in the count of hidden patches, which is rounded up
    here (39 of 64, there 38); and in the warm-up, which begins at 0.

    Raises:
        ValueError: an unknown size, one beside an encoder, which has its own, or a predictor of other answers than the
            target's.
    """

    size: Size | None = None
    num_patches: int = 64
    patch_size: int = 32
    channels: int = 0
    mask: MaskSampler = RandomMask(ratio=0.6)
    target: Target = PointTarget()
    loss: Loss = ChamferLoss(norm=2)
    optim: Optimization = Optimization(base_lr=2e-3, min_lr=2e-6, betas=(0.9, 0.999), warmup_epochs=10)

    def complete(self) -> None:
        sizes = chosen("size", self.size or "small", SIZES)
        self.tokenizer = self.tokenizer or PointTokenizer(self.num_patches, self.patch_size, self.channels)
        self.encoder = self.encoder or encoder_of(sizes, self.channels)
        patch_size = getattr(self.tokenizer, "patch_size", self.patch_size)
        target_width = getattr(self.target, "width", 3 * patch_size)
        answers = getattr(self.predictor, "target_width", target_width)
        if answers != target_width:
            what = f"3 numbers of each point of a patch (`patch_size` {patch_size})"
            what = f"those of {type(self.target).__name__}" if hasattr(self.target, "width") else what
            raise ValueError(f"`target_width` of the predictor must be {target_width}, {what}, but is {answers}.")
        width = self.encoder.width
        self.predictor = self.predictor or PointDecoder(width, target_width, sizes.decoder_depth, heads(width))
