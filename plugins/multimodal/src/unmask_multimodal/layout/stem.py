"""Layout stem: words embedded with where they stand in the text and on the page (LayoutLMv3, Huang et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unmask import RANDOM, TOKEN, Encoder, Latent, Mask, Tokens
from unmask.api import at_least

THOUSANDTHS = 1000
SIDES = 1024
"""Rows of the tables of coordinates and sizes."""


class LayoutStem(Encoder):
    """``norm(word + position + [left, top, right, bottom, height, width])``; an encoder without layers, for a trunk.

    Coordinates and sizes are rows of four tables in thousandths of the page: one for both x, one for both y, one each
    for heights and widths. Hidden words are replaced by ids before they are embedded; their boxes stay.

    Args:
        width: D.
        vocab_size: ids of words are below it.
        max_length: words of the longest page.
        coordinate_width: of the tables of x and y; None: D / 6. Paper, D 768: 128.
        shape_width: of those of heights and widths; None: what is left of D.
        mask_id: id that hidden words are shown as.
        norm_eps: added to the variances in the norm. Released: 1e-5.

    Raises:
        ValueError: widths that do not sum to D, ``mask_id`` outside the vocabulary; when called, words without boxes,
            or more than ``max_length``.
    """

    num_layers = 0

    def __init__(
        self,
        width: int,
        vocab_size: int,
        max_length: int = 512,
        coordinate_width: int | None = None,
        shape_width: int | None = None,
        mask_id: int = 4,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        at_least(1, width=width, vocab_size=vocab_size, max_length=max_length)
        coordinate_width = width // 6 if coordinate_width is None else coordinate_width
        shape_width = (width - 4 * coordinate_width) // 2 if shape_width is None else shape_width
        if 4 * coordinate_width + 2 * shape_width != width:
            raise ValueError(
                f"4 `coordinate_width` + 2 `shape_width` must be {width}, the width, but is "
                f"4 * {coordinate_width} + 2 * {shape_width}."
            )
        if not 0 <= mask_id < vocab_size:
            raise ValueError(f"`mask_id` must be in [0, {vocab_size}), but is {mask_id}.")
        self.width, self.mask_id = width, mask_id
        self.words = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(max_length, width)
        self.x, self.y = (nn.Embedding(SIDES, coordinate_width) for _ in range(2))
        self.heights, self.widths = (nn.Embedding(SIDES, shape_width) for _ in range(2))
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        for table in (self.words, self.positions, self.x, self.y, self.heights, self.widths):
            nn.init.normal_(table.weight, std=0.02)

    @property
    def embedding(self) -> nn.Parameter:
        """The table of word embeddings, ``[V, D]``."""
        table: nn.Parameter = self.words.weight  # type: ignore[assignment]
        return table

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """The embedded words that are shown."""
        self.depth(layer)
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        if tokens.positions is None or tokens.positions.shape[-1] != 4:
            raise ValueError("Words must have boxes for a layout stem; use the tokenizer `multimodal.boxes`.")
        if tokens.num_tokens > self.positions.num_embeddings:
            raise ValueError(
                f"Pages must have at most {self.positions.num_embeddings} words, as `max_length` says, but one has "
                f"{tokens.num_tokens}."
            )
        ids = tokens.values
        seen = None if mask is None else mask.seen
        if mask is not None and mask.show is not None:
            ids = ids.masked_fill(mask.hidden & (mask.show == TOKEN), self.mask_id)
            if mask.donor is not None:
                ids = torch.where(mask.hidden & (mask.show == RANDOM), mask.donor, ids)
        x = self.words(ids) + self.positions.weight[: tokens.num_tokens] + self._spatial(tokens.positions)
        x = self.norm(x)  # [B, N, D]
        latent = Latent(x if seen is None else seen.gather(x), seen)
        return [latent for _ in layers]

    def _spatial(self, boxes: Tensor) -> Tensor:
        left, top, right, bottom = (boxes * THOUSANDTHS).round().long().unbind(-1)  # [B, N] each
        sizes = ((one - other).clamp(0, SIDES - 1) for one, other in ((bottom, top), (right, left)))
        rows = [self.x(left), self.y(top), self.x(right), self.y(bottom)]
        return torch.cat(
            [*rows, *(table(size) for table, size in zip((self.heights, self.widths), sizes, strict=True))], -1
        )
