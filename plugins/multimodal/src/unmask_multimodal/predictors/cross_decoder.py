"""Decoders over joint codes: places of one part read the codes of all (MultiMAE, 4M)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unmask import Latent, Mask, Places, Prediction, Predictor, Tokens
from unmask.nn import Block, Mlp, sincos, xavier
from unmask_multimodal.encoders.trunks import Reading


class CrossDecoder(Predictor):
    """Places of one part, its own visible codes among mask tokens, attend to the codes of all parts; blocks follow.

    ``x = attend(norm(places), norm(codes)); x = x + mlp(norm(x))``, then self-attention blocks and a linear layer
    (Bachmann et al. 2022, arXiv:2204.01678, released code: nothing is added to the cross-attention).

    Args:
        part: whose places are answered for.
        parts: of the tokens, those whose codes are read; each has a learned embedding.
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: of the decoder. Paper: 256.
        depth: self-attention blocks. Paper: 2.
        num_heads: attention heads; must divide ``width``. Paper: 8.

    Raises:
        ValueError: a ``part`` that is not among ``parts``; when called, codes of other parts.
    """

    joint = True

    def __init__(
        self,
        part: str,
        parts: Sequence[str],
        encoder_width: int,
        target_width: int,
        width: int = 256,
        depth: int = 2,
        num_heads: int = 8,
    ) -> None:
        super().__init__()
        if part not in parts:
            raise ValueError(f"`part` must be one of `parts`, {', '.join(parts)}, but is {part!r}.")
        self.part, self.width = part, width
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.part_embeddings = nn.ParameterDict({name: nn.Parameter(torch.zeros(1, 1, width)) for name in parts})
        self.cross = Reading(width, num_heads)
        self.query_norm, self.memory_norm, self.mlp_norm = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.mlp = Mlp(width, 4 * width)
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(depth))
        self.head = nn.Linear(width, target_width)
        self.apply(xavier)
        nn.init.normal_(self.mask_token, std=0.02)
        for embedding in self.part_embeddings.values():
            nn.init.trunc_normal_(embedding, std=0.02)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        """Answers at the part's asked places."""
        codes = {name: self.embed(one.values) for name, one in (latent.parts or {}).items()}
        for name in codes:
            if name not in self.part_embeddings:
                known = ", ".join(self.part_embeddings)
                raise ValueError(f"`parts` must name the parts of the codes, {', '.join(codes)}, but names {known}.")
        memory, real = self._memory(codes, latent, places, mask)
        own, tokens = mask.part(self.part), places.part(self.part)

        # What reads: the part's own codes where they were seen, mask tokens elsewhere, all with their positions.
        shape = own.hidden.shape
        x = self.mask_token.expand(*shape, -1)
        if self.part in codes:
            seen = latent.part(self.part).seen
            x = codes[self.part] if seen is None else seen.scatter(codes[self.part], x.to(codes[self.part].dtype))
        x = x + self._position(self.part, tokens, shape[1]).to(x.dtype)

        keys = None if real is None else real[:, None, None, :]
        x = self.cross(self.query_norm(x), self.memory_norm(memory), keys)
        x = x + self.mlp(self.mlp_norm(x))
        for block in self.blocks:
            x = block(x, own.valid)
        asked = own.asked
        return Prediction(self.head(asked.gather(x)), asked)

    def _memory(
        self, codes: dict[str, Tensor], latent: Latent, places: Tokens, mask: Mask
    ) -> tuple[Tensor, Tensor | None]:
        """Codes of all parts with their positions, and which of them are real."""
        rows, valid = [], []
        for name, values in codes.items():
            seen = latent.part(name).seen
            tokens = places.part(name)
            table = self._position(name, tokens, mask.part(name).hidden.shape[1]).to(values.dtype)
            table = table.expand(len(values), -1, -1)
            rows.append(values + (table if seen is None else seen.gather(table)))
            valid.append(seen.valid if seen is not None else tokens.valid)
        if latent.prefix is not None:  # the trunk's own tokens, which lie nowhere
            rows.append(self.embed(latent.prefix))
            valid.append(None)
        if all(one is None for one in valid):
            return torch.cat(rows, dim=1), None
        real = [
            torch.ones(one.shape[:2], dtype=torch.bool, device=one.device) if known is None else known
            for one, known in zip(rows, valid, strict=True)
        ]
        return _compact(torch.cat(rows, dim=1), torch.cat(real, dim=1))

    def _position(self, name: str, tokens: Tokens, num_tokens: int) -> Tensor:
        """Of all places of a part ``[1, N, W]``: where they lie, and which part they are of."""
        embedding: Any = self.part_embeddings[name]
        table = sincos(tokens.layout, num_tokens, self.width, embedding.device)
        return table[None].to(embedding.dtype) + embedding


def _compact(rows: Tensor, real: Tensor) -> tuple[Tensor, Tensor | None]:
    """The real rows of each sample without gaps."""
    kept = Places.of(real)
    return kept.gather(rows), kept.valid
