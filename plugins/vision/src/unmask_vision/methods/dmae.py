"""DMAE: MAE, whose inner codes match a larger masked autoencoder's on the same patches (Bai et al. 2022,
arXiv:2208.12256)."""

from __future__ import annotations

from unmask import Encoder, Objective
from unmask.api import taught_by, teacher_of
from unmask.losses import DirectionL1Loss
from unmask.predictors import LinearPredictor
from unmask_vision.methods.mae import MAE


class DMAE(MAE):
    """MAE, and an inner layer that tells a frozen teacher's inner layer; the teacher sees the visible patches alone.

    ``loss = MAE's loss + distil_weight * mean over visible patches of mean(|W x / |W x| - t / |t||)``, with x and t the
    codes of the two layers

    Arguments are those of `MAE`, and:

    Args:
        teacher: encoder with weights of its own, on the same patches; it is frozen, and left out of checkpoints.
            Paper: that of MAE's large size. None: that of ``teacher_run``.
        teacher_run: folder of a run whose encoder is the teacher. None of both: a slowly following copy of the encoder,
            momentum 0.996 to 1.
        inner_layer: of the encoder, in [1, its layers]; None: three quarters of them (9 of 12, section 3.2).
        teacher_layer: of the teacher; None: three quarters of its layers (18 of 24).
        distil_weight: at least 0.

    Differs from the released code in that class tokens are not compared (there each counts as one more patch).

    Raises:
        ValueError: as `MAE`; a weight below 0, a layer that is not there, two teachers.
    """

    teacher: Encoder | None = None
    teacher_run: str | None = None
    inner_layer: int | None = None
    teacher_layer: int | None = None
    distil_weight: float = 1.0

    def complete(self) -> None:
        super().complete()
        teacher = teacher_of(self.teacher, self.teacher_run)
        depth = (teacher or self.encoder).num_layers
        layer = max(3 * depth // 4, 1) if self.teacher_layer is None else self.teacher_layer
        options = {"layer": layer, "normalize": "none", "sees": "visible"}
        target, width = taught_by(teacher, None, self.encoder, **options)
        inner = max(3 * self.encoder.num_layers // 4, 1) if self.inner_layer is None else self.inner_layer
        head = LinearPredictor(self.encoder.width, width)
        distil = Objective("visible", head, target, DirectionL1Loss(), self.distil_weight, layer=inner)
        self.objectives = {"distil": distil, **self.objectives}
        self.teacher = None  # the objective has it
