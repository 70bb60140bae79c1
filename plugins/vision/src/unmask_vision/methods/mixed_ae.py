"""MixedAE: several images are mixed into one, and each is rebuilt from it (Chen et al. 2023, arXiv:2303.17152)."""

from __future__ import annotations

from typing import Any

from unmask import Embedder, MaskSampler, Optimization, chosen
from unmask.masks import PartitionMask
from unmask.terms import PartContrast
from unmask_vision.encoders import MixedEncoder, ViTEncoder
from unmask_vision.methods.mae import MAE, SIZES
from unmask_vision.tokenizer import MixTokenizer, PatchTokenizer


class MixedAE(MAE):
    """A ViT encodes a mixture of four images, a quarter of the patches each; a decoder rebuilds every one of the four.

    ``loss = mean over images of MAE's loss at the places that others have taken + contrast_weight * contrast of codes``

    No patch is dropped. Codes of one image are alike, those of others are not (`PartContrast`). Each image of the batch
    begins one mixture, with those that follow it. Arguments are those of `MAE`, but:

    Args:
        num_sources: images of a mixture, at least 2 (section 4.1: 4).
        mask: at each place, one image is shown.
        encoder: None: a `MixedEncoder` of the ViT of that size, each query of which attends to a quarter of the keys.
        contrast_weight: at least 0 (from memory: 0.1).
        temperature: of the contrast, above 0 (from memory: 0.25).
        optim: AdamW: base rate 1.5e-4, betas (0.9, 0.95), decay 0.05, 40 warm-up epochs, as MAE's.

    Differs from the paper in that there are as many mixtures as images (there a quarter as many, of four images each).
    The paper's settings are partly from memory.

    Raises:
        ValueError: as `MAE`, `MixedEncoder` and `PartContrast`.
    """

    num_sources: int = 4
    mask: MaskSampler = PartitionMask()
    contrast_weight: float = 0.1
    temperature: float = 0.25
    optim: Optimization = Optimization(warmup_epochs=40)

    def complete(self) -> None:
        name, *_ = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        self.tokenizer = self.tokenizer or MixTokenizer(PatchTokenizer(patch_size, self.channels), self.num_sources)
        if not isinstance(self.encoder, MixedEncoder):
            vit = self.encoder or ViTEncoder(
                name, self.image_size or 224, patch_size, self.channels, positions="sincos"
            )
            self.encoder = MixedEncoder(vit, self.num_sources)  # type: ignore[arg-type]
        self.terms = {"contrast": PartContrast(self.contrast_weight, self.temperature), **self.terms}
        super().complete()

    @property
    def embedder(self) -> Embedder:
        """The ViT, on one image at a time."""
        tokenizer: Any = self.tokenizer
        encoder: Any = self.encoder
        return Embedder(tokenizer.patches, encoder.vit)
