"""SparK: a convolutional network sees visible patches only (Tian et al. 2023, arXiv:2301.03580)."""

from __future__ import annotations

from unmask import Cosine, Loss, MaskSampler, Method, Optimization, Target
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.targets import ValueTarget
from unmask_vision.encoders import CNNEncoder, MapEncoder
from unmask_vision.tokenizer import PatchTokenizer
from unmask_vision.unet import UNetPredictor


class SparK(Method):
    """A CNN encodes the visible patches at several scales; a light U-Net predicts the hidden ones.

    ``loss = mean over hidden patches of mean((decoder(maps) - normalised pixels)^2)``

    Args:
        backbone: timm's name of a convolutional network: ResNet-50 and larger, ConvNeXt in the paper (table 1).
        channels: colour channels of the images.
        decoder_width: of the decoder at its coarsest (released code); a multiple of the stride.
        mask: 60% of the patches at random (section 3.1).
        encoder: None: that backbone, its four coarsest scales (section 3.1).
        predictor: None: the light U-Net (section 3.2), which norms maps as the backbone does.
        target: pixels normalised per patch (section 3.3).
        loss: squared error (section 3.3).
        tokenizer: None: patches as large as the encoder's stride, 32 pixels (section 3.1), normalised by ImageNet's
            mean and standard deviation when in colour.
        optim: base rate 2e-4, decay 0.04 to 0.2, 40 warm-up epochs, betas (0.9, 0.95) (released code, for ResNet; the
            second is 0.999 for ConvNeXt).

    Differs from the released code in the optimiser (LAMB there, AdamW here), in the number of visible patches (there
    rounded, 20 of 49, here rounded down, 19), and in the denominator of the loss, which it enlarges by 1e-8.

    Raises:
        ValueError: an unknown backbone, one beside an encoder, which has its own, or an encoder that makes no maps.
    """

    backbone: str | None = None
    channels: int = 3
    decoder_width: int = 768
    mask: MaskSampler = RandomMask(ratio=0.6)
    target: Target = ValueTarget(normalize=True)
    loss: Loss = MSELoss()
    optim: Optimization = Optimization(base_lr=2e-4, weight_decay=Cosine(0.04, 0.2), warmup_epochs=40)

    encoder_options = ("backbone",)

    def complete(self) -> None:
        self.encoder = self.encoder or CNNEncoder(self.backbone or "resnet50", channels=self.channels)
        encoder = self.encoder
        if self.tokenizer is None or self.predictor is None:
            if not isinstance(encoder, MapEncoder):
                raise ValueError(
                    "`encoder` must make maps of several scales, or `tokenizer` and `predictor` be given, but is "
                    f"{type(encoder).__name__}; nearest: vision.cnn."
                )
            self.tokenizer = self.tokenizer or PatchTokenizer(encoder.stride, self.channels)
            self.predictor = self.predictor or UNetPredictor(
                encoder.widths,
                encoder.stride**2 * self.channels,
                encoder.stride,
                self.decoder_width,
                norm="batch" if encoder.has_batch_norm else "layer",
            )
