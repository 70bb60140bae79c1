"""A2MIM: hidden patches have the mean colour, and spectra are compared as well (Li et al. 2022, arXiv:2205.13943)."""

from __future__ import annotations

from unmask import MADE, Corruption, Objective, Optimization
from unmask.corruptions import StandIns
from unmask.losses import FocalFrequencyLoss
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.simmim import SimMIM


class A2MIM(SimMIM):
    """SimMIM that fills hidden patches with the mean colour and adds a token to them inside, and has a loss of spectra.

    ``loss = L1 at hidden pixels + frequency_weight * mean over frequencies of w |F(prediction - image)|^2``

    Predictions at visible pixels count by half and without gradient in the spectrum; hard frequencies have more weight.
    Arguments are those of `SimMIM`, but:

    Args:
        encoder: None: SimMIM's ViT, which adds a learned token to hidden patches before its first block (section 4.2).
        corruption: None: hidden patches have the mean colour of the visible ones (section 4.2).
        frequency_weight: at least 0 (section 4.3; released for ViT: 0.1).
        optim: AdamW: rate 1.2e-3 at batch 2048, betas (0.9, 0.999), decay 0.05, 10 warm-up epochs.

    Differs from the paper in the mean colour, there of the whole image, and in what is not built here: CNNs.

    Raises:
        ValueError: as `SimMIM`; a weight below 0; an encoder of windows, whose codes are too coarse.
    """

    corruption: Corruption = MADE
    frequency_weight: float = 0.1
    optim: Optimization = Optimization(base_lr=1.5e-4, betas=(0.9, 0.999), warmup_epochs=10)

    def complete(self) -> None:
        if self.backbone != "vit":
            raise ValueError(f"`backbone` must be 'vit' for A2MIM, but is {self.backbone!r}.")
        self.encoder = self.encoder or ViTEncoder(
            "vit_relpos_base_patch16_cls_224",
            self.image_size or 224,
            self.patch_size or 16,
            self.channels,
            added_token=True,
            drop_path_ratio=0.1,
            options={"rel_pos_type": "bias", "shared_rel_pos": True, "qkv_bias": True, "init_values": 0.1},
        )
        self.corruption = self.corruption or StandIns(mean=1, channels=self.channels)
        super().complete()
        spectrum = FocalFrequencyLoss(self.channels, 1.0, log=True, largest_of="batch", average=True, visible=0.5)
        frequency = Objective("all", loss=spectrum, weight=self.frequency_weight)
        self.objectives = {"frequency": frequency, **self.objectives}
