"""CroCo v2: completion across views with rotary positions and a larger decoder (Weinzaepfel et al. 2023,
arXiv:2211.10408)."""

from __future__ import annotations

from typing import Literal

from unmask import Optimization, chosen
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.croco import CroCo, completes

SIZES = {
    # size: timm model with rotary positions, decoder width, depth and heads. Released are a large and a base encoder
    # with a base decoder, and a base one with CroCo's, which `small` has; tiny is ours.
    "tiny": ("vit_small_patch16_rope_224", {"embed_dim": 192, "num_heads": 3}, 192, 4, 3),
    "small": ("vit_small_patch16_rope_224", {}, 512, 8, 16),
    "base": ("vit_base_patch16_rope_224", {}, 768, 12, 12),
    "large": ("vit_large_patch16_rope_224", {}, 768, 12, 12),
}
ROTARY_BASE = 100.0


class CroCoV2(CroCo):
    """CroCo whose positions turn queries and keys, in the encoder, in self- and in cross-attention.

    Scores depend on differences of positions alone, so that larger images are taken as they are. Arguments are those of
    `CroCo`, but:

    Args:
        size: ``tiny``, ``small``, ``base`` or ``large``; None: ``large`` (section 3.2).
        encoder: None: timm's ViT of that size with axial rotary positions of base 100, without class token.
        predictor: None: the decoder of that size with the same positions: width 768, 12 blocks, 12 heads (section 3.2).
        optim: as `MAE`'s with 12 warm-up epochs.

    Differs from the paper in that its run stops half-way through a schedule of 250 epochs; set ``max_epochs`` for that.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own.
    """

    size: Literal["tiny", "small", "base", "large"] | None = None
    optim: Optimization = Optimization(warmup_epochs=12)

    def complete(self) -> None:
        name, options, width, depth, num_heads = chosen("size", self.size or "large", SIZES)
        patch_size = self.patch_size or 16
        if self.encoder is None:
            options = {**options, "class_token": False, "global_pool": "avg", "init_values": None}
            self.encoder = ViTEncoder(name, self.image_size or 224, patch_size, self.channels, options=options)
            self.size = self.image_size = None  # the encoder has them
        self.predictor = self.predictor or completes(
            self.encoder.width, patch_size**2 * self.channels, width, depth, num_heads, ROTARY_BASE
        )
        super().complete()
