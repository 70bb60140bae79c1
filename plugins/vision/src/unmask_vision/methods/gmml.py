"""GMML: groups of patches turn to noise or to another image, and are restored (Atito et al. 2022, arXiv:2205.14986)."""

from __future__ import annotations

from unmask import Corruption, Cosine, Loss, MaskSampler, Objective, Optimization, Target, Uniform, chosen
from unmask.api import made_again
from unmask.corruptions import StandIns
from unmask.losses import L1Loss
from unmask.masks import BoxMask
from unmask.targets import ValueTarget
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import SIZES
from unmask_vision.methods.maskfeat import MaskFeat
from unmask_vision.predictors import ConvPredictor
from unmask_vision.tokenizer import PatchTokenizer


class GMML(MaskFeat):
    """A ViT sees every patch, some with values that are not theirs; light decoders predict the pixels of those.

    ``loss = sum over decoders of mean over hidden patches of mean(|decoder(codes of its block) - pixels|)``

    Nothing tells the encoder which patches are hidden: it has to find what does not belong. Arguments are those of
    `MaskFeat`, but:

    Args:
        mask: boxes of up to 0.3 of a side, until a share drawn in [0.5, 0.75] of each image's patches is hidden.
        corruption: 0.7 of the hidden patches are noise, the rest those of the next image of the batch.
        target: pixels, normalised over the data set.
        loss: absolute error.
        layers: blocks whose codes have a decoder each, besides those of the last one; None: 6, 8 and 10 of an encoder
            of 12 blocks, none of others.
        predictor: decoder of the last block's codes; None: one residual block of convolutions. Other layers have
            decoders of the same kind.
        optim: AdamW: base rate 5e-4, betas (0.9, 0.95), decay from 0.04 to 0.4, 10 warm-up epochs (ours). Released with
            gradients clipped at 3, the trainer's ``gradient_clip_val``.

    Differs from the paper in that each patch is noise or another image by itself, not box by box, in that another image
    shows visible patches alone, and in the decoders, whose sizes are ours.

    Raises:
        ValueError: as `MaskFeat`.
    """

    layers: list[int] | None = None
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
        width = self.encoder.width
        self.predictor = self.predictor or ConvPredictor(width, patch_size**2 * self.channels, depth=1)
        known = [6, 8, 10] if self.encoder.num_layers == 12 else []
        inner = {
            f"block_{layer}": Objective(predictor=made_again(self.predictor), layer=layer)
            for layer in (known if self.layers is None else self.layers)
        }
        self.objectives = {**inner, **self.objectives}
