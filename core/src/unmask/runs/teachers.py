"""Which teacher a method learns from: a given encoder, that of another run, or a slow copy of its own."""

from __future__ import annotations

from typing import Any

from unmask.parts import Encoder
from unmask.runs.trained import load_run
from unmask.targets import EMATeacher, FrozenTeacher, Teacher


def teacher_of(teacher: Encoder | None, run: str | None) -> Encoder | None:
    """The encoder that ``teacher`` and ``teacher_run`` of a method name; None: neither does. See `taught_by`."""
    if teacher is not None and run is not None:
        raise ValueError("`teacher_run` must be left out when `teacher` is given, which has its own weights.")
    return teacher if run is None else load_run(run).model.embedder.encoder


def taught_by(teacher: Encoder | None, run: str | None, student: Encoder, **options: Any) -> tuple[Teacher, int]:
    """The target of a method that has a ``teacher`` and a ``teacher_run``, and how wide its answers are.

    Args:
        teacher: encoder with weights of its own, which stays frozen.
        run: folder of a run, or a checkpoint in one, whose encoder is the teacher: the one that `embed` uses. None of
            both: a copy of the student that follows it, momentum 0.996 to 1.
        student: encoder of the method.
        options: of `Teacher`.

    Raises:
        ValueError: both are given; an option that no teacher has, or a layer that this one lacks.
        UserError: no such run.
    """
    teacher = teacher_of(teacher, run)
    target: Teacher = EMATeacher(**options) if teacher is None else FrozenTeacher(teacher, **options)
    taught = student if teacher is None else teacher
    target.check(taught)
    layer = options.get("layer")
    return target, taught.width * (len(layer) if isinstance(layer, list) else 1)
