"""Predictors over joint codes."""

from unmask_multimodal.predictors.cross_decoder import CrossDecoder
from unmask_multimodal.predictors.shared_decoder import SharedDecoder
from unmask_multimodal.predictors.skip_decoder import SkipDecoder

__all__ = [
    "CrossDecoder",
    "SharedDecoder",
    "SkipDecoder",
]
