"""One decoder for all parts, whose questions attend to each other within a part alone (4M, Mizrahi et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens
from unmask.nn import sincos, xavier
from unmask_multimodal.encoders.trunks import CrossLayer


class SharedDecoder(Predictor):
    """A mask token at each asked place, with its position and part, reads the questions of its part and all codes.

    What is asked of one part does not move the answers of another.

    Args:
        target_widths: T of each part, by name: for ids the number of codes.
        encoder_width: D, width of the codes.
        width: of the decoder. 4M, base size: 768.
        depth: blocks of self-attention, cross-attention and an MLP. 4M, base size: 12.
        num_heads: attention heads; must divide ``width``.

    Raises:
        ValueError: no part, or a width that is no multiple of ``num_heads``; when called, other parts.
    """

    joint = True

    def __init__(
        self,
        target_widths: Mapping[str, int],
        encoder_width: int,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
    ) -> None:
        super().__init__()
        if not target_widths:
            raise ValueError("`target_widths` must name at least one part, but is empty.")
        self.width = width
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.part_embeddings = nn.ParameterDict(
            {name: nn.Parameter(0.02 * torch.randn(1, 1, width)) for name in target_widths}
        )
        self.blocks = nn.ModuleList(
            CrossLayer(width, num_heads, 4.0, "self-cross", norm_first=True, norm_eps=1e-6) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.heads = nn.ModuleDict({name: nn.Linear(width, size, bias=False) for name, size in target_widths.items()})
        self.apply(xavier)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        """Answers of each part at its asked places."""
        names = list(places.parts or {})
        for name in names:
            if name not in self.heads:
                known = ", ".join(self.heads)
                raise ValueError(f"`target_widths` must name each part, {', '.join(names)}, but names {known}.")
        names = [name for name in self.heads if name in names]
        memory, there = self._memory(latent, places, mask, names)

        asked = {name: mask.part(name).asked for name in names}
        rows, real, owner = [], [], []
        for i, name in enumerate(names):
            where = asked[name]
            table = self._table(name, places, mask).expand(len(where.index), -1, -1)
            rows.append(self.mask_token + where.gather(table))  # [B, M_p, W]
            real.append(_real(where.valid, rows[-1]))
            owner.append(torch.full((rows[-1].shape[1],), i, device=rows[-1].device))
        x, valid, part = torch.cat(rows, dim=1), torch.cat(real, dim=1), torch.cat(owner)
        itself = torch.eye(len(part), dtype=torch.bool, device=x.device)  # rows that only fill up read themselves
        own = ((part[:, None] == part[None]) & valid[:, None, :] | itself)[:, None]  # [B, 1, M, M]
        for block in self.blocks:
            x = block(x, memory, own, there[:, None, None, :])
        pieces = self.norm(x).split([one.shape[1] for one in rows], dim=1)
        return Prediction.join(
            {name: Prediction(self.heads[name](one), asked[name]) for name, one in zip(names, pieces, strict=True)}
        )

    def _memory(self, latent: Latent, places: Tokens, mask: Mask, names: list[str]) -> tuple[Tensor, Tensor]:
        """Codes of all parts with positions ``[B, K, W]``, and which of them are real."""
        rows, real = [], []
        for name in names:
            part = latent.part(name)
            codes = self.embed(part.values)
            table = self._table(name, places, mask).to(codes.dtype).expand(len(codes), -1, -1)
            rows.append(codes + (table if part.seen is None else part.seen.gather(table)))
            real.append(_real(places.part(name).valid if part.seen is None else part.seen.valid, rows[-1]))
        if latent.prefix is not None:
            rows.append(self.embed(latent.prefix))
            real.append(_real(None, rows[-1]))
        return torch.cat(rows, dim=1), torch.cat(real, dim=1)

    def _table(self, name: str, places: Tokens, mask: Mask) -> Tensor:
        """Of all places of a part ``[1, N, W]``: where they lie, and which part they are of."""
        embedding: Any = self.part_embeddings[name]
        num_tokens = mask.part(name).hidden.shape[1]
        table = sincos(places.part(name).layout, num_tokens, self.width, embedding.device)
        return table[None].to(embedding.dtype) + embedding


def _real(valid: Tensor | None, rows: Tensor) -> Tensor:
    return torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device) if valid is None else valid
