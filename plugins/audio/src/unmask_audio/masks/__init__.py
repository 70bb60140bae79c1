"""Masks that need to know time from frequency, or how loud a sound is."""

from unmask_audio.masks.curriculum import CurriculumMask
from unmask_audio.masks.energy import EnergyMask
from unmask_audio.masks.time_frequency import TimeFrequencyMask
from unmask_audio.masks.time_frequency_block import TimeFrequencyBlockMask
from unmask_audio.masks.time_span import TimeSpanMask

__all__ = ["CurriculumMask", "EnergyMask", "TimeFrequencyBlockMask", "TimeFrequencyMask", "TimeSpanMask"]
