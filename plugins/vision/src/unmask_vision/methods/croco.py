"""CroCo: one view of a scene is completed with the help of another (Weinzaepfel et al. 2022, arXiv:2210.10716)."""

from __future__ import annotations

from typing import Any

from unmask import Embedder, MaskSampler, chosen
from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.predictors import CrossAttentionPredictor
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import MAE, SIZES
from unmask_vision.tokenizer import CropTokenizer, PatchTokenizer

NO_CLASS_TOKEN = {"class_token": False, "global_pool": "avg", "fc_norm": False}


class CroCo(MAE):
    """One ViT encodes the visible patches of a view and the whole of a second one; a decoder completes the first.

    ``loss = mean over hidden patches of the first view of mean((decoder(codes, second codes) - normalised pixels)^2)``

    Each block of the decoder is self-attention among the first view, cross-attention to the second, and an MLP. A batch
    has both views as ``image`` and ``second``: two photographs, or two parts of one image by `TwoViews`. Where the
    second is missing, as in validation, the middle of the image stands in. Arguments are those of `MAE`, but:

    Args:
        mask: 90% of the first view's patches at random, 176 of 196 (section 3.2), nothing of the second.
        encoder: None: timm's ViT of that size without class token, with fixed sine-cosine positions.
        predictor: None: the decoder of that size (section 3.3: width 512, 8 blocks, 16 heads).

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own.
    """

    mask: MaskSampler = MaskByPart({"first": RandomMask(ratio=176 / 196), "second": NoMask()})

    def complete(self) -> None:
        name, width, depth, num_heads = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        views = {"first": "image", "second": "second"}
        self.tokenizer = self.tokenizer or CropTokenizer(PatchTokenizer(patch_size, self.channels), views=views)
        self.encoder = self.encoder or ViTEncoder(
            name, self.image_size or 224, patch_size, self.channels, positions="sincos", options=NO_CLASS_TOKEN
        )
        self.predictor = self.predictor or completes(
            self.encoder.width, patch_size**2 * self.channels, width, depth, num_heads
        )

    @property
    def embedder(self) -> Embedder:
        """The encoder, on one view alone."""
        tokenizer: Any = self.tokenizer
        return Embedder(tokenizer.patches, self.encoder)


def completes(
    encoder_width: int, target_width: int, width: int, depth: int, num_heads: int, rotary_base: float | None = None
) -> CrossAttentionPredictor:
    """CroCo's decoder: self-attention, then cross-attention to the other view, then an MLP, norms first."""
    return CrossAttentionPredictor(
        encoder_width,
        target_width,
        width,
        depth,
        num_heads,
        mlp_width=4 * width,
        dropout=0.0,
        part="first",
        memory="second",
        self_attention="before",
        norm_first=True,
        memory_norm=True,
        memory_positions=True,
        rotary_base=rotary_base,
        activation="gelu",
    )
