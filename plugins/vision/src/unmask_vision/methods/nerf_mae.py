"""NeRF-MAE: hidden blocks of radiance grids, predicted from the others (Irshad et al. 2024, arXiv:2404.01300)."""

from __future__ import annotations

from unmask import MADE, Corruption, Loss, MaskSampler, Method, Optimization, Target
from unmask.masks import RandomMask
from unmask_vision.cubes import CubeTokenizer
from unmask_vision.encoders.swin3d import Swin3DEncoder
from unmask_vision.radiance import RadianceLoss, RadianceTarget, RadianceTokenizer
from unmask_vision.unet3d import UNet3DPredictor


class NeRFMAE(Method):
    """A 3-D Swin transformer sees blocks of colours and alphas, hidden ones as a token; a U-Net predicts all of them.

    ``loss = colour errors where alpha > 0.01, visible or not + alpha errors where hidden``; see `RadianceLoss`.

    Args:
        cube_size: side of a block in voxels, or its sides, depth first.
        width: of the encoder's first stage, a multiple of 6; None: 96, with the paper's other sizes.
        depths: blocks of each stage; None: 2, 2, 18, 2 (Swin-S).
        num_heads: of each stage; None: 3, 6, 12, 24.
        window_size: places of a window's side; None: 4.
        density: whether the fourth channel of the grids is the logarithm of a density, and not yet alpha.
        mask: 75% of the blocks at random.
        encoder: None: a 3-D Swin transformer of those sizes.
        predictor: None: a U-Net of its widths.
        target: voxels.
        loss: None: that of the released code, for blocks of that size.
        corruption: hidden blocks are shown as the mask token.
        tokenizer: None: blocks of that size.
        optim: AdamW: rate 1e-4 whatever the batch (there 32), decay 1e-3.

    Differs from the released code in the mask, which hides exactly that share; in the decoder's widths; and in that
    grids are not turned or flipped at random.

    Raises:
        ValueError: unfit sizes; in a step, grids of other channels, or whose sides stages cannot halve.
    """

    ask = "all"

    cube_size: int | tuple[int, int, int] = 4
    width: int | None = None
    depths: tuple[int, ...] | None = None
    num_heads: tuple[int, ...] | None = None
    window_size: int | None = None
    density: bool = False
    mask: MaskSampler = RandomMask(ratio=0.75)
    target: Target = RadianceTarget()
    loss: Loss = MADE
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=1e-4, scale_lr=False, weight_decay=1e-3, betas=(0.9, 0.999))

    encoder_options = ("width", "depths", "num_heads", "window_size")

    def complete(self) -> None:
        num_values = CubeTokenizer(self.cube_size, 4).num_values
        self.tokenizer = self.tokenizer or RadianceTokenizer(self.cube_size, self.density)
        self.encoder = self.encoder or Swin3DEncoder(
            num_values,
            self.width or 96,
            self.depths or (2, 2, 18, 2),
            self.num_heads or (3, 6, 12, 24),
            self.window_size or 4,
        )
        if self.predictor is None:
            widths = getattr(self.encoder, "widths", [self.encoder.width])
            self.predictor = UNet3DPredictor(widths, num_values)
        self.loss = self.loss or RadianceLoss(self.cube_size)
