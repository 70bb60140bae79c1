"""Objects in boxes: which patches each covers, and numbers told of them (Panariello et al. 2024, arXiv:2401.03191)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask import Grid, Schedule, Step, Term, Tokens
from unmask.api import at_least
from unmask_vision.tokenizer import PatchTokenizer


class BoxTokenizer(PatchTokenizer):
    """Patches, and as their note ``boxes`` ``[B, N, O]`` which of a sample's O boxes each of them overlaps.

    Batches may have ``boxes`` ``[B, O, 4]``: left, top, right and bottom in pixels; boxes without area stand for none.
    Without them patches have no note. Arguments are those of `PatchTokenizer`.
    """

    def forward(self, batch: Any) -> Tokens:
        tokens = super().forward(batch)
        boxes = batch.get("boxes") if isinstance(batch, Mapping) else None
        return tokens if boxes is None else replace(tokens, notes={"boxes": self.covered(boxes, tokens.layout)})

    def covered(self, boxes: Tensor, layout: Any) -> Tensor:
        """Which patches overlap each box ``[B, N, O]``; none of one without area."""
        assert isinstance(layout, Grid)
        within = []
        for first, count in ((1, layout.shape[0]), (0, layout.shape[1])):  # rows, columns
            edge = torch.arange(count, device=boxes.device) * self.patch_size
            low, high = boxes[..., first, None], boxes[..., first + 2, None]  # [B, O, 1]
            within.append((edge < high) & (edge + self.patch_size > low))  # [B, O, R], [B, O, C]
        area = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])  # [B, O]
        within[0] = within[0] & area[..., None]
        return (within[0][..., :, None] & within[1][..., None, :]).flatten(2).transpose(1, 2)


class BoxNumbers(Term):
    """``mean over objects of |mlp(mean code of the patches that its box covers) - number|``, with nothing hidden.

    Tokens carry the note ``boxes``, and batches have a number for each object. Objects without a patch do not count.

    Args:
        encoder_width: D, width of the codes.
        key: of the numbers in the batch ``[B, O]``.
        hidden_width: of the layer between codes and number, at least 1.
        weight: at least 0, or a schedule of it.

    Raises:
        ValueError: a number out of range; when called, a batch without such numbers or boxes, or codes of some places.
    """

    def __init__(
        self, encoder_width: int, key: str = "distance", hidden_width: int = 256, weight: float | Schedule = 1.0
    ) -> None:
        super().__init__(weight)
        at_least(1, hidden_width=hidden_width)
        self.key = key
        self.head = nn.Sequential(nn.Linear(encoder_width, hidden_width), nn.GELU(), nn.Linear(hidden_width, 1))

    def numbers(self, codes: Tensor, covered: Tensor) -> Tensor:
        """One for each object ``[B, O]``, of codes ``[B, N, D]`` and what its box covers ``[B, N, O]``."""
        share = covered.to(codes.dtype) / covered.sum(1, keepdim=True).clamp(min=1)
        return self.head(share.transpose(1, 2) @ codes)[..., 0].float()

    def forward(self, step: Step, model: Any) -> Tensor:
        covered = (step.tokens.notes or {}).get("boxes")
        batch = None if step.given is None else step.given.batch
        right = batch.get(self.key) if isinstance(batch, Mapping) else None
        if covered is None or right is None:
            raise ValueError(f"A batch must have `boxes` and `{self.key}` for `vision.box-numbers`, but has not both.")
        if step.latent.seen is not None and step.latent.values.shape[1] != covered.shape[1]:
            raise ValueError("`vision.box-numbers` needs a code at every place; use a corruption that shows all.")
        real = right.isfinite() & covered.any(1)
        error = (self.numbers(step.latent.values, covered) - right.float().nan_to_num()).abs()
        return (error * real).sum() / real.sum().clamp(min=1)
