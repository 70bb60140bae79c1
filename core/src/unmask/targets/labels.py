"""Labels of samples as the right answers: training with one class or several, for what is learned by them."""

from __future__ import annotations

from torch import Tensor

from unmask.parts import Target
from unmask.step import Given
from unmask.structures import Mask, Tokens


class LabelTarget(Target):
    """The class number of each sample ``[B, 1]``, or a 0 or 1 for each class ``[B, 1, C]`` where it has several.

    They are asked for once a sample (``ask: sample``).

    Args:
        key: of the numbers in the batch.

    Raises:
        ValueError: when called, a batch without them, or answers asked for at several places.
    """

    def __init__(self, key: str = "label") -> None:
        super().__init__()
        self.key = key

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        batch = None if given is None else given.batch
        labels = batch.get(self.key) if isinstance(batch, dict) else None
        if not isinstance(labels, Tensor):
            raise ValueError(f"A batch must have `{self.key}` for `labels`, but has none; use labelled data.")
        if mask.asked.index.shape != (len(labels), 1):
            raise ValueError("`ask` must be 'sample' for `labels`, of which a sample has one.")
        return labels.long()[:, None] if labels.ndim == 1 else labels.float()[:, None]
