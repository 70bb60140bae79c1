"""Whole parts: one part of a sample is hidden altogether, or masked alone (UNITER, M3AE, VLM, PHG-MAE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Candidates, Draws, Mask, MaskSampler, Progress, Tokens
from unmask.masks import MaskByPart


class WholePartMask(MaskSampler):
    """Each part of a sample is hidden as a whole with some chance, one at least and never all (PHG-MAE, 2025).

    Of parts that a sample lacks nothing is hidden, and they do not count: of its only part nothing is hidden either.

    Args:
        ratio: chance of each part, in (0, 1), all alike.
        always: parts that are hidden in every sample, such as one that is only ever answered for.

    Raises:
        ValueError: a chance out of range; when called, tokens of fewer than two parts, or an ``always`` that
            names an unknown part or all of them.
    """

    joint = True

    def __init__(self, ratio: float = 0.5, always: Sequence[str] = ()) -> None:
        super().__init__(ratio)
        self.always = tuple(always)

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        """A joint mask that hides each part whole or not at all."""
        draws, names = draws or Draws.fresh(tokens.num_samples, tokens.device), _names(tokens)
        for name in self.always:
            if name not in names:
                raise ValueError(f"`always` must be of parts {', '.join(names)}, but one is {name!r}.")
        if set(names) <= set(self.always):
            raise ValueError(f"`always` must leave a part to be shown, but names all: {', '.join(names)}.")
        lots = draws.named("parts").uniform(len(names))  # [B, P]
        always = torch.tensor([name in self.always for name in names], device=lots.device)
        there = torch.stack([_there(tokens.part(name)) for name in names], dim=1)
        gone = (lots < float(self.ratio)) | always  # type: ignore[arg-type]
        first, last = lots.masked_fill(~there, 2).argmin(1), lots.masked_fill(~there | always, -1).argmax(1)
        none = ~(gone & there).any(1, keepdim=True)
        gone = gone | (none & F.one_hot(first, len(names)).bool())
        gone = gone & ~(F.one_hot(last, len(names)).bool() & ~always)
        masks = {}
        for i, name in enumerate(names):
            part = tokens.part(name)
            hidden = gone[:, i : i + 1].expand(-1, part.num_tokens)
            hidden = hidden.clone() if part.valid is None else hidden & part.valid
            masks[name] = Mask(hidden, valid=part.valid, draws=draws.named(name))
        return replace(Mask.join(masks), draws=draws)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        """Not called: all parts are drawn at once."""
        raise NotImplementedError


class OnePartMask(MaskByPart):
    """Of each sample one part is masked, by a mask of its own, and the others are whole (UNITER's conditional masking).

    Args:
        masks: by the names of parts.
        together: whether all samples of a step have the same part masked, as where a batch has one task.

    Raises:
        ValueError: no mask; when called, tokens of other parts.
    """

    def __init__(self, masks: dict[str, MaskSampler], together: bool = False) -> None:
        super().__init__(masks)
        self.together = together

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        """A joint mask; the parts that are not masked hide nothing."""
        draws, names = draws or Draws.fresh(tokens.num_samples, tokens.device), _names(tokens)
        each = super().forward(tokens, progress, draws)
        progress = progress or Progress()
        lot = draws.named("part").shared(progress.step) if self.together else draws.named("part")
        which = lot.integers(len(names)).expand(tokens.num_samples)  # [B]
        masks = {}
        for i, name in enumerate(names):
            drawn = each.part(name)
            mine = (which == i)[:, None]
            asked = drawn.hidden if drawn.predict is None else drawn.predict
            masks[name] = replace(
                drawn, hidden=drawn.hidden & mine, predict=asked & mine, num_hidden=None, num_predict=None
            )
        return replace(Mask.join(masks), num_hidden=None, draws=draws)


def _there(tokens: Tokens) -> Tensor:
    """Which samples have the part ``[B]``."""
    if tokens.valid is not None:
        return tokens.valid.any(1)
    return torch.ones(tokens.num_samples, dtype=torch.bool, device=tokens.device)


def _names(tokens: Tokens) -> list[str]:
    names = list(tokens.parts or ())
    if len(names) < 2 or any(tokens.part(name).offsets is not None for name in names):
        raise ValueError(f"This mask works on dense tokens of two parts or more, but these have {len(names)}.")
    return names
