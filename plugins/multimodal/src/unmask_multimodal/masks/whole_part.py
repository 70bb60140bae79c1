"""Whole parts: one part of a sample is hidden altogether, or masked alone (UNITER, M3AE, VLM, PHG-MAE)."""

from __future__ import annotations

from dataclasses import replace

from unmask import Candidates, Draws, Mask, MaskSampler, Progress, Tokens
from unmask.masks import MaskByPart


class WholePartMask(MaskSampler):
    """Each part of a sample is hidden as a whole with some chance, one at least and never all (PHG-MAE, 2025).

    Args:
        ratio: chance of each part, in (0, 1), all alike.

    Raises:
        ValueError: a chance out of range; when called, tokens of fewer than two parts.
    """

    joint = True

    def __init__(self, ratio: float = 0.5) -> None:
        super().__init__(ratio)

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        """A joint mask that hides each part whole or not at all."""
        draws, names = draws or Draws.fresh(tokens.num_samples, tokens.device), _names(tokens)
        lots = draws.named("parts").uniform(len(names))  # [B, P]
        gone = lots < float(self.ratio)  # type: ignore[arg-type]
        order = lots.argsort(1).argsort(1)
        gone = (gone | (order == 0)) & (order < len(names) - 1)
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


def _names(tokens: Tokens) -> list[str]:
    names = list(tokens.parts or ())
    if len(names) < 2 or any(tokens.part(name).offsets is not None for name in names):
        raise ValueError(f"This mask works on dense tokens of two parts or more, but these have {len(names)}.")
    return names
