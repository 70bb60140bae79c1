"""Alignment: is the patch that a word lies on hidden? (LayoutLMv3, Huang et al. 2022, arXiv:2204.08387)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.parts import Term
from unmask.schedules import Schedule
from unmask.step import Step
from unmask.structures import Grid
from unmask.terms.transport import codes_of


class Alignment(Term):
    """``mean over places of one part that are not hidden of CE(head(code), is its place of the other part hidden)``.

    The first part tells where its tokens lie on the second one, a grid, by ``positions``: points ``(x, y)`` or boxes
    ``(left, top, right, bottom)``, of which the centre counts, as shares of the whole in [0, 1]. The head has two
    layers and a GELU.

    Args:
        first: the part that is asked, such as words, by its name.
        second: the part on a grid, such as patches.
        width: of the head between its layers; None: that of the codes.
        weight: at least 0, or a schedule of it. Paper: 1.

    Raises:
        ValueError: a width below 1, a weight below 0; when called, parts of other names, tokens without positions, or
            a second part on no grid of two sides.
    """

    def __init__(
        self,
        first: str = "text",
        second: str = "image",
        width: int | None = None,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight)
        if width is not None and width < 1:
            raise ValueError(f"`width` must be at least 1, but is {width}.")
        self.names = (first, second)
        self.width = width

    def start(self, model: Any) -> None:
        width = width_of(model.encoder, self.names[0])
        self.head = nn.Sequential(nn.Linear(width, self.width or width), nn.GELU(), nn.Linear(self.width or width, 1))

    def forward(self, step: Step, model: Any) -> Tensor:
        first, second = self.names
        codes, real = codes_of(step.latent, step.tokens, first)  # [B, K, D]
        mask, seen = step.mask.part(first), step.latent.part(first).seen
        hidden = mask.hidden if seen is None else seen.gather(mask.hidden)
        aligned = step.mask.part(second).hidden.gather(1, self.places(step))  # [B, N]
        aligned = aligned if seen is None else seen.gather(aligned)
        asked = real & ~hidden
        answers = self.head(codes)[..., 0].float()
        with torch.autocast(codes.device.type, enabled=False):
            each = F.binary_cross_entropy_with_logits(answers, aligned.float(), reduction="none")
        return (each * asked).sum() / asked.sum().clamp(min=1)

    def places(self, step: Step) -> Tensor:
        """Which place of the second part each token of the first lies on: ``[B, N]``."""
        first, second = self.names
        at, layout = step.tokens.part(first).positions, step.tokens.part(second).layout
        if at is None or at.shape[-1] not in (2, 4):
            raise ValueError(f"Tokens of `{first}` must have positions of 2 or 4 numbers on `{second}`, but have "
                             f"{'none' if at is None else at.shape[-1]}.")  # fmt: skip
        if not isinstance(layout, Grid) or len(layout.shape) != 2:
            raise ValueError(f"Tokens of `{second}` must lie on a grid of rows and columns, but lie on a {layout}.")
        rows, columns = layout.shape
        x, y = (at[..., i] if at.shape[-1] == 2 else (at[..., i] + at[..., i + 2]) / 2 for i in range(2))
        row = (y * rows).long().clamp(0, rows - 1)
        return row * columns + (x * columns).long().clamp(0, columns - 1)


def width_of(encoder: Any, name: str, layer: int | None = None) -> int:
    """Width of a part's codes after a layer; None: after the last one.

    Raises:
        ValueError: the encoder has parts, but none of this name.
    """
    encoders = getattr(encoder, "encoders", None)
    if encoders is None:
        return int(encoder.width)
    if name not in encoders:
        raise ValueError(f"The encoder must have a part `{name}`, but has {', '.join(encoders)}.")
    own = getattr(encoder, "own_layers", None)  # of an encoder that makes one set of codes of all parts in the end
    return int(encoder.width if own is not None and (layer is None or layer > own) else encoders[name].width)
