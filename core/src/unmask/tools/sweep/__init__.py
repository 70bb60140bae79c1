"""Sweeps: many runs of one recipe with other settings, chosen by what earlier ones reached."""

from unmask.tools.sweep.space import Setting, read_setting
from unmask.tools.sweep.sweep import Sweep, Trial

__all__ = ["Setting", "Sweep", "Trial", "read_setting"]
