"""Corruptions: what the encoder is shown, beyond mask tokens; targets are always of clean values."""

from unmask.corruptions.filtered import FrequencyFilter
from unmask.corruptions.noisy import NoisyValues
from unmask.corruptions.quantised import RandomQuantisation
from unmask.corruptions.stand_ins import StandIns
from unmask.corruptions.two_levels import TwoLevels

__all__ = ["FrequencyFilter", "NoisyValues", "RandomQuantisation", "StandIns", "TwoLevels"]
