"""BEiT: name hidden patches by the codes of a trained tokenizer (Bao et al. 2021, arXiv:2106.08254)."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from unmask import Corruption, Loss, MaskSampler, Method, Optimization, Target, chosen
from unmask.api import FirstStage
from unmask.losses import CrossEntropyLoss
from unmask.masks import BlockMask
from unmask.predictors import LinearPredictor
from unmask_vision.encoders import DVAEEncoder, ViTEncoder, VQEncoder
from unmask_vision.targets import CodeTarget
from unmask_vision.tokenizer import PatchTokenizer

KINDS: dict[str, Any] = {"dvae": ("vision.dvae", DVAEEncoder), "vq-vae": ("vision.vq-vae", VQEncoder)}


class BEiT(Method):
    """A ViT sees every place, hidden ones as a learned token; one linear layer scores the codes of those.

    ``loss = mean over hidden patches of -log softmax(W code + b)[id]``, id by a tokenizer that sees the whole image

    Args:
        codes_run: folder of a run of `DVAE` or `VQVAE` with the same patches, codes and widths. Needed to train.
        codes_recipe: recipe or file that trains that run when it is not finished, on the data of this run and with its
            patches, codes and widths.
        codes: of which kind the tokenizer is: ``dvae`` or ``vq-vae``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        patch_size: side of a patch in pixels (section 3.1).
        channels: colour channels of the images.
        num_codes: of the tokenizer (section 2.1).
        codes_width: of its entries.
        codes_hidden_width: of its convolutions.
        codes_depth: of its encoder.
        mask: 40% of the patches in blocks of at least 16 (section 2.3).
        encoder: None: timm's ViT-B with relative position bias shared by all blocks, branches scaled by 0.1 at first
            and stochastic depth 0.1 (section 3.1, appendix).
        corruption: hidden patches are shown as the mask token (section 2.2).
        loss: cross-entropy (equation 3).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW: rate 1.5e-3 at batch 2048, 1e-5 at the end, betas (0.9, 0.999), decay 0.05, 10 warm-up epochs
            (appendix). Released with gradients clipped at 3, the trainer's ``gradient_clip_val``.

    Differs from the paper in the tokenizer, which is trained here (there DALL-E's, on images of half the size); in the
    mask, whose count is exact; and in the initialisation, which is Xavier-uniform.

    Raises:
        ValueError: an unknown kind of tokenizer, an image size beside an encoder, which has its own; when training
            begins, a ``codes_run`` that is not there and cannot be made, or one of other patches or data.
    """

    codes_run: str | None = None
    codes_recipe: str | None = None
    codes: Literal["dvae", "vq-vae"] = "dvae"
    image_size: int | tuple[int, int] | None = None
    patch_size: int = 16
    channels: int = 3
    num_codes: int = 8192
    codes_width: int = 32
    codes_hidden_width: int = 256
    codes_depth: int = 2
    mask: MaskSampler = BlockMask(ratio=0.4)
    target: Target = field(init=False)
    loss: Loss = CrossEntropyLoss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=1.875e-4, min_lr=1.25e-6, betas=(0.9, 0.999), warmup_epochs=10)

    encoder_options = ("image_size",)

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or PatchTokenizer(self.patch_size, self.channels)
        self.encoder = self.encoder or ViTEncoder(
            "vit_relpos_base_patch16_cls_224",
            self.image_size or 224,
            self.patch_size,
            self.channels,
            mask_token=True,
            drop_path_ratio=0.1,
            options={"rel_pos_type": "bias", "shared_rel_pos": True, "qkv_bias": True, "init_values": 0.1},
        )
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, self.num_codes)
        self.name_patches()

    def name_patches(self) -> None:
        """Makes the target of the first stage's codes."""
        method, kind = chosen("codes", self.codes, KINDS)
        sizes = {
            "num_codes": self.num_codes,
            "width": self.codes_width,
            "patch_size": self.patch_size,
            "channels": self.channels,
            "hidden_width": self.codes_hidden_width,
            "depth": self.codes_depth,
        }
        self.target = CodeTarget(kind(**sizes))
        self.first_stage = FirstStage("codes", method, self.codes_run, self.codes_recipe, sizes)

    def setup(self, stage: str) -> None:
        """Takes the tokenizer of a finished first stage; a checkpoint is loaded after it."""
        super().setup(stage)
        target: Any = self.target
        if stage == "fit" and self.first_stage is not None and self.first_stage.give(target.codes):
            target.taken.fill_(True)
