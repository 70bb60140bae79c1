"""Audio-MAE: hide most of a spectrogram, encode the rest, reconstruct (Huang et al. 2022, arXiv:2207.06405)."""

from __future__ import annotations

from typing import Literal

from unmask import (
    Loss,
    MaskSampler,
    Method,
    Optimization,
    Target,
    chosen,
    left_to,
)
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.methods.sizes import SIZES, Size, patch_of
from unmask_audio.predictors.local import LocalDecoder
from unmask_audio.tokenizer import SpectrogramTokenizer


class AudioMAE(Method):
    """A ViT encodes the visible patches only; a decoder predicts the hidden ones.

    ``loss = mean over hidden patches of mean((decoder(codes) - normalised patch)^2)``

    Args:
        size: ``tiny``, ``small``, ``base`` or ``large``; None: ``base``.
        decoder: ``local``: 16 blocks with attention within shifted windows of 4 by 4 patches, the better one in
            the paper's comparison (section 4); ``global``: 8 ordinary blocks; None: ``local``.
        patch: sides of a patch in frames and in mel bins; None: those of ``tokenizer``, or 16 by 16 (section 3).
        mask: 80% of the patches at random (section 4).
        encoder: None: the ViT of that size.
        predictor: None: the decoder of that kind and size.
        target: log-mel values normalised per patch (section 3).
        loss: squared error (section 3).
        corruption: hidden patches are dropped (section 3).
        tokenizer: None: 1,024 frames of 128 mel bins, normalised by the moments of AudioSet.
        optim: AdamW of the released code: base rate 2e-4, betas (0.9, 0.95), decay 1e-4, 3 warm-up epochs.

    Differs from the released code in the positions, which are swapped there (`SpectrogramViT` has both), in the decoder
    as `LocalDecoder` tells, and in augmentation: cyclic shifts and changes of loudness are the data module's.

    Raises:
        ValueError: an unknown size or decoder, one beside an encoder or predictor, which has its own, or another patch
            than the tokenizer's.
    """

    size: Size | None = None
    decoder: Literal["local", "global"] | None = None
    patch: tuple[int, int] | None = None
    mask: MaskSampler = RandomMask(ratio=0.8)
    target: Target = ValueTarget(normalize=True)
    loss: Loss = MSELoss()
    optim: Optimization = Optimization(base_lr=2e-4, weight_decay=1e-4, warmup_epochs=3)

    def complete(self) -> None:
        sizes = chosen("size", self.size or "base", SIZES)
        patch = patch_of(self.patch, self.tokenizer)
        token_width = patch[0] * patch[1]
        self.tokenizer = self.tokenizer or SpectrogramTokenizer(patch=patch)
        self.encoder = self.encoder or SpectrogramViT(sizes.width, sizes.depth, sizes.num_heads, token_width)
        if self.predictor is not None:
            left_to("predictor", decoder=self.decoder)
        whole = chosen("decoder", self.decoder or "local", {"local": False, "global": True})
        kind, depth = (TransformerPredictor, sizes.global_depth) if whole else (LocalDecoder, sizes.local_depth)
        self.predictor = self.predictor or kind(
            self.encoder.width, token_width, sizes.predictor_width, depth, sizes.predictor_heads
        )
