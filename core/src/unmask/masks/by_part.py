"""Mask by part: another mask for each modality or view of a sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Progress
from unmask.structures import Mask, Tokens


class MaskByPart(MaskSampler):
    """Hides each part of joint tokens by a mask of its own.

    Of a sample that lacks a part, all its places are padding: nothing of it is hidden, and nothing asked.

    Args:
        masks: by the names of parts.

    Raises:
        ValueError: no mask; when called, tokens of other parts, or a mask that makes several of one part.
    """

    joint = True

    def __init__(self, masks: dict[str, MaskSampler]) -> None:
        super().__init__()
        if not masks:
            raise ValueError("`masks` must name at least one part, but is empty.")
        self.masks: Any = nn.ModuleDict(masks)

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        """A mask for each part, drawn from streams of its name."""
        parts = tokens.parts or {}
        if set(parts) != set(self.masks):
            have = ", ".join(parts) or "no parts"
            raise ValueError(f"`masks` must name the parts of the tokens, {have}, but names {', '.join(self.masks)}.")
        draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
        made = {name: _drawn(self.masks[name], part, progress, draws.named(name)) for name, part in parts.items()}
        for name, mask in made.items():
            if mask.parts is not None:
                kind = type(self.masks[name]).__name__
                raise ValueError(f"`masks` must make one mask of each part, but {kind} makes several; nearest: random.")
        return Mask.join(made)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        """Not called: the masks of the parts draw."""
        raise NotImplementedError


def _drawn(sampler: MaskSampler, tokens: Tokens, progress: Progress | None, draws: Draws) -> Mask:
    """The mask of one part; samples that lack it are drawn as if they had it, and hide nothing."""
    if tokens.valid is None or bool(tokens.valid.any(1).all()):
        made: Mask = sampler(tokens, progress, draws)
        return made
    lacking = ~tokens.valid.any(1, keepdim=True)  # [B, 1]
    mask: Mask = sampler(replace(tokens, valid=tokens.valid | lacking), progress, draws)
    predict = mask.predict
    if predict is not None:
        predict = predict & ~(lacking if predict.ndim == 2 else lacking[..., None])
    return replace(
        mask, hidden=mask.hidden & ~lacking, predict=predict, valid=tokens.valid, num_hidden=None, num_predict=None
    )
