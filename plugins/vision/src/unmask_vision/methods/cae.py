"""CAE: codes of hidden patches are regressed from the visible ones, then decoded (Chen et al. 2022,
arXiv:2202.03026)."""

from __future__ import annotations

from typing import Literal

from unmask import MADE, Corruption, Loss, MaskSampler, Optimization, chosen
from unmask.losses import CrossEntropyLoss, MSELoss
from unmask.masks import BlockMask
from unmask.predictors import RegressorPredictor
from unmask.targets import ValueTarget
from unmask.terms import CodeAlignment
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.beit import KINDS, BEiT
from unmask_vision.tokenizer import PatchTokenizer


class CAE(BEiT):
    """A ViT encodes the visible patches, a regressor makes codes of the hidden ones, a decoder names those.

    ``loss = mean over hidden patches of -log softmax(decoder(z))[id] + 2 mean((z - stopgrad(encoder(hidden)))^2)``

    The second summand holds regressed codes z to what the encoder makes of the hidden patches alone, so the regressor
    answers in the encoder's space. Arguments are those of `BEiT`, but:

    Args:
        codes: what patches are named by: ``dvae`` or ``vq-vae``, trained tokenizers; or ``pixels``: the decoder
            predicts normalised pixels by squared error, and there is no first stage.
        mask: half of the patches in blocks of at least 16 (released: 98 of 196).
        encoder: None: timm's ViT-B with fixed sine-cosine positions, branches scaled by 0.1 at first and stochastic
            depth 0.1 (released).
        predictor: None: regressor and decoder of 4 blocks each, as wide as the encoder (section 4.1).
        corruption: hidden patches are dropped (section 3.1).
        loss: None: cross-entropy, or squared error of pixels.
        align_weight: of the second summand, at least 0 (section 4.1).
        optim: AdamW: rate 1.5e-3 at batch 2048, betas (0.9, 0.999), decay 0.05, 20 warm-up epochs (section 4.1; betas
            from memory). Released with gradients clipped at 3, the trainer's ``gradient_clip_val``.

    Differs from the paper in the tokenizer, which is trained here (there DALL-E's, on images of half the size); in the
    blocks of the regressor, see `unmask.predictors.RegressorPredictor`; in the decoder, whose branches are not scaled;
    in the encoder of hidden patches, which is the encoder itself (released: its copy of the step before); and in the
    initialisation, which is Xavier-uniform.

    Raises:
        ValueError: as `BEiT`; a weight below 0; a first stage beside pixels.
    """

    codes: Literal["dvae", "vq-vae", "pixels"] = "dvae"  # type: ignore[assignment]
    mask: MaskSampler = BlockMask(ratio=0.5)
    loss: Loss = MADE
    corruption: Corruption = Corruption(drop=1)
    align_weight: float = 2.0
    optim: Optimization = Optimization(base_lr=1.875e-4, min_lr=1.25e-6, betas=(0.9, 0.999), warmup_epochs=20)

    def complete(self) -> None:
        chosen("codes", self.codes, {**KINDS, "pixels": None})
        pixels = self.codes == "pixels"
        if pixels and (self.codes_run or self.codes_recipe):
            raise ValueError(
                f"`codes_run` and `codes_recipe` must be left out for pixels, but are {self.codes_run!r} and "
                f"{self.codes_recipe!r}; nearest: null."
            )
        self.encoder = self.encoder or ViTEncoder(
            "vit_base_patch16_224",
            self.image_size or 224,
            self.patch_size,
            self.channels,
            positions="sincos",
            drop_path_ratio=0.1,
            options={"init_values": 0.1},
        )
        width = self.encoder.width
        num_heads = max(width // 64, 1)
        answer = self.patch_size**2 * self.channels if pixels else self.num_codes
        self.predictor = self.predictor or RegressorPredictor(width, answer, width, num_heads=num_heads)
        self.loss = self.loss or (MSELoss() if pixels else CrossEntropyLoss())
        self.terms = {"align": CodeAlignment(self.align_weight), **self.terms}
        self.tokenizer = self.tokenizer or PatchTokenizer(self.patch_size, self.channels)
        super().complete()

    def name_patches(self) -> None:
        if self.codes == "pixels":
            self.target = ValueTarget(normalize=True)
        else:
            super().name_patches()
