"""Targets: what should be predicted."""

from unmask.targets.ema_teacher import EMATeacher
from unmask.targets.values import ValueTarget

__all__ = ["EMATeacher", "ValueTarget"]
