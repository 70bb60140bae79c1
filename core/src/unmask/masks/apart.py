"""Views apart: no two views of a sample show the same place (LUT, Kim et al. 2023)."""

from __future__ import annotations

import torch

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler, num_to_hide
from unmask.schedules import Progress, Schedule, at
from unmask.structures import Mask, Tokens


class ApartMask(MaskSampler):
    """One order of the places is drawn for each sample: the first part shows the first of them, the second the next.

    Args:
        ratio: share that each part hides, in (0, 1), or a schedule of it; what all parts show must fit into a sample.
            LUT: 0.75 for two parts.
        asked: parts that answers are asked of, by their names; None: all.

    Raises:
        ValueError: a ratio outside (0, 1); when called, tokens of one part, of parts of other sizes or padded, more
            than there is to show, or other names.
    """

    joint = True

    def __init__(self, ratio: float | Schedule = 0.75, asked: list[str] | None = None) -> None:
        super().__init__(ratio)
        self.share = ratio
        self.asked = asked

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        """A mask for each part, all of one order."""
        parts = dict(tokens.parts or {})
        if len(parts) < 2:
            raise ValueError("ApartMask works on samples of at least two parts, but these have one.")
        for name in self.asked or []:
            if name not in parts:
                raise ValueError(f"`asked` must be of parts {', '.join(parts)}, but one is {name!r}.")
        first = next(iter(parts.values()))
        if any(part.offsets is not None or part.valid is not None for part in parts.values()):
            raise ValueError("ApartMask works on dense tokens without padding, but these are packed or padded.")
        count = first.num_tokens
        if any(part.num_tokens != count for part in parts.values()):
            sizes = ", ".join(str(part.num_tokens) for part in parts.values())
            raise ValueError(f"ApartMask works on parts of as many tokens each, but these have {sizes}.")
        ratio = at(self.share, progress or Progress())
        num_hidden = num_to_hide(count, ratio)
        shown = count - num_hidden
        if shown * len(parts) > count:
            least = 1 - 1 / len(parts)
            raise ValueError(
                f"`ratio` must be at least {least:.3g} for {len(parts)} parts that show no place twice, but is "
                f"{ratio:g}."
            )
        draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
        rank = draws.named("apart").uniform(count).argsort(1).argsort(1)  # [B, N]
        masks = {}
        for number, name in enumerate(parts):
            hidden = (rank < number * shown) | (rank >= (number + 1) * shown)
            asks = self.asked is None or name in self.asked
            nowhere = None if asks else torch.zeros_like(hidden)
            masks[name] = Mask(
                hidden, nowhere, num_hidden=num_hidden, num_predict=None if asks else 0, draws=draws.named(name)
            )
        return Mask.join(masks)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        """Not called: all parts are drawn at once."""
        raise NotImplementedError
