"""Skip decoder: its blocks read earlier and earlier layers of the encoder (HiCMAE, Sun et al. 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Latent, Mask, Places, Prediction, Predictor, Tokens
from unmask.api import at_least
from unmask.nn import Block, sincos, xavier
from unmask_multimodal.encoders.trunks import CrossLayer


class SkipDecoder(Predictor):
    """Visible codes and mask tokens at asked places go through blocks, all but the first of which read an inner layer.

    ``x = block(x)``, then for each layer of the encoder, the last first: ``x = x + cross(norm(x), codes of the
    layer)``, ``x = x + self(norm(x))``, ``x = x + mlp(norm(x))``. Codes of all layers come through one linear layer
    without bias, and get their positions; those of inner layers are normed first, without weights. Without ``layers``
    it is VideoMAE's decoder. Answers at a place depend on where else is asked.

    Args:
        encoder_width: D, width of the codes, the same in all layers.
        target_width: T, width of an answer.
        width: of the decoder. Paper, base size: 384.
        num_heads: attention heads; must divide ``width``. Paper: 6.
        layers: of the encoder, ascending, in [1, num_layers], whose codes blocks read. Paper: 4, 7 and 10 of 10.
        depth: blocks, one more than layers; None: so many. A decoder without ``layers`` may have any.

    Raises:
        ValueError: layers in another order, or another depth; when called, packed tokens.

    Differs from the paper's code in that inner layers are normed without weights, not by the encoder's last norm.
    """

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        width: int = 384,
        num_heads: int = 6,
        layers: list[int] | None = None,
        depth: int | None = None,
    ) -> None:
        super().__init__()
        layers = list(layers or ())
        if layers != sorted(set(layers)) or (layers and layers[0] < 1):
            raise ValueError(f"`layers` must be ascending numbers from 1, but are {layers}.")
        depth = len(layers) + 1 if depth is None else depth
        at_least(1, depth=depth)
        if layers and depth != len(layers) + 1:
            raise ValueError(f"`depth` must be {len(layers) + 1}, one more than `layers`, but is {depth}.")
        self.width, self.reads = width, tuple(layers)
        self.embed = nn.Linear(encoder_width, width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(1 if layers else depth))
        self.skips = nn.ModuleList(
            CrossLayer(width, num_heads, 4.0, "cross-self", norm_first=True, norm_eps=1e-6) for _ in layers
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, target_width)
        self.apply(xavier)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if places.offsets is not None or mask.asked.index.ndim != 2:
            raise ValueError("SkipDecoder works on dense tokens and asks once at each place, but these are packed or "
                             "in groups.")  # fmt: skip
        table = self.table(places, mask.hidden.shape[1]).expand(len(mask.hidden), -1, -1)  # [B, N, W]
        asked, seen = mask.asked, latent.seen
        at = table if seen is None else seen.gather(table)
        valid = seen.valid if seen is not None else mask.valid

        # Visible codes, then a mask token at each asked place.
        codes = self._embedded(latent, at)
        queries = (self.mask_token + asked.gather(table)).to(codes.dtype)  # [B, M, W]
        x = torch.cat([codes, queries], dim=1)
        there = self._real(latent, valid, codes)
        real = _side_by_side(there, asked, codes, queries)
        for block in self.blocks:
            x = block(x, real)
        own, other = (None if one is None else one[:, None, None, :] for one in (real, there))
        for skip, layer in zip(self.skips, reversed(self.reads), strict=True):
            x = skip(x, self._embedded(_normed(latent.layer(layer)), at), own, other)
        return Prediction(self.head(self.norm(x[:, -queries.shape[1] :])), asked)

    def table(self, places: Tokens, num_tokens: int) -> Tensor:
        """Positions of all places: ``[1, N, W]``."""
        return sincos(places.layout, num_tokens, self.width, self.mask_token.device)[None].to(self.mask_token.dtype)

    def _embedded(self, latent: Latent, at: Tensor) -> Tensor:
        codes = self.embed(latent.values)
        codes = codes + at.to(codes.dtype)
        return codes if latent.prefix is None else torch.cat([self.embed(latent.prefix), codes], dim=1)

    @staticmethod
    def _real(latent: Latent, valid: Tensor | None, codes: Tensor) -> Tensor | None:
        """Which rows of the codes are real ``[B, P + K]``; None: all are."""
        return None if valid is None else F.pad(valid, (codes.shape[1] - valid.shape[1], 0), value=True)


def _normed(latent: Latent) -> Latent:
    values, prefix = (
        None if one is None else F.layer_norm(one, one.shape[-1:], eps=1e-6) for one in (latent.values, latent.prefix)
    )
    assert values is not None
    return Latent(values, latent.seen, prefix)


def _side_by_side(there: Tensor | None, asked: Places, codes: Tensor, queries: Tensor) -> Tensor | None:
    if there is None and asked.valid is None:
        return None
    both = [
        torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device) if known is None else known
        for rows, known in ((codes, there), (queries, asked.valid))
    ]
    return torch.cat(both, dim=1)
