"""DMJD: two views that hide different patches, and answers at visible ones too (Ma et al. 2022, arXiv:2301.00230)."""

from __future__ import annotations

from unmask import MADE, MaskSampler, Objective, Optimization, Predictor, Target
from unmask.losses import SmoothL1Loss
from unmask.masks import DisjointMask
from unmask.predictors import MLPPredictor, TransformerPredictor
from unmask_vision.methods.mae import MAE
from unmask_vision.targets import HOGTarget


class DMJD(MAE):
    """MAE on two masks of each image, whose codes of visible patches must also tell their features.

    ``loss = mean over views of MSE(decoder, HOG of hidden patches) + visible_weight * smooth-L1(MLP, HOG of visible)``

    Arguments are those of `MAE`, but:

    Args:
        mask: None: two masks that hide 60% in units of 32 pixels, the second what the first shows (section 4.1).
        target: None: `HOGTarget` of cells of half a patch, 9 bins per channel (section 3.3).
        predictor: None: the decoder of that size.
        projector: answers at visible patches; None: three layers and a linear one (section 3.3).
        visible_weight: at least 0 (section 3.3).
        optim: AdamW: base rate 6e-4, betas (0.9, 0.95), decay 0.05, 20 warm-up epochs.

    Differs from the paper in the encoder, there with convolution stages; in the features, which are MaskFeat's (there
    of central differences); and in the rate, which does not count the share of hidden patches.

    Raises:
        ValueError: as `MAE`; a weight below 0.
    """

    mask: MaskSampler = MADE
    target: Target = MADE
    projector: Predictor = MADE
    visible_weight: float = 1.0
    optim: Optimization = Optimization(base_lr=6e-4, warmup_epochs=20)

    def complete(self) -> None:
        given = self.predictor
        super().complete()
        patch_size: int = getattr(self.tokenizer, "patch_size", 16)
        self.mask = self.mask or DisjointMask(ratio=0.6, unit=max(32 // patch_size, 1))
        self.target = self.target or HOGTarget(self.channels, cell_size=max(patch_size // 2, 1))
        width = patch_size**2 * self.channels
        if isinstance(self.target, HOGTarget):
            width = self.target.width(patch_size)
        made = self.predictor
        if given is None and isinstance(made, TransformerPredictor) and made.head.out_features != width:
            blocks = made.trunk.blocks
            num_heads: int = blocks[0].attn.num_heads
            self.predictor = TransformerPredictor(self.encoder.width, width, made.width, len(blocks), num_heads)
        projector = self.projector or MLPPredictor(self.encoder.width, width)
        visible = Objective("visible", projector, loss=SmoothL1Loss(beta=2.0), weight=self.visible_weight)
        self.objectives = {"visible": visible, **self.objectives}
        self.projector = MADE  # the objective has it
