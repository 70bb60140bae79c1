"""Point-MAE's decoder: mask tokens at the centres of hidden patches read the codes of the visible ones."""

from __future__ import annotations

import torch
from torch import nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens
from unmask.api import at_least
from unmask_pointcloud.nn.positioned import PositionedTransformer, centre_embedding


class PointDecoder(Predictor):
    """As wide as the encoder; where patches lie is added before every block; one linear layer to an answer.

    Args:
        encoder_width: D, width of the codes and of the decoder.
        target_width: T, width of an answer: 3 times the points of a patch for `ChamferLoss`.
        depth: blocks, at least 1. Point-MAE (section 3.2): 4.
        num_heads: attention heads; must divide D. Point-MAE: 6.
        drop_path_ratio: stochastic depth of the last block, in [0, 1). Point-MAE: 0.1.
        norm_eps: added to the variances in the norms. Point-MAE's code: 1e-5, which its weights need.

    Class tokens take no part.

    Raises:
        ValueError: in `forward`, tokens without positions, or places that are asked in groups.
    """

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        depth: int = 4,
        num_heads: int = 6,
        drop_path_ratio: float = 0.1,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        at_least(1, depth=depth)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, encoder_width), std=0.02))
        self.centres = centre_embedding(encoder_width)
        self.trunk = PositionedTransformer(
            encoder_width, depth, num_heads, drop_path_ratio=drop_path_ratio, norm_eps=norm_eps
        )
        self.target_width = target_width
        self.head = nn.Linear(encoder_width, target_width)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        asked = mask.asked
        if places.positions is None or asked.index.ndim != 2:
            raise ValueError("PointDecoder needs dense tokens with positions, asked for once and not in groups.")
        positions = self.centres(places.positions)  # [B, N, D]
        seen = positions if latent.seen is None else latent.seen.gather(positions)
        queries = self.mask_token.to(latent.values.dtype).expand(*asked.index.shape, -1)  # [B, M, D]
        x = torch.cat([latent.values, queries], dim=1)
        where = torch.cat([seen, asked.gather(positions)], dim=1)

        valid = mask.valid if latent.seen is None else latent.seen.valid
        if valid is not None or asked.valid is not None:
            real = (torch.ones_like(x[..., 0], dtype=torch.bool)).split([latent.values.shape[1], queries.shape[1]], 1)
            valid = torch.cat([real[0] if valid is None else valid, real[1] if asked.valid is None else asked.valid], 1)
        x = self.trunk(x, where, valid)
        return Prediction(self.head(x[:, -queries.shape[1] :]), asked)
