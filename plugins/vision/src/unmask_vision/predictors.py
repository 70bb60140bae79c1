"""Heads of images: of a Swin encoder's coarse codes (SimMIM, Xie et al. 2021, section 3.4), and convolutions."""

from __future__ import annotations

from torch import nn

from unmask import Grid, Latent, Mask, Prediction, Predictor, Tokens
from unmask_vision.encoders.codebook import ConvolvedPatches


class SwinPredictor(Predictor):
    """One linear layer on each coarse code predicts all the patches below it.

    Equal to SimMIM's 1x1 convolution to ``stride^2 * channels`` and pixel shuffle, with outputs in
    the order (patch row, patch column, value).

    Args:
        encoder_width: D, width of the codes.
        target_width: T, values of a patch.
        downsampling: patches per code on each side; 8 for Swin's four stages.

    Raises:
        ValueError: codes that are not ``downsampling`` times coarser than the patches.
    """

    def __init__(self, encoder_width: int, target_width: int, downsampling: int = 8) -> None:
        super().__init__()
        self.downsampling = downsampling
        self.target_width = target_width
        self.head = nn.Linear(encoder_width, downsampling**2 * target_width)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        assert isinstance(places.layout, Grid)
        (rows, columns), k = places.layout.shape, self.downsampling
        if latent.values.shape[1] * k * k != rows * columns:
            raise ValueError(
                f"`downsampling` must be {(rows * columns / latent.values.shape[1]) ** 0.5:g}, the patches per "
                f"code on each side, but is {k}."
            )
        answers = self.head(latent.values).view(-1, rows // k, columns // k, k, k, self.target_width)
        answers = answers.transpose(2, 3).flatten(1, 4)  # [B, N, T]
        return Prediction(mask.asked.gather(answers), mask.asked)


class ConvPredictor(Predictor):
    """Residual convolutions over the grid of codes, all of which the encoder must have made: a tokenizer's decoder.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, values of a patch.
        hidden_width: of the convolutions.
        depth: residual blocks, of two 3 x 3 convolutions each.

    Raises:
        ValueError: when called, codes of some places only.
    """

    def __init__(self, encoder_width: int, target_width: int, hidden_width: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.net = ConvolvedPatches(encoder_width, target_width, hidden_width, depth)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.seen is not None or latent.values.shape[:2] != mask.hidden.shape:
            raise ValueError("ConvPredictor needs a code at every place; use a corruption with `drop` 0.")
        answers = self.net(places, latent.values)  # [B, N, T]
        return Prediction(mask.asked.gather(answers), mask.asked)
