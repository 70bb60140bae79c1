"""LUT: MAE on one view, and what each view shows tells of the other whole one (Kim et al. 2023, arXiv:2310.13593)."""

from __future__ import annotations

from typing import Any

from unmask import Embedder, MaskSampler, Schedule
from unmask.masks import ApartMask
from unmask.terms import CrossedCosine
from unmask_vision.methods.mae import MAE
from unmask_vision.tokenizer import PatchTokenizer
from unmask_vision.two_looks import TwoLooksTokenizer


class LUT(MAE):
    """MAE on the first of two views with the same geometry and other colours, which show different quarters of the
    patches; the mean code of each tells a slow copy's mean code of the other, whole one.

    ``loss = MAE's loss on view 1 + crossed_weight * mean over both pairs of 2 - 2 cos(pred(head(z)), slow head(z'))``

    Views are made by `TwoLooks`, an augmentation; without it both are the same image. Arguments are those of `MAE`,
    but:

    Args:
        crossed_weight: at least 0, or a schedule of it. Release: 0.1.
        hidden_width: of head and predictor, at least 1.
        mask: one order of the patches is drawn: view 1 shows its first quarter, view 2 its second.

    Differs from the released code in the width of what is compared (256, as in BYOL; not verified).

    Raises:
        ValueError: as `MAE`; a number outside its range.
    """

    crossed_weight: float | Schedule = 0.1
    hidden_width: int = 4096
    mask: MaskSampler = ApartMask(0.75, asked=["first"])

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or TwoLooksTokenizer(PatchTokenizer(self._patch_size, self.channels))
        super().complete()
        crossed = CrossedCosine(hidden_width=self.hidden_width, weight=self.crossed_weight)
        self.terms = {"crossed": crossed, **self.terms}

    @property
    def embedder(self) -> Embedder:
        """The encoder, on single images."""
        tokenizer: Any = self.tokenizer
        return Embedder(tokenizer.patches, self.encoder)
