"""Point-MAE: hide most patches, encode the rest, rebuild points (Pang et al. 2022, arXiv:2203.06604)."""

from __future__ import annotations

from unmask import Corruption, Encoder, Loss, MaskedModel, MaskSampler, Optimization, Predictor, Target, Tokenizer
from unmask.masks import RandomMask
from unmask_pointcloud.losses import ChamferLoss
from unmask_pointcloud.methods.sizes import Size, encoder_of, heads, sizes_of
from unmask_pointcloud.predictors.decoder import PointDecoder
from unmask_pointcloud.targets.points import PointTarget
from unmask_pointcloud.tokenizer import PointTokenizer


class PointMAE(MaskedModel):
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

    def __init__(
        self,
        size: Size | None = None,
        num_patches: int = 64,
        patch_size: int = 32,
        channels: int = 0,
        mask: MaskSampler = RandomMask(ratio=0.6),
        encoder: Encoder | None = None,
        predictor: Predictor | None = None,
        target: Target = PointTarget(),
        loss: Loss = ChamferLoss(norm=2),
        corruption: Corruption = Corruption(drop=1),
        tokenizer: Tokenizer | None = None,
        optim: Optimization = Optimization(base_lr=2e-3, min_lr=2e-6, betas=(0.9, 0.999), warmup_epochs=10),
    ) -> None:
        sizes = sizes_of(size, encoder)
        encoder = encoder or encoder_of(sizes, channels)
        patch_size = getattr(tokenizer, "patch_size", patch_size)
        target_width = getattr(target, "width", 3 * patch_size)
        answers = getattr(predictor, "target_width", target_width)
        if answers != target_width:
            what = f"3 numbers of each point of a patch (`patch_size` {patch_size})"
            what = f"those of {type(target).__name__}" if hasattr(target, "width") else what
            raise ValueError(f"`target_width` of the predictor must be {target_width}, {what}, but is {answers}.")
        super().__init__(
            tokenizer=tokenizer or PointTokenizer(num_patches, patch_size, channels),
            mask=mask,
            encoder=encoder,
            predictor=predictor or PointDecoder(encoder.width, target_width, sizes.decoder_depth, heads(encoder.width)),
            target=target,
            loss=loss,
            corruption=corruption,
            optim=optim,
        )
