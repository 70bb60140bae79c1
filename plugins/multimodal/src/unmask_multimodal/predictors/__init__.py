"""Predictors over joint codes."""

from unmask_multimodal.predictors.cross_decoder import CrossDecoder

__all__ = ["CrossDecoder"]
