"""HPM: the model learns which patches are hard, and hides those (Wang et al. 2023, arXiv:2304.05919)."""

from __future__ import annotations

from unmask import MADE, MaskSampler, Predictor
from unmask.api import made_again
from unmask.masks import HardMask
from unmask.terms import LossOrder
from unmask_vision.methods.mae import MAE


class HPM(MAE):
    """MAE with a second decoder that says how hard each patch is to predict, and a mask that hides hard ones.

    ``loss = MAE's loss + order_weight * mean over pairs of hidden patches of -log sigmoid(d_harder - d_easier)``

    Arguments are those of `MAE`, but:

    Args:
        mask: 75% of the patches: of these a growing share by the predicted loss, the rest at random (section 3.3).
        scorer: the second decoder; None: as the predictor, with weights of its own (section 3.2).
        order_weight: at least 0 (section 3.2).

    Differs from the released code in the share chosen by loss, which grows from 0 to a half as epochs are done, not by
    one epoch ahead of that.

    Raises:
        ValueError: as `MAE`; a weight below 0.
    """

    mask: MaskSampler = HardMask()
    scorer: Predictor = MADE
    order_weight: float = 1.0

    def complete(self) -> None:
        super().complete()
        scorer = self.scorer or made_again(self.predictor)
        self.terms = {"order": LossOrder(scorer, self.order_weight), **self.terms}
        self.scorer = None  # type: ignore[assignment]  # the term has it
