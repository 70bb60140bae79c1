"""Several masks: one sample is hidden in several ways at once, each a view of its own."""

from __future__ import annotations

from typing import Any

from torch import nn

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Progress
from unmask.structures import Mask, Tokens


class SeveralMasks(MaskSampler):
    """Masks of the same tokens by other rules. An encoder codes each view by itself; objectives may ask of one alone.

    Args:
        masks: by the names of views.

    Raises:
        ValueError: no mask; when called, tokens that have parts, or a mask that makes several.
    """

    def __init__(self, masks: dict[str, MaskSampler]) -> None:
        super().__init__()
        if not masks:
            raise ValueError("`masks` must name at least one view, but is empty.")
        self.masks: Any = nn.ModuleDict(masks)

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        """A mask for each view, drawn from streams of its name."""
        if tokens.parts is not None:
            have = ", ".join(tokens.parts)
            raise ValueError(f"SeveralMasks works on tokens of one part, but these have {have}; nearest: by-part.")
        draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
        made = {name: one(tokens, progress, draws.named(name)) for name, one in self.masks.items()}
        for name, mask in made.items():
            if mask.parts is not None:
                raise ValueError(
                    f"`masks` must make one mask each, but {type(self.masks[name]).__name__} makes several."
                )
        return Mask.join(made)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        """Not called: the masks of the views draw."""
        raise NotImplementedError
