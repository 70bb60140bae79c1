"""Point-BERT: name hidden patches by the codes of a dVAE (Yu et al. 2022, arXiv:2111.14819)."""

from __future__ import annotations

from dataclasses import field

from unmask import MADE, Corruption, MaskSampler, Method, Optimization, Uniform, chosen
from unmask.api import FirstStage
from unmask.losses import CrossEntropyLoss
from unmask.predictors import LinearPredictor
from unmask_pointcloud.encoders.dvae import DVAEEncoder
from unmask_pointcloud.encoders.point_transformer import PointTransformer
from unmask_pointcloud.masks.block import PatchBlockMask
from unmask_pointcloud.methods.sizes import SIZES, Size, encoder_of
from unmask_pointcloud.mixing import PatchMixing
from unmask_pointcloud.targets.codes import CodeTarget
from unmask_pointcloud.tokenizer import PointTokenizer

_PATCHES = ("num_patches", "patch_size", "channels")
"""Settings of the tokenizer that both stages share."""


class PointBERT(Method):
    """A transformer names the hidden patches of a cloud, and of a mixture of two; and tells which two were mixed.

    ``loss = CE(hidden patches of clouds) + mixing``, ``mixing = CE(hidden patches of mixtures) + contrast of mixtures``

    A mixture has each patch, with its centre, of one cloud or of the other (point-patch mixing); its class code must
    be near to those of both, in their shares, by a momentum encoder (`PatchMixing`).

    Args:
        dvae_run: folder of a run of `DVAE` with the same patches, codes and ``dvae_width``. Its encoder names
            patches, its PointNet is what this encoder's begins as. Needed to begin training.
        dvae_recipe: recipe or file that trains that run when it is not finished, on the data of this run and with
            its patches, codes and widths.
        size: ``tiny`` or ``small``; None: ``small``, the paper's.
        num_patches: of a cloud. 64 for clouds of 1,024 points (section 4.1).
        patch_size: points of a patch (section 4.1).
        channels: numbers of a point beside its coordinates.
        num_codes: of the dVAE (section 4.1).
        dvae_width: of the dVAE's codes. Release: 256.
        hidden_width: h of the dVAE. Release: 128.
        mask: a block of patches, 25% to 45%, as in the release.
        encoder: None: of that size, with class and mask token, and a PointNet as the dVAE's.
        corruption: hidden patches are shown as a token (section 3.3).
        mixing: whether clouds are mixed and contrasted, or only hidden patches named.
        queue_size: keys of the contrast (section 4.1).
        momentum: of its slow encoder (section 4.1).
        temperature: of its scores (section 4.1).
        tokenizer: None: patches of those numbers.
        optim: AdamW of the release: rate 5e-4 at batch 128, decay 0.05, 3 warm-up epochs.

    Differs from the release as `PointTransformer` and `PatchBlockMask` tell; the slow encoder follows after a step,
    not before the next.

    Raises:
        ValueError: an unknown size, an encoder that lacks a token or has another PointNet than the dVAE; when training
            begins, a ``dvae_run`` that is not there and cannot be made, or one of other patches or, where
            ``dvae_recipe`` is given, of other data.
    """

    dvae_run: str | None = None
    dvae_recipe: str | None = None
    size: Size | None = None
    num_patches: int = 64
    patch_size: int = 32
    channels: int = 0
    num_codes: int = 8192
    dvae_width: int = 256
    hidden_width: int = 128
    mixing: bool = True
    queue_size: int = 16_384
    momentum: float = 0.999
    temperature: float = 0.07
    mask: MaskSampler = PatchBlockMask(ratio=Uniform(0.25, 0.45))
    encoder: PointTransformer = MADE
    predictor: LinearPredictor = field(init=False)
    target: CodeTarget = field(init=False)
    loss: CrossEntropyLoss = field(init=False, default_factory=CrossEntropyLoss)
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=1e-3, min_lr=2e-6, betas=(0.9, 0.999), warmup_epochs=3)

    def complete(self) -> None:
        sizes = chosen("size", self.size or "small", SIZES)._replace(pointnet_width=self.hidden_width)
        self.tokenizer = self.tokenizer or PointTokenizer(self.num_patches, self.patch_size, self.channels)
        self.encoder = self.encoder or encoder_of(
            sizes, self.channels, patch_width=self.dvae_width, class_token=True, mask_token=True
        )
        dvae = DVAEEncoder(self.num_codes, self.dvae_width, self.channels, self.hidden_width)
        if self.encoder.cls_token is None or self.encoder.mask_token is None:
            raise ValueError("`class_token` and `mask_token` of the encoder must be true for Point-BERT.")
        net = self.encoder.patch_net
        shapes = [{name: x.shape for name, x in one.state_dict().items()} for one in (net, dvae.patch_net)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"`patch_width` and `pointnet_width` of the encoder must be {self.dvae_width} and "
                f"{self.hidden_width}, as the dVAE's, but are {net.width} and {net.fc1.out_features}."
            )
        self.predictor = LinearPredictor(self.encoder.width, self.num_codes)
        self.target = CodeTarget(dvae)

        if self.mixing:
            mixing = PatchMixing(512, self.queue_size, self.momentum, self.temperature)
            self.terms = {"mixing": mixing, **self.terms}
        patches = {name: getattr(self.tokenizer, name) for name in _PATCHES if hasattr(self.tokenizer, name)}
        codes = {"num_codes": self.num_codes, "width": self.dvae_width, "hidden_width": self.hidden_width}
        self.first_stage = FirstStage("dvae", "pointcloud.dvae", self.dvae_run, self.dvae_recipe, patches | codes)

    def setup(self, stage: str) -> None:
        """Begins with the PointNet of a finished dVAE; a checkpoint is loaded after it."""
        super().setup(stage)
        if stage == "fit" and self.first_stage.give(self.target.dvae):
            self.target.taken.fill_(True)
            self.encoder.patch_net.load_state_dict(self.target.dvae.patch_net.state_dict())
            self.start_parts()
