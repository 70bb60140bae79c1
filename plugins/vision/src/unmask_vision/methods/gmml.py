"""GMML: groups of patches turn to noise or to another image, and are restored (Atito et al. 2022, arXiv:2205.14986)."""

from __future__ import annotations

from unmask import Corruption, Cosine, Loss, MaskSampler, Optimization, Target, Uniform, chosen
from unmask.corruptions import StandIns
from unmask.losses import L1Loss
from unmask.masks import BoxMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import SIZES
from unmask_vision.methods.maskfeat import MaskFeat
from unmask_vision.tokenizer import PatchTokenizer


class GMML(MaskFeat):
    """A ViT sees every patch, some with values that are not theirs; a linear layer predicts the pixels of those.

    ``loss = mean over hidden patches of mean(|W code + b - pixels|)``

    Nothing tells the encoder which patches are hidden: it has to find what does not belong. Arguments are those of
    `MaskFeat`, but:

    Args:
        mask: boxes of up to 0.3 of a side, until a share drawn in [0.5, 0.75] of each image's patches is hidden.
        corruption: 0.7 of the hidden patches are noise, the rest those of the next image of the batch.
        target: pixels, normalised over the data set.
        loss: absolute error.
        predictor: None: one linear layer.
        optim: AdamW: base rate 5e-4, betas (0.9, 0.95), decay from 0.04 to 0.4, 10 warm-up epochs (ours). Released with
            gradients clipped at 3, the trainer's ``gradient_clip_val``.

    Differs from the paper in the head (there light convolutional decoders of several blocks), in that each patch is
    noise or another image by itself, not box by box, and in that another image shows visible patches alone.

    Raises:
        ValueError: as `MaskFeat`.
    """

    mask: MaskSampler = BoxMask(ratio=Uniform(0.5, 0.75))
    target: Target = ValueTarget()
    loss: Loss = L1Loss()
    corruption: Corruption = StandIns(noise=0.7, other=0.3)
    optim: Optimization = Optimization(base_lr=5e-4, weight_decay=Cosine(start=0.04, end=0.4), warmup_epochs=10)

    def complete(self) -> None:
        name, *_ = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        self.tokenizer = self.tokenizer or PatchTokenizer(patch_size, self.channels)
        self.encoder = self.encoder or ViTEncoder(name, self.image_size or 224, patch_size, self.channels)
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, patch_size**2 * self.channels)
