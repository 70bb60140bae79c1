"""Predictors over joint codes."""

from unmask_multimodal.predictors.cross_decoder import CrossDecoder
from unmask_multimodal.predictors.shared_decoder import SharedDecoder

__all__ = ["CrossDecoder", "SharedDecoder"]
