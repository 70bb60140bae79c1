"""SeiT++: masked modelling of images that are stored as codes (Lee et al. 2023, arXiv:2312.10105)."""

from __future__ import annotations

from typing import Literal

from unmask import Corruption, Loss, MaskSampler, Method, Optimization, Target, TruncatedNormal, chosen
from unmask.api import FirstStage
from unmask.corruptions import TwoLevels
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_vision.code_map import CodeMapTokenizer, TiedCodesLoss
from unmask_vision.encoders import ViTEncoder, VQEncoder
from unmask_vision.methods.mae import SIZES
from unmask_vision.tokenizer import PatchTokenizer


class SeiTPlusPlus(Method):
    """A ViT encodes entries of a trained book, four codes a token; a decoder names the codes of hidden tokens.

    ``loss = mean over hidden tokens and their codes of -log softmax(decoder's answer . entries)[id]``

    Args:
        codes_run: folder of a run of `VQVAE` with the same patches, codes and widths. Needed to train.
        codes_recipe: recipe or file that trains that run when it is not finished, on the data of this run.
        size: ``tiny``, ``small``, ``base``, ``large`` or ``huge``; None: ``base``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of what has one code, in pixels (section 4.1: 8).
        channels: colour channels of the images.
        num_codes: of the book. ViT-VQGAN's that the paper uses: 391.
        codes_width: D of its entries (there 32).
        codes_hidden_width: of the first stage's convolutions.
        codes_depth: of its encoder.
        group: side of a token in codes. SeiT: 2.
        mask: a share of a normal distribution around 0.45 of deviation 0.25, cut to [0.4, 1], drawn for each image.
        encoder: None: timm's ViT of that size, which reads entries as pixels of D channels.
        predictor: None: a decoder of 4 blocks, 512 wide.
        corruption: 40% of all tokens are dropped, other hidden ones are shown as the mask token.
        target: the entries.
        loss: cross-entropy over the book, to which the decoder's answers are tied.
        optim: AdamW: base rate 1.5e-4, betas (0.9, 0.95), decay 0.05, 40 warm-up epochs (ours); released with
            gradients clipped at 3, the trainer's ``gradient_clip_val``.

    Differs from the paper in the share, drawn there once for each batch; in the decoder, which has a mask token at
    every hidden place (there the class token); in the first stage, which is trained here; and in what is not built:
    TokenAdapt and ColorAdapt, augmentations of stored codes.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own; when training begins, a ``codes_run``
            that is not there and cannot be made, or one of other patches or data.
    """

    codes_run: str | None = None
    codes_recipe: str | None = None
    size: Literal["tiny", "small", "base", "large", "huge"] | None = None
    image_size: int | tuple[int, int] | None = None
    patch_size: int = 8
    channels: int = 3
    num_codes: int = 391
    codes_width: int = 32
    codes_hidden_width: int = 256
    codes_depth: int = 2
    group: int = 2
    mask: MaskSampler = RandomMask(ratio=TruncatedNormal(mean=0.45, std=0.25, low=0.4, high=1.0))
    target: Target = ValueTarget()
    loss: Loss = TiedCodesLoss()
    corruption: Corruption = TwoLevels(drop_ratio=0.4)
    optim: Optimization = Optimization(warmup_epochs=40)

    encoder_options = ("size", "image_size")

    def complete(self) -> None:
        name, *_ = chosen("size", self.size or "base", SIZES)
        sizes = {
            "num_codes": self.num_codes,
            "width": self.codes_width,
            "patch_size": self.patch_size,
            "channels": self.channels,
            "hidden_width": self.codes_hidden_width,
            "depth": self.codes_depth,
        }
        if self.tokenizer is None:
            patches = PatchTokenizer(self.patch_size, self.channels)
            self.tokenizer = CodeMapTokenizer(patches, VQEncoder(**sizes), self.group)
        if self.encoder is None:
            image = self.image_size or 224
            sides = (image, image) if isinstance(image, int) else image
            maps = (sides[0] // self.patch_size, sides[1] // self.patch_size)
            self.encoder = ViTEncoder(name, maps, self.group, self.codes_width, positions="sincos", mask_token=True)
        width = self.group**2 * self.codes_width
        self.predictor = self.predictor or TransformerPredictor(self.encoder.width, width, 512, 4, 16)
        self.first_stage = FirstStage("codes", "vision.vq-vae", self.codes_run, self.codes_recipe, sizes)

    def setup(self, stage: str) -> None:
        """Takes the book of a finished first stage; a checkpoint is loaded after it."""
        super().setup(stage)
        tokenizer = self.tokenizer
        if stage == "fit" and isinstance(tokenizer, CodeMapTokenizer) and self.first_stage.give(tokenizer.codes):
            tokenizer.taken.fill_(True)
