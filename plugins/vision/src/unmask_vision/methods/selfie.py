"""Selfie: pick the patch that belongs at a hidden place among the hidden ones of the image (Trinh et al. 2019,
arXiv:1906.02940)."""

from __future__ import annotations

from unmask import Loss, MaskSampler, Method, Optimization, Target
from unmask.losses import InfoNCELoss
from unmask.masks import RandomMask
from unmask.predictors import AttentionPooledPredictor
from unmask.targets import OwnCodeTarget
from unmask_vision.encoders import CNNEncoder, PatchwiseEncoder
from unmask_vision.tokenizer import PatchTokenizer


class Selfie(Method):
    """A CNN encodes each patch by itself; what attention pools of the visible ones, and a place, point at a patch.

    ``loss = mean over hidden places i of -log(exp(v_i h_i) / sum over hidden j of exp(v_i h_j))``

    h are codes of the hidden patches by the same network, which learns from both sides.

    Args:
        patch_size: side of a patch in pixels (section 3.1: 32 for images of 224 pixels, 8 for those of 32).
        channels: colour channels of the images.
        mask: a quarter of the patches at random (from memory).
        encoder: None: timm's ResNet-50 up to its third block, on each patch (section 2).
        predictor: None: attention pooling by 3 blocks, as wide as the codes.
        target: codes of the hidden patches, with gradient.
        loss: cross-entropy of scalar products (section 2).
        tokenizer: None: patches, normalised by ImageNet's mean and standard deviation when in colour.
        optim: AdamW of this toolkit, 10 warm-up epochs; the paper's momentum and its rates are not built.

    Differs from the paper in the optimiser, and in positions, see `unmask.predictors.AttentionPooledPredictor`; visible
    patches are told where they lie as well.
    """

    patch_size: int = 32
    channels: int = 3
    mask: MaskSampler = RandomMask(ratio=0.25)
    target: Target = OwnCodeTarget()
    loss: Loss = InfoNCELoss(temperature=1.0, similarity="dot")
    optim: Optimization = Optimization(warmup_epochs=10)

    encoder_options = ()

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or PatchTokenizer(self.patch_size, self.channels)
        self.encoder = self.encoder or PatchwiseEncoder(
            CNNEncoder("resnet50", channels=self.channels, levels=1, stride=16)
        )
        width = self.encoder.width
        self.predictor = self.predictor or AttentionPooledPredictor(width, width, width)
