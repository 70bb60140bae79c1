"""Predictors: answers at the asked places."""

from unmask.predictors.cross_attention import CrossAttentionPredictor
from unmask.predictors.linear import LinearPredictor
from unmask.predictors.transformer import TransformerPredictor
from unmask.predictors.whole import WholePredictor

__all__ = ["CrossAttentionPredictor", "LinearPredictor", "TransformerPredictor", "WholePredictor"]
