"""dBOT: the first teacher is random, and each stage's student teaches the next one (Liu et al. 2022,
arXiv:2209.03917)."""

from __future__ import annotations

from unmask import MADE, Loss, Target, left_to
from unmask.losses import SmoothL1Loss
from unmask.targets import StagedTeacher
from unmask_vision.methods.mae import MAE


class DBOT(MAE):
    """MAE, whose decoder predicts a teacher's features of hidden patches in place of pixels.

    ``loss = mean over hidden patches of smooth-L1(decoder(codes), (f - mean f) / sqrt(var f + 1e-6))``, with f the
    teacher's codes before its final norm

    Arguments are those of `MAE`, but:

    Args:
        num_stages: equal parts of the run, at least 1, each taught by the one before; None: 2, the first taught by a
            random network (section 4.1).
        encoder: None: as MAE's, with stochastic depth 0.2 (0.3 for ``huge``, 0 for ``tiny`` and ``small``).
        predictor: None: MAE's decoder of that size, whose answers are as wide as codes.
        target: None: the teacher of the stage, see ``num_stages``; a `FrozenTeacher` distils another network, as in
            section 4.4.
        loss: smooth L1, beta 2, as in the released code.

    Differs from the released code in that the class token is not asked (there it counts as one more hidden patch), and
    in that the decoder is as light for all teachers.

    Raises:
        ValueError: as `MAE`; fewer than one stage, or stages beside a target, which has its own.
    """

    num_stages: int | None = None
    target: Target = MADE
    loss: Loss = SmoothL1Loss(beta=2.0)

    def complete(self) -> None:
        ratio = {"tiny": 0.0, "small": 0.0, "huge": 0.3}.get(self.size or "base", 0.2)
        self.encoder = self.encoder or self.made_vit(ratio)
        self.predictor = self.predictor or self.made_decoder(self.encoder.width)
        super().complete()
        if self.target is not None:
            left_to("target", num_stages=self.num_stages)
        stages = 2 if self.num_stages is None else self.num_stages
        self.target = self.target or StagedTeacher(stages, "deviation", layer=self.encoder.num_layers)
