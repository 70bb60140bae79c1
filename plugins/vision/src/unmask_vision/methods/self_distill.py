"""Self-distillation for further pretraining: MAE goes on from given weights, and stays near what a first continuation
of the same weights had learned (Lee et al. 2022, arXiv:2210.02871)."""

from __future__ import annotations

from unmask import Encoder
from unmask.api import load_run, load_weights, teacher_of
from unmask.targets import EMATeacher, FrozenTeacher
from unmask.terms import WholeMatch
from unmask_vision.methods.mae import MAE


class SelfDistill(MAE):
    """MAE from given weights, whose codes of whole images stay near a teacher's, which began from the same weights.

    ``loss = MAE's loss + distil_weight * mean over patches of mean((code - teacher's code)^2)``, the second term with
    nothing hidden

    Two runs: first `MAE` (or this method with ``distil_weight`` 0) from ``start_run`` on the data in question; then
    this method, from ``start_run`` again, with the first as ``teacher_run``. Arguments are those of `MAE`, and:

    Args:
        start_run: folder of a run of `MAE`, whose encoder and decoder this one begins as; None: as it is initialised,
            or as `unmask import` makes it.
        teacher: encoder with weights of its own, on the same patches; it is frozen and left out of checkpoints. None:
            that of ``teacher_run``.
        teacher_run: folder of the first run. None of both: the encoder as it begins, which stays as it is.
        distil_weight: at least 0 (section 3.2).

    Differs from the paper in that the squared distance is a mean over the numbers of a code, where there is a sum, and
    in which weights are averaged: none.

    Raises:
        ValueError: as `MAE`; a weight below 0, two teachers.
        UserError: no such run, or weights that do not fit.
    """

    start_run: str | None = None
    teacher: Encoder | None = None
    teacher_run: str | None = None
    distil_weight: float = 1.0

    def complete(self) -> None:
        super().complete()
        if self.start_run is not None:
            run = load_run(self.start_run)
            for name in ("encoder", "predictor"):
                weights = getattr(run.model, name).state_dict()
                load_weights(getattr(self, name), weights, f"`{run.checkpoint}`", f"`{name}`")
        teacher = teacher_of(self.teacher, self.teacher_run)
        target = EMATeacher(1.0, "none") if teacher is None else FrozenTeacher(teacher, normalize="none")
        self.terms = {"distil": WholeMatch(target, weight=self.distil_weight), **self.terms}
        self.teacher = None  # the term has it
