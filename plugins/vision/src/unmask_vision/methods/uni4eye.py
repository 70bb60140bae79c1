"""Uni4Eye: images and volumes by one masked model, and their gradients (Cai et al. 2022, arXiv:2203.04614)."""

from __future__ import annotations

from unmask import MADE, Loss, MaskSampler, Method, Objective, Optimization, Predictor, Target
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.targets import ValueTarget
from unmask_vision.targets import GradientTarget
from unmask_vision.tokenizer import PatchTokenizer
from unmask_vision.unified import UnifiedEncoder, UnifiedTokenizer, decoders


class Uni4Eye(Method):
    """A transformer encodes visible patches of images or cubes of volumes; one decoder predicts the hidden ones,
    another their gradients.

    ``loss = MSE of normalised pixels + gradient_weight * MSE of sqrt(gx^2 + gy^2 (+ gz^2))``, over hidden places

    A batch has images ``[B, C, H, W]`` or volumes ``[B, C, depth, H, W]``; the first has patches, the other cubes.

    Args:
        patch_size: side of a patch and of a cube (section 2.1).
        channels: of images and volumes.
        width: of the encoder, a multiple of 12.
        depth: its blocks.
        num_heads: its attention heads.
        decoder_width: of the decoders, a multiple of 12.
        decoder_depth: their blocks.
        decoder_heads: their attention heads.
        gradient_weight: at least 0.
        gradient_predictor: None: decoders as ``predictor``.
        mask: half of the places at random.
        encoder: None: of those sizes; the paper's are those of ViT-L (from memory), here of ViT-B.
        predictor: None: decoders of those sizes, one for images, one for volumes.
        target: pixels normalised per token, as MAE's.
        loss: squared error.
        tokenizer: None: patches or cubes, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW: base rate 1.5e-4, betas (0.9, 0.95), decay 0.05, 40 warm-up epochs, as MAE's.

    Differs from the paper in positions, which are fixed, and in decoders, which do not share weights between images
    and volumes. Sizes are from memory. No data module mixes the two; any loader may.

    Raises:
        ValueError: an unfit width, a weight below 0.
    """

    patch_size: int = 16
    channels: int = 3
    width: int | None = None
    depth: int | None = None
    num_heads: int | None = None
    decoder_width: int = 480
    decoder_depth: int = 8
    decoder_heads: int = 16
    gradient_weight: float = 1.0
    gradient_predictor: Predictor = MADE
    mask: MaskSampler = RandomMask(ratio=0.5)
    target: Target = ValueTarget(normalize=True)
    loss: Loss = MSELoss()
    optim: Optimization = Optimization(warmup_epochs=40)

    encoder_options = ("width", "depth", "num_heads")

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or UnifiedTokenizer(PatchTokenizer(self.patch_size, self.channels))
        self.encoder = self.encoder or UnifiedEncoder(
            self.patch_size, self.channels, self.width or 768, self.depth or 12, self.num_heads or 12
        )
        sizes = (self.patch_size, self.channels, self.decoder_width, self.decoder_depth, self.decoder_heads)
        self.predictor = self.predictor or decoders(self.encoder.width, *sizes)
        gradients = self.gradient_predictor or decoders(self.encoder.width, *sizes)
        objective = Objective("hidden", gradients, GradientTarget(self.channels), weight=self.gradient_weight)
        self.objectives = {"gradient": objective, **self.objectives}
        self.gradient_predictor = MADE  # the objective has it
