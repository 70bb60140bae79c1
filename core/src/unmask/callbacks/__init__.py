"""Callbacks: watching a run without changing it."""

from unmask.callbacks.collapse_monitor import CollapseMonitor
from unmask.callbacks.online_probe import OnlineProbe
from unmask.callbacks.pictures import Pictures
from unmask.training.progress_bar import ProgressBar

__all__ = ["CollapseMonitor", "OnlineProbe", "Pictures", "ProgressBar"]
