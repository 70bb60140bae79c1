"""Predictors of spectrograms."""

from unmask_audio.predictors.frames import FramePredictor
from unmask_audio.predictors.local import LocalDecoder

__all__ = ["FramePredictor", "LocalDecoder"]
