"""MR-MAE: pixels of hidden patches by a decoder, features of visible ones by the codes (Gao et al. 2023,
arXiv:2303.05475)."""

from __future__ import annotations

from unmask import MADE, Encoder, Objective, Target
from unmask.api import taught_by
from unmask.losses import MSELoss
from unmask.predictors import LinearPredictor
from unmask_vision.methods.mae import MAE


class MRMAE(MAE):
    """MAE, whose codes of visible patches must also tell what a teacher says of them.

    ``loss = MAE's loss + mimic_weight * mean over visible patches of (W code - teacher's feature)^2``

    The two never meet: a linear head reads the codes, and no gradient of it reaches the decoder. Arguments are those of
    `MAE`, and:

    Args:
        teacher: encoder with weights of its own, on the same patches, such as DINO's or CLIP's (section 3.2); it is
            frozen, and left out of checkpoints. None: that of ``teacher_run``.
        teacher_run: folder of a run whose encoder is the teacher. None of both: a slowly following copy of the encoder,
            momentum 0.996 to 1, which sees all patches.
        mimic_weight: at least 0.
        mimic_target: what visible codes must tell; None: normed features of the teacher.

    Differs from the paper in that features are those of the last layer, and in what is not built: the choice of visible
    patches by attention, the fusion of layers and the convolution stages.

    Raises:
        ValueError: as `MAE`; a weight below 0, both of ``teacher`` and ``teacher_run``.
    """

    teacher: Encoder | None = None
    teacher_run: str | None = None
    mimic_weight: float = 1.0
    mimic_target: Target = MADE

    def complete(self) -> None:
        super().complete()
        target, width = taught_by(self.teacher, self.teacher_run, self.encoder)
        head = LinearPredictor(self.encoder.width, width)
        mimic = Objective("visible", head, self.mimic_target or target, MSELoss(), self.mimic_weight)
        self.objectives = {"mimic": mimic, **self.objectives}
        self.teacher = self.mimic_target = MADE  # the objective has it
