"""Data-set distillation: a few synthetic images, and what a teacher would say of them (KRR-ST, Lee et al. 2023)."""

from unmask_vision.distil.krr import Distillation, SmallNet, kernel_answers

__all__ = ["Distillation", "SmallNet", "kernel_answers"]
