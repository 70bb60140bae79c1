"""Head that brings a Swin encoder's coarse codes back to its patches (SimMIM, Xie et al. 2021, section 3.4)."""

from __future__ import annotations

from torch import nn

from unmask import Grid, Latent, Mask, Prediction, Predictor, Tokens


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
