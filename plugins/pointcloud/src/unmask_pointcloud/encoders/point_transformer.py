"""Point transformer: patches through a small PointNet, then a standard transformer (Point-BERT, Yu et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask import FILLED, KEPT, RANDOM, TOKEN, Encoder, Latent, Mask, Tokens
from unmask.api import at_least, inside
from unmask_pointcloud.nn.patch_net import PatchNet
from unmask_pointcloud.nn.positioned import PositionedTransformer, centre_embedding


class PointTransformer(Encoder):
    """A code for each patch shown; where a patch lies is added before every block.

    Hidden patches are dropped (Point-MAE) or shown as a learned token (Point-BERT), as the mask says. Their centres are
    used then, their points never.

    Args:
        width: D. Both papers: 384.
        depth: blocks, at least 1. Both papers: 12.
        num_heads: attention heads; must divide ``width``. Both papers: 6.
        channels: numbers of a point beside its coordinates, as in the tokenizer.
        patch_width: width of a patch's code before a linear layer brings it to D (Point-BERT: 256); None: D itself,
            with no such layer (Point-MAE).
        pointnet_width: h of the `PatchNet`. Both papers: 128.
        drop_path_ratio: stochastic depth of the last block, growing from 0 at the first, in [0, 1). Both papers: 0.1.
        class_token: whether one takes part (Point-BERT).
        mask_token: whether there is one, for corruptions that show tokens.
        norm_eps: added to the variances in the norms, above 0. Both papers' code: 1e-5, which their weights need.

    Differs from the papers' code in that the PointNet, whose batch norm would let hidden patches change the codes of
    visible ones in training, is run on visible patches alone; in the biases of query, key and value, which are
    learned here; and in first weights (there normal(0.02) everywhere): Xavier's in the blocks, wide ones where centres
    are told (see `centre_embedding`), PyTorch's usual ones in the PointNet.

    Raises:
        ValueError: a number outside its range; in `forward`, tokens that are no patches of that many channels, or a
            corruption that shows tokens without ``mask_token``.
    """

    def __init__(
        self,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        channels: int = 0,
        patch_width: int | None = None,
        pointnet_width: int = 128,
        drop_path_ratio: float = 0.1,
        class_token: bool = False,
        mask_token: bool = False,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        at_least(1, width=width, depth=depth, num_heads=num_heads, pointnet_width=pointnet_width)
        at_least(1, patch_width=patch_width or width)
        inside("[0, 1)", drop_path_ratio=drop_path_ratio)
        if norm_eps <= 0:
            raise ValueError(f"`norm_eps` must be above 0, but is {norm_eps}.")
        self.width = width
        self.num_layers = depth
        self.channels = channels
        self.patch_net = PatchNet(3 + channels, patch_width or width, pointnet_width)
        self.embed = nn.Identity() if patch_width is None else nn.Linear(patch_width, width)
        self.centres = centre_embedding(width)
        self.trunk = PositionedTransformer(width, depth, num_heads, drop_path_ratio=drop_path_ratio, norm_eps=norm_eps)
        self.cls_token = _token(width) if class_token else None
        self.cls_position = _token(width) if class_token else None
        self.mask_token = _token(width) if mask_token else None

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        depth = None if layer is None else self.depth(layer)
        seen = None if mask is None else mask.seen
        x = self.trunk(*self._inputs(tokens, mask), depth)  # [B, K, D]
        if self.cls_token is None:
            return Latent(x, seen)
        return Latent(x[:, 1:], seen, x[:, :1])

    def layers(self, tokens: Tokens) -> list[Tensor]:
        """Codes ``[B, N, D]`` of all tokens after each block, each normed by the last norm, in one pass."""
        x, positions, valid = self._inputs(tokens, None)
        skipped = 0 if self.cls_token is None else 1
        return [self.trunk.norm(one)[:, skipped:] for one in self.trunk.each(x, positions, valid)]

    def _inputs(self, tokens: Tokens, mask: Mask | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the trunk is given: tokens, the class token first; where they lie; which are no padding."""
        if tokens.positions is None or tokens.values.ndim != 4 or tokens.values.shape[-1] != 3 + self.channels:
            raise ValueError(
                f"The tokens must be patches [B, N, points, 3 + `channels` {self.channels}] with centres, but are "
                f"{list(tokens.values.shape)}."
            )
        seen = None if mask is None else mask.seen
        x = self._embedded(tokens, mask)  # [B, K, D]
        positions = self.centres(tokens.positions)  # [B, N, D]
        positions = positions if seen is None else seen.gather(positions)
        valid = tokens.valid if seen is None else seen.valid
        if self.cls_token is not None and self.cls_position is not None:
            x = torch.cat([self.cls_token.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
            positions = torch.cat([self.cls_position.to(x.dtype).expand(x.shape[0], -1, -1), positions], dim=1)
            valid = None if valid is None else torch.cat([valid.new_ones(valid.shape[0], 1), valid], dim=1)
        return x, positions, valid

    def _embedded(self, tokens: Tokens, mask: Mask | None) -> Tensor:
        """Codes of the patches shown, and stand-ins where others are shown in their place."""
        values, valid = tokens.values, tokens.valid
        if mask is None or mask.show is None:
            seen = None if mask is None else mask.seen
            if seen is not None:
                values, valid = seen.gather(values), seen.valid
            return self.embed(self.patch_net(values, valid))
        if self.mask_token is None:
            raise ValueError(
                "`mask_token` of the encoder must be true for a corruption that shows tokens, but is false."
            )
        shown = ~mask.hidden | (mask.show == KEPT) | (mask.show == FILLED)
        x = self.embed(self.patch_net(values, shown if valid is None else shown & valid))
        x = x.where(~(mask.hidden & (mask.show == TOKEN))[..., None], self.mask_token.to(x.dtype))
        if mask.donor is not None:
            stand_in = x.gather(1, mask.donor[..., None].expand_as(x))
            x = x.where(~(mask.hidden & (mask.show == RANDOM))[..., None], stand_in)
        return x


def _token(width: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
