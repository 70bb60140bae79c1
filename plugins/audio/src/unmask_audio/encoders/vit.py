"""A vision transformer on pieces of a spectrogram (AST, Gong et al. 2021; Audio-MAE, Huang et al. 2022, section 3)."""

from __future__ import annotations

from collections.abc import Sequence as Sequence_
from typing import Literal

import torch
from torch import Tensor, nn

from unmask import RANDOM, TOKEN, Encoder, Grid, Latent, Mask, Sequence, Tokens
from unmask.api import at_least, inside
from unmask.nn import Transformer, sincos, xavier

POSITIONS = ("sincos", "swapped")


class SpectrogramViT(Encoder):
    """A code for each patch (on a grid of time by frequency) or frame (in a sequence) that it is shown.

    Dropped tokens are left out before anything is computed. Positions are fixed sine-cosine codes of the grid that the
    tokens lie on, so clips may be of any length.

    Args:
        width: D, a multiple of 4.
        depth: blocks, at least 1.
        num_heads: attention heads; must divide ``width``.
        token_width: V, numbers of a token: time by frequency of a patch.
        positions: ``sincos``: a code of a token's time and frequency; ``swapped``: the table as Audio-MAE's released
            code has it, made for a grid of frequency by time and then read in the order of tokens, which is time by
            frequency: for weights trained with it.
        class_token: whether one takes part, its position being zero.
        mask_token: for corruptions that do not drop hidden places, whether they are shown as a learned token; if not,
            as zeros, which are the mean of normalised values (TERA).
        drop_path_ratio: stochastic depth of the last block, growing from 0 at the first, in [0, 1).

    Raises:
        ValueError: a number outside its range; in `forward`, tokens of another width, packed ones or a layout without
            order.
    """

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        token_width: int = 256,
        positions: Literal["sincos", "swapped"] = "sincos",
        class_token: bool = True,
        mask_token: bool = False,
        drop_path_ratio: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, width=width, depth=depth, num_heads=num_heads, token_width=token_width)
        if positions not in POSITIONS:
            raise ValueError(f"`positions` must be one of {', '.join(POSITIONS)}, but is {positions!r}.")
        inside("[0, 1)", drop_path_ratio=drop_path_ratio)
        self.width = width
        self.num_layers = depth
        self.positions = positions
        self.embed = nn.Linear(token_width, width)
        self.embed.apply(xavier)
        self.trunk = Transformer(width, depth, num_heads, drop_path_ratio=drop_path_ratio)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02) if class_token else None
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02) if mask_token else None

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        self.depth(layer)  # refuses one that is not there
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence_[int | None]) -> list[Latent]:
        self._check(tokens)
        seen = None if mask is None else mask.seen
        positions = self._positions(tokens)  # [1, N, D]

        # Embed what is shown, and only that.
        values = tokens.values if seen is None else seen.gather(tokens.values)
        x = self.embed(values)  # [B, K, D]
        if mask is not None and mask.show is not None:
            x = self._stand_ins(x, mask)
        if seen is not None:
            positions = seen.gather(positions.expand(x.shape[0], -1, -1))
        x = x + positions.to(x.dtype)
        valid = tokens.valid if seen is None else seen.valid

        if self.cls_token is not None:
            x = torch.cat([self.cls_token.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
            valid = None if valid is None else torch.cat([valid.new_ones(valid.shape[0], 1), valid], dim=1)
        depths = [0 if layer == 0 else self.depth(layer) for layer in layers]
        states = {0: x}
        for number, block in enumerate(self.trunk.blocks[: max(depths)], start=1):
            states[number] = x = block(x, valid)
        found = [
            self.trunk.norm(states[depth]) if layer is None else states[depth]
            for layer, depth in zip(layers, depths, strict=True)
        ]
        return [Latent(x, seen) if self.cls_token is None else Latent(x[:, 1:], seen, x[:, :1]) for x in found]

    def _check(self, tokens: Tokens) -> None:
        width = self.embed.in_features
        if tokens.offsets is not None or not isinstance(tokens.layout, Sequence | Grid):
            raise ValueError(
                f"SpectrogramViT works on dense tokens of a Sequence or a Grid, but these lie on a {tokens.layout}"
                f"{'' if tokens.offsets is None else ' and are packed'}."
            )
        if tokens.values.shape[-1] != width:
            raise ValueError(
                f"`token_width` must be {tokens.values.shape[-1]}, the numbers of a token, but is {width}."
            )

    def _positions(self, tokens: Tokens) -> Tensor:
        layout = tokens.layout
        if self.positions == "swapped" and isinstance(layout, Grid):
            layout = Grid(layout.shape[::-1])
        return sincos(layout, tokens.values.shape[1], self.width, tokens.values.device)[None]

    def _stand_ins(self, x: Tensor, mask: Mask) -> Tensor:
        """Embedded tokens ``[B, N, D]`` with others at hidden places, as ``mask.show`` says."""
        assert mask.show is not None  # `forward` has seen to it
        token = self.embed.bias if self.mask_token is None else self.mask_token  # of zeros, the bias is the embedding
        x = x.where(~(mask.hidden & (mask.show == TOKEN))[..., None], token.to(x.dtype))
        if mask.donor is not None:
            other = x.gather(1, mask.donor[..., None].expand_as(x))
            x = x.where(~(mask.hidden & (mask.show == RANDOM))[..., None], other)
        return x
