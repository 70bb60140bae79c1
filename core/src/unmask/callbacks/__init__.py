"""Callbacks: watching a run without changing it."""

from unmask.callbacks.pictures import Pictures
from unmask.callbacks.progress import ProgressBar

__all__ = ["Pictures", "ProgressBar"]
