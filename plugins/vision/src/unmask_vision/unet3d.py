"""3-D U-Net: maps of several scales of a volume, back to its blocks of voxels (UNETR, Hatamizadeh et al. 2021,
arXiv:2103.10504)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from unmask import Grid, Latent, Mask, Prediction, Predictor, Tokens
from unmask.api import at_least


class UNet3DPredictor(Predictor):
    """From the coarsest map up: twice as many cells by a transposed convolution, the map there is added, and two
    convolutions 3 x 3 x 3 follow; at the blocks' own scale, a linear layer answers with all values of a block.

    Args:
        encoder_widths: C of each map, the finest first, as ``widths`` of `Swin3DEncoder`.
        target_width: T, values of a block.

    Raises:
        ValueError: no map, a number below 1; when called, an encoder that makes other maps.
    """

    def __init__(self, encoder_widths: list[int], target_width: int) -> None:
        super().__init__()
        at_least(1, target_width=target_width, encoder_widths=min(encoder_widths, default=0))
        coarsest_first = encoder_widths[::-1]
        self.widths = list(encoder_widths)
        self.ups = nn.ModuleList(_Up(*pair) for pair in pairwise(coarsest_first))
        self.head = nn.Linear(encoder_widths[0], target_width)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        assert isinstance(places.layout, Grid)
        maps = list(latent.pyramid or [])
        found = [one.shape[1] for one in maps]
        if found != self.widths or tuple(maps[0].shape[2:]) != places.layout.shape:
            raise ValueError(
                f"Maps of the encoder must be {self.widths} wide, the first on {places.layout}, but are {found} wide; "
                "nearest: `vision.swin3d`."
            )
        x, *others = maps[::-1]
        for up, skipped in zip(self.ups, others, strict=True):
            x = up(x, skipped)
        answers = self.head(x.flatten(2).mT)  # [B, N, T]
        return Prediction(mask.asked.gather(answers), mask.asked)


class _Up(nn.Module):
    """Twice as fine, with what the encoder had there."""

    def __init__(self, width: int, new_width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(width, new_width, 2, stride=2)
        self.convs = nn.Sequential(
            nn.Conv3d(new_width, new_width, 3, padding=1),
            nn.GroupNorm(1, new_width),
            nn.LeakyReLU(0.01),
            nn.Conv3d(new_width, new_width, 3, padding=1),
            nn.GroupNorm(1, new_width),
            nn.LeakyReLU(0.01),
        )

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        x = self.up(x) + skipped
        out: Tensor = x + self.convs(x)
        return out
