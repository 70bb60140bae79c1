"""HPM: the model learns which patches are hard, and hides those (Wang et al. 2023, arXiv:2304.05919; of features too:
Wang et al. 2023, arXiv:2312.13714)."""

from __future__ import annotations

from typing import Literal

from unmask import MADE, Encoder, MaskSampler, Predictor, Target, chosen, left_to
from unmask.api import made_again, taught_by
from unmask.masks import HardMask
from unmask.targets import ValueTarget
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
        predict: ``pixels``, or the ``features`` of a teacher, layer-normed, by a decoder as wide as they are.
        teacher: of features: encoder with weights of its own, on the same patches, such as DINO's or CLIP's; it is
            frozen, and left out of checkpoints. None: that of ``teacher_run``.
        teacher_run: folder of a run whose encoder is the teacher. None of both: a slowly following copy of the encoder,
            momentum 0.996 to 1.
        target: None: what ``predict`` says; pixels are normalised per patch.

    Differs from the released code in the share chosen by loss, which grows from 0 to a half as epochs are done, not by
    one epoch ahead of that.

    Raises:
        ValueError: as `MAE`; a weight below 0, an unknown word, two teachers, or one beside pixels or a target.
    """

    mask: MaskSampler = HardMask()
    scorer: Predictor = MADE
    order_weight: float = 1.0
    predict: Literal["pixels", "features"] = "pixels"
    teacher: Encoder | None = None
    teacher_run: str | None = None
    target: Target = MADE

    def complete(self) -> None:
        if chosen("predict", self.predict, {"pixels": False, "features": True}) and self.target is None:
            self.encoder = self.encoder or self.made_vit()
            self.target, width = taught_by(self.teacher, self.teacher_run, self.encoder)
            self.predictor = self.predictor or self.made_decoder(width)
        else:
            part = "target" if self.target is not None else "predict: pixels"
            left_to(part, teacher=self.teacher, teacher_run=self.teacher_run)
            self.target = self.target or ValueTarget(normalize=True)
        self.teacher = None  # the target has it
        super().complete()
        scorer = self.scorer or made_again(self.predictor)
        self.terms = {"order": LossOrder(scorer, self.order_weight), **self.terms}
        self.scorer = None  # type: ignore[assignment]  # the term has it
