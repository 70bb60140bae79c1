"""Predictors over joint codes."""

from unmask_multimodal.predictors.cross_decoder import CrossDecoder
from unmask_multimodal.predictors.skip_decoder import SkipDecoder

__all__ = ["CrossDecoder", "SkipDecoder"]
