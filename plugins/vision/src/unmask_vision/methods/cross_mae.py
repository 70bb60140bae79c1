"""CrossMAE: hidden patches read the visible ones, and never each other (Fu et al. 2024, arXiv:2401.14391)."""

from __future__ import annotations

from unmask import chosen
from unmask.predictors import CrossAttentionPredictor
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import MAE

SIZES = {
    # size: timm model, decoder width, depth and heads. The release has 12 blocks of width 512 and 16 heads for S, B, L
    # and H; the decoder of tiny is ours.
    "tiny": ("vit_tiny_patch16_224", 192, 4, 3),
    "small": ("vit_small_patch16_224", 512, 12, 16),
    "base": ("vit_base_patch16_224", 512, 12, 16),
    "large": ("vit_large_patch16_224", 512, 12, 16),
    "huge": ("vit_huge_patch14_224", 512, 12, 16),
}


class CrossMAE(MAE):
    """A mask token at each asked place attends to the visible patches, and not to other mask tokens.

    ``loss = mean over asked patches of mean((decoder(layers of the encoder) - normalised pixels)^2)``

    Answers do not depend on where else is asked, so a share of the hidden patches is enough. Each block of the decoder
    reads a learned mixture of all layers of the encoder (section 3.4). Arguments are those of `MAE`, but:

    Args:
        ask: where answers are asked: a share of the hidden patches in (0, 1), or ``hidden`` for all of them. A third,
            which is a quarter of all patches, is the cheapest of the paper's settings (table 1).
        encoder: None: timm's ViT of that size, with fixed sine-cosine positions and without a norm at the end, for the
            mixtures have norms of their own.
        predictor: None: the decoder of that size: cross-attention and MLPs, without self-attention.

    Differs from the released code in that the number of asked patches is the share of the hidden ones, rounded.

    Raises:
        ValueError: as `MAE`; a share outside (0, 1).
    """

    ask: str | float = 1 / 3

    def complete(self) -> None:
        name, width, depth, num_heads = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        if self.encoder is None:
            self.encoder = ViTEncoder(
                name,
                self.image_size or 224,
                patch_size,
                self.channels,
                positions="sincos",
                options={"final_norm": False},
            )
            self.size = self.image_size = None  # the encoder has them
        self.predictor = self.predictor or CrossAttentionPredictor(
            self.encoder.width,
            patch_size**2 * self.channels,
            width,
            depth,
            num_heads,
            mlp_width=4 * width,
            dropout=0.0,
            part=None,
            memory=None,
            queries="asked",
            self_attention="none",
            norm_first=True,
            num_layers=self.encoder.num_layers,
            activation="gelu",
        )
        super().complete()
