"""Local decoder: attention within small windows of the spectrogram, shifted at every other block (Audio-MAE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Grid, Latent, Mask, Prediction, Predictor, Tokens
from unmask.api import at_least
from unmask.nn import Transformer, sincos, xavier


class LocalDecoder(Predictor):
    """Codes and mask tokens at their places of the grid through blocks whose attention ends at a window's border.

    Time and frequency of a sound are tied to their surroundings, so what lies next to a hidden patch tells most about
    it. Blocks 2, 4, ... have their windows moved by ``shift``; a window cut by the grid's edge is smaller, and attends
    to itself only, which is what cyclic shifting with a mask computes (Swin, Liu et al. 2021, section 3.2).

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: of the decoder. As in the released code of Audio-MAE, as are the next two.
        depth: blocks, at least 1.
        num_heads: attention heads; must divide ``width``.
        window: patches of a window in time and in frequency, each at least 1.
        shift: by how many patches in time and in frequency, each below the window's; the released code's.

    The class token takes no part, as in the released code.

    Differs from the released code in that blocks are those of the encoder (there Swin V2's: norms after attention and
    MLP, cosine attention, a learned bias by distance), and positions the right ones.

    Raises:
        ValueError: a number outside its range; in `forward`, tokens that are not on a 2-D grid, or places that are
            asked for in groups.
    """

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        width: int = 512,
        depth: int = 16,
        num_heads: int = 16,
        window: tuple[int, int] = (4, 4),
        shift: tuple[int, int] = (2, 0),
    ) -> None:
        super().__init__()
        at_least(1, depth=depth)
        if min(window) < 1:
            raise ValueError(f"`window` must be at least 1 patch in time and in frequency, but is {tuple(window)}.")
        if not all(0 <= step < side for step, side in zip(shift, window, strict=True)):
            raise ValueError(f"`shift` must be in [0, window = {tuple(window)}), but is {tuple(shift)}.")
        self.window = window
        self.shift = shift
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.trunk = Transformer(width, depth, num_heads)
        self.head = nn.Linear(width, target_width)
        self.embed.apply(xavier)
        self.head.apply(xavier)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        grid, asked = places.layout, mask.asked
        if not isinstance(grid, Grid) or len(grid.shape) != 2 or places.offsets is not None:
            raise ValueError(f"LocalDecoder works on dense tokens of a 2-D Grid, but these lie on a {grid}.")
        if asked.index.ndim != 2:
            raise ValueError(
                "LocalDecoder answers all asked places at once, but the mask asks in groups; use TransformerPredictor."
            )

        # Codes at their places, mask tokens everywhere else.
        codes = self.embed(latent.values)  # [B, K, W]
        batch, num_tokens = mask.hidden.shape
        x = codes
        if latent.seen is not None:
            x = latent.seen.scatter(codes, self.mask_token.to(codes.dtype).expand(batch, num_tokens, -1))
        x = x + sincos(grid, num_tokens, x.shape[-1], x.device).to(x.dtype)  # [B, N, W]

        x = x.unflatten(1, grid.shape)  # [B, R, C, W]
        valid = None if mask.valid is None else mask.valid.unflatten(1, grid.shape)
        for number, block in enumerate(self.trunk.blocks):
            x = self._in_windows(block, x, valid, self.shift if number % 2 else (0, 0))
        answers = self.head(asked.gather(self.trunk.norm(x).flatten(1, 2)))  # [B, M, T]
        return Prediction(answers, asked)

    def _in_windows(self, block: nn.Module, x: Tensor, valid: Tensor | None, shift: tuple[int, int]) -> Tensor:
        """``block`` on each window as if it were a sample, windows at the edges being filled up."""
        (rows, columns), (height, width) = x.shape[1:3], self.window
        top, left = (-step % side for step, side in zip(shift, self.window, strict=True))
        bottom, right = -(rows + top) % height, -(columns + left) % width
        if top or left or bottom or right:
            real = torch.ones(1, rows, columns, dtype=torch.bool, device=x.device) if valid is None else valid
            valid = F.pad(real, (left, right, top, bottom)).expand(x.shape[0], -1, -1)
            x = F.pad(x, (0, 0, left, right, top, bottom))
        keys = None if valid is None else self._cut(valid[..., None]).squeeze(-1)  # [B * windows, w]
        if keys is not None:  # a window of nothing but padding attends to it: its answers are not read
            keys = keys | ~keys.any(1, keepdim=True)

        cut = block(self._cut(x), keys)  # [B * windows, w, W]
        shape = (x.shape[0], x.shape[1] // height, x.shape[2] // width, height, width, x.shape[3])
        x = cut.view(shape).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return x[:, top : top + rows, left : left + columns]

    def _cut(self, x: Tensor) -> Tensor:
        """``[B, R, C, W]`` to windows ``[B * windows, w, W]``."""
        height, width = self.window
        cells = x.unflatten(2, (-1, width)).unflatten(1, (-1, height))  # [B, R / h, h, C / w, w, W]
        return cells.transpose(2, 3).flatten(3, 4).flatten(0, 2)
