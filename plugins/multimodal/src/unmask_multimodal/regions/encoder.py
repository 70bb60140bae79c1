"""Region encoder: features and boxes embedded together, and blocks over them (LXMERT, Tan & Bansal 2019,
arXiv:1908.07490; UNITER, Chen et al. 2019, arXiv:1909.11740)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from unmask import RANDOM, TOKEN, Encoder, Latent, Mask, Tokens
from unmask.api import at_least
from unmask.nn import Block


class RegionEncoder(Encoder):
    """``mean``: ``(norm(W f) + norm(U box)) / 2`` (LXMERT); ``sum``: ``norm(norm(W f) + norm(U box))`` (UNITER).

    Hidden regions are shown with features of 0, or a learned one, and keep their boxes; random ones with those of
    another region of the picture. Without blocks it is a stem for a trunk.

    Args:
        width: D.
        feature_width: V, of features. Both papers: 2,048.
        depth: blocks with norms after their sums. LXMERT: 5; UNITER: 0.
        num_heads: attention heads of blocks; must divide ``width``.
        mlp_ratio: hidden width of their MLPs over ``width``.
        box_numbers: 4, the corners, or 7, with width, height and area (UNITER).
        mix: ``mean`` or ``sum``.
        mask_token: whether hidden features are a learned vector (UNITER) instead of 0 (LXMERT).
        norm_eps: added to the variances in the norms. Both papers: 1e-12.

    Raises:
        ValueError: an unknown word or number; when called, features of another width, or regions without boxes.
    """

    def __init__(
        self,
        width: int,
        feature_width: int,
        depth: int = 0,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        box_numbers: Literal[4, 7] = 4,
        mix: Literal["mean", "sum"] = "mean",
        mask_token: bool = False,
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        at_least(1, width=width, feature_width=feature_width)
        at_least(0, depth=depth)
        if box_numbers not in (4, 7):
            raise ValueError(f"`box_numbers` must be 4 or 7, but is {box_numbers}.")
        if mix not in ("mean", "sum"):
            raise ValueError(f"`mix` must be 'mean' or 'sum', but is {mix!r}.")
        self.width, self.num_layers, self.box_numbers = width, depth, box_numbers
        self.features, self.boxes = nn.Linear(feature_width, width), nn.Linear(box_numbers, width)
        self.feature_norm, self.box_norm = (nn.LayerNorm(width, eps=norm_eps) for _ in range(2))
        self.norm = nn.LayerNorm(width, eps=norm_eps) if mix == "sum" else None
        self.mask_token = nn.Parameter(torch.zeros(1, 1, feature_width)) if mask_token else None
        self.blocks = nn.ModuleList(
            Block(width, num_heads, mlp_ratio, norm_eps=norm_eps, norm_first=False) for _ in range(depth)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """Codes of the regions that are shown."""
        self.depth(layer)
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        if tokens.positions is None or tokens.positions.shape[-1] != 4:
            raise ValueError("Regions must have boxes; use the tokenizer `multimodal.regions`.")
        if tokens.values.shape[-1] != self.features.in_features:
            raise ValueError(
                f"`feature_width` must be {tokens.values.shape[-1]}, as of the regions, but is "
                f"{self.features.in_features}."
            )
        seen = None if mask is None else mask.seen
        x = self._embedded(self._shown(tokens.values, mask), tokens.positions)  # [B, N, D]
        valid = tokens.valid
        if seen is not None:
            x, valid = seen.gather(x), seen.valid
        states = [x]
        for block in self.blocks:
            states.append(block(states[-1], valid))
        return [Latent(states[-1 if layer is None else layer], seen) for layer in layers]

    def _shown(self, values: Tensor, mask: Mask | None) -> Tensor:
        if mask is None or mask.show is None:
            return values
        hidden = (mask.hidden & (mask.show == TOKEN))[..., None]
        token: Tensor | float = 0.0 if self.mask_token is None else self.mask_token.to(values.dtype)
        shown = torch.where(hidden, token, values)
        if mask.donor is not None:
            donors = values.gather(1, mask.donor[..., None].expand_as(values))
            shown = torch.where((mask.hidden & (mask.show == RANDOM))[..., None], donors, shown)
        return shown

    def _embedded(self, values: Tensor, boxes: Tensor) -> Tensor:
        if self.box_numbers == 7:
            sides = boxes[..., 2:] - boxes[..., :2]  # [B, N, 2]
            boxes = torch.cat([boxes, sides, sides.prod(-1, keepdim=True)], dim=-1)
        both = self.feature_norm(self.features(values)) + self.box_norm(self.boxes(boxes))
        return both / 2 if self.norm is None else self.norm(both)
