"""Given answers: what the data says of each place besides its values, such as the class of a region (LXMERT, Tan &
Bansal 2019, arXiv:1908.07490)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.parts import Target
from unmask.step import Given
from unmask.structures import Mask, Tokens


class GivenTarget(Target):
    """What a batch has for each place: class ids ``[B, N]``, or values ``[B, N, T]``, at the asked places.

    Args:
        key: of them in the batch.

    Raises:
        ValueError: when called, a batch without them, packed tokens, or as many of them as the tokens have not.
    """

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        batch = None if given is None else given.batch
        answers = batch.get(self.key) if isinstance(batch, dict) else None
        if not isinstance(answers, Tensor):
            raise ValueError(f"A batch must have `{self.key}` for `given`, but has none; nearest: the target `values`.")
        if answers.shape[:2] != mask.hidden.shape:
            raise ValueError(
                f"`{self.key}` of a batch must have one answer for each of {tuple(mask.hidden.shape)} places, but is "
                f"{tuple(answers.shape)}."
            )
        picked = mask.asked.gather(answers)
        return picked.float() if picked.is_floating_point() else picked.to(torch.int64)
