"""A2MIM: hidden patches have the mean colour, and spectra are compared as well (Li et al. 2022, arXiv:2205.13943)."""

from __future__ import annotations

from typing import ClassVar, Literal

from unmask import MADE, Corruption, Loss, Objective, Optimization, chosen
from unmask.corruptions import StandIns
from unmask.losses import FocalFrequencyLoss, FocalL1Loss, L1Loss
from unmask_vision.encoders import CNNEncoder, MapEncoder, ViTEncoder
from unmask_vision.methods.simmim import SimMIM


class A2MIM(SimMIM):
    """SimMIM that fills hidden patches with the mean colour and adds a token to them inside, and has a loss of spectra.

    ``loss = L1 at hidden pixels + frequency_weight * mean over frequencies of w |F(prediction - image)|^2``

    Predictions at visible pixels count by half and without gradient in the spectrum; hard frequencies have more weight.
    On a CNN, large errors at hidden pixels count more as well. Arguments are those of `SimMIM`, but:

    Args:
        backbone: ``vit``: SimMIM's ViT, which adds a learned token to hidden patches before its first block (section
            4.2); ``resnet``: timm's ResNet-50, which adds it after its third stage.
        encoder: None: that backbone. Any other, such as a `CNNEncoder` with an ``added_token``.
        corruption: None: hidden patches have the mean colour of the visible ones (section 4.2).
        loss: None: absolute error, or `FocalL1Loss` where the encoder is a CNN (released).
        frequency_weight: at least 0; None: 0.1, or 0.5 where the encoder is a CNN (section 4.3; released).
        optim: AdamW: rate 1.2e-3 at batch 2048, betas (0.9, 0.999), decay 0.05, 10 warm-up epochs.

    Differs from the paper in the mean colour, there of the whole image, and on CNNs in the token's learning rate, which
    is that of the rest (there a tenth).

    Raises:
        ValueError: as `SimMIM`; a weight below 0; an encoder of windows, whose codes are too coarse.
    """

    backbone: Literal["vit", "resnet"] = "vit"  # type: ignore[assignment]
    loss: Loss = MADE
    corruption: Corruption = MADE
    frequency_weight: float | None = None
    optim: Optimization = Optimization(base_lr=1.5e-4, betas=(0.9, 0.999), warmup_epochs=10)

    backbones: ClassVar[dict[str, bool]] = {"vit": False, "resnet": False}

    def complete(self) -> None:
        chosen("backbone", self.backbone, self.backbones)
        if self.encoder is None and self.backbone == "resnet":
            self.encoder = CNNEncoder("resnet50", channels=self.channels, added_token=16)
        self.encoder = self.encoder or ViTEncoder(
            "vit_relpos_base_patch16_cls_224",
            self.image_size or 224,
            self.patch_size or 16,
            self.channels,
            added_token=True,
            drop_path_ratio=0.1,
            options={"rel_pos_type": "bias", "shared_rel_pos": True, "qkv_bias": True, "init_values": 0.1},
        )
        convolutional = isinstance(self.encoder, MapEncoder)
        self.loss = self.loss or (FocalL1Loss() if convolutional else L1Loss())
        default = 0.5 if convolutional else 0.1
        weight = default if self.frequency_weight is None else self.frequency_weight
        self.corruption = self.corruption or StandIns(mean=1, channels=self.channels)
        super().complete()
        spectrum = FocalFrequencyLoss(self.channels, 1.0, log=True, largest_of="batch", average=True, visible=0.5)
        self.objectives = {"frequency": Objective("all", loss=spectrum, weight=weight), **self.objectives}
