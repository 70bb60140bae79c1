"""Folding decoder of Point-BERT's dVAE: few points of a patch, then four around each (FoldingNet, Yang et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens
from unmask_pointcloud.nn.dgcnn import DGCNN

SEED = 0.05
"""Half the side of the square that is folded, in the data's unit."""


class FoldingDecoder(Predictor):
    """Codes of all patches to coarse points (k / 4 each) and fine ones (k), which are the prediction.

    Each coarse point is moved by what a network says for the four corners of a small square, the patch's code and the
    coarse point itself.

    Args:
        encoder_width: D, width of the codes.
        patch_size: k, points of a patch, a multiple of 4.
        width: of the codes after the DGCNN; a multiple of 4. Release: 256.
        hidden_width: h of the `DGCNN`; the layers that make points have 8h (coarse) and 4h (fine). Release: 128.

    Raises:
        ValueError: a number outside its range; in `forward`, codes of some patches only.
    """

    seed: Tensor

    def __init__(self, encoder_width: int, patch_size: int = 32, width: int = 256, hidden_width: int = 128) -> None:
        super().__init__()
        if patch_size < 4 or patch_size % 4:
            raise ValueError(
                f"`patch_size` must be a multiple of 4 for a dVAE, but is {patch_size}; "
                f"nearest: {max(round(patch_size / 4), 1) * 4}."
            )
        self.graph = DGCNN(encoder_width, width, hidden_width)
        h = hidden_width
        self.coarse = nn.Sequential(
            *(nn.Linear(width, 8 * h), nn.ReLU()),
            *(nn.Linear(8 * h, 8 * h), nn.ReLU()),
            nn.Linear(8 * h, 3 * patch_size // 4),
        )
        self.fine = nn.Sequential(
            *(nn.Linear(width + 5, 4 * h), nn.BatchNorm1d(4 * h), nn.ReLU()),
            *(nn.Linear(4 * h, 4 * h), nn.BatchNorm1d(4 * h), nn.ReLU()),
            nn.Linear(4 * h, 3),
        )
        corners = torch.tensor([[-SEED, -SEED], [SEED, -SEED], [-SEED, SEED], [SEED, SEED]])
        self.register_buffer("seed", corners, persistent=False)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        """Fine points at the asked patches, ``[B, M, 3 k]``."""
        return Prediction(mask.asked.gather(self.points(latent, places)[1].flatten(2)), mask.asked)

    def points(self, latent: Latent, places: Tokens) -> tuple[Tensor, Tensor]:
        """Coarse ``[B, G, k / 4, 3]`` and fine points ``[B, G, k, 3]`` of all patches, relative to their centres."""
        if latent.seen is not None or places.positions is None:
            raise ValueError("FoldingDecoder needs a code of every patch, and where it lies.")
        codes = self.graph(latent.values, places.positions)  # [B, G, W]
        coarse = self.coarse(codes).unflatten(-1, (-1, 3))
        around = coarse[..., None, :].expand(-1, -1, -1, 4, -1)  # [B, G, k / 4, 4, 3]
        same = codes[:, :, None, None].expand(*around.shape[:-1], -1)
        seed = self.seed.to(codes.dtype).expand(*around.shape[:-1], -1)
        moves = self.fine(torch.cat([same, seed, around], dim=-1).flatten(0, 3)).view_as(around)
        return coarse, (around + moves).flatten(2, 3)
