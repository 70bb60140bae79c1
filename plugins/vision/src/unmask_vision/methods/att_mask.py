"""AttMask: iBOT that hides what its teacher attends to (Kakogeorgiou et al. 2022, arXiv:2203.12719)."""

from __future__ import annotations

from unmask import MaskSampler, Uniform
from unmask.masks import AttentionScorer, ScoredMask
from unmask_vision.methods.ibot import IBOT


class AttMask(IBOT):
    """iBOT whose mask hides, of half of the views, the patches that the teacher's class token attends to most.

    Arguments are those of `IBOT`, but:

    Args:
        mask: of each view, with chance 1/2, a share drawn evenly in [0.1, 0.5]: the patches with the highest attention
            in the teacher's last layer, the mean over heads (section 3.2). ``hints: 0.05`` leaves some of the highest
            tenth visible (AttMask-Hint); ``order: low`` is the paper's control.

    Differs from the released code in that a share is drawn for each view (there for each batch), and as `IBOT`.

    Raises:
        ValueError: as `IBOT`.
    """

    mask: MaskSampler = ScoredMask(AttentionScorer(), Uniform(0.1, 0.5), rounding="down", chance=0.5)
