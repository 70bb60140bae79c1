"""Two levels: some hidden places are dropped, the others are shown as a token (MAGE, Li et al. 2023; SeiT++)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from unmask.masks.random import lowest
from unmask.parts import Corruption
from unmask.structures import DROPPED, TOKEN, Mask, Tokens
from unmask.support.checks import inside


class TwoLevels(Corruption):
    """Of each sample's N tokens exactly ``ceil(drop_ratio N)`` are dropped, hidden ones drawn at random; the other
    hidden ones are shown as the mask token. So a batch stays dense whatever share of a sample is hidden.

    Args:
        drop_ratio: share of all tokens, in (0, 1), at most that of the hidden ones. SeiT++: 0.4; MAGE: 0.5.

    Raises:
        ValueError: ``drop_ratio`` out of range; when called, fewer hidden places than that, packed or padded tokens.
    """

    def __init__(self, drop_ratio: float = 0.4) -> None:
        super().__init__(token=1)
        inside("(0, 1)", drop_ratio=drop_ratio)
        self.drop_ratio = drop_ratio

    def extra_repr(self) -> str:
        return f"drop_ratio={self.drop_ratio:g}"

    def shown(self, tokens: Tokens, mask: Mask) -> Mask:
        if mask.parts is not None:
            return super().shown(tokens, mask)
        if tokens.offsets is not None or mask.valid is not None:
            raise ValueError("TwoLevels works on dense tokens of one number, without padding.")
        hidden = mask.hidden
        count = math.ceil(hidden.shape[1] * self.drop_ratio - 1e-9)
        fewest = int(hidden.sum(1).min()) if mask.num_hidden is None else mask.num_hidden
        if fewest < count:
            raise ValueError(
                f"`drop_ratio` must be at most the share that is hidden, {fewest} of {hidden.shape[1]} tokens, but is "
                f"{self.drop_ratio}; nearest: {math.floor(100 * fewest / hidden.shape[1]) / 100}."
            )
        keys = mask.streams().named("dropped").uniform(hidden.shape[1])
        dropped = lowest(keys, torch.full((len(hidden),), count, device=hidden.device), hidden)
        show = torch.where(dropped, DROPPED, TOKEN).to(torch.int8)
        return replace(mask, show=show, num_dropped=count)
