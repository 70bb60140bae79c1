"""Word stem: BERT's embeddings, for a trunk that reads words beside other parts (Devlin et al. 2018, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unmask import RANDOM, TOKEN, Encoder, Latent, Mask, Tokens
from unmask.api import at_least


class WordStem(Encoder):
    """``norm(word + position)`` between a class token and a separator, its prefix; an encoder without layers.

    The class token stands at position 0, words from 1 on, and the separator behind the last word of each text. Hidden
    words are replaced by ids before they are embedded.

    Args:
        width: D.
        vocab_size: ids are below it.
        max_length: rows of the table of positions, class token and separator counted.
        cls_id: id of the class token.
        sep_id: id of the separator.
        mask_id: id that hidden words are shown as.
        norm_eps: added to the variances in the norm. BERT: 1e-12.

    Raises:
        ValueError: an id outside the vocabulary; when called, texts that are longer or packed.
    """

    num_layers = 0

    def __init__(
        self,
        width: int,
        vocab_size: int,
        max_length: int = 512,
        cls_id: int = 2,
        sep_id: int = 3,
        mask_id: int = 4,
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        at_least(1, width=width, vocab_size=vocab_size)
        at_least(3, max_length=max_length)
        for name, one in (("cls_id", cls_id), ("sep_id", sep_id), ("mask_id", mask_id)):
            if not 0 <= one < vocab_size:
                raise ValueError(f"`{name}` must be in [0, {vocab_size}), but is {one}.")
        self.width = width
        self.cls_id, self.sep_id, self.mask_id = cls_id, sep_id, mask_id
        self.words, self.positions = nn.Embedding(vocab_size, width), nn.Embedding(max_length, width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        for table in (self.words, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    @property
    def embedding(self) -> nn.Parameter:
        """The table of word embeddings, ``[V, D]``, which heads share."""
        table: nn.Parameter = self.words.weight  # type: ignore[assignment]
        return table

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """The embedded words that are shown."""
        self.depth(layer)
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        if tokens.offsets is not None or tokens.num_tokens + 2 > self.positions.num_embeddings:
            raise ValueError(
                f"Texts must be dense, of at most {self.positions.num_embeddings - 2} words (`max_length` less two), "
                f"but have {tokens.num_tokens}."
            )
        ids, seen = tokens.values, None if mask is None else mask.seen
        if mask is not None and mask.show is not None:
            ids = ids.masked_fill(mask.hidden & (mask.show == TOKEN), self.mask_id)
            if mask.donor is not None:
                ids = torch.where(mask.hidden & (mask.show == RANDOM), mask.donor, ids)
        batch, length = ids.shape
        x = self._at(ids, torch.arange(1, length + 1, device=ids.device).expand(batch, -1))  # [B, N, D]
        ends = ids.new_full((batch,), length) if tokens.valid is None else tokens.valid.sum(1)
        own = torch.tensor([self.cls_id, self.sep_id], device=ids.device).expand(batch, -1)
        prefix = self._at(own, torch.stack([torch.zeros_like(ends), ends + 1], dim=1))  # [B, 2, D]
        latent = Latent(x if seen is None else seen.gather(x), seen, prefix)
        return [latent for _ in layers]

    def _at(self, ids: Tensor, places: Tensor) -> Tensor:
        return self.norm(self.words(ids) + self.positions(places))
