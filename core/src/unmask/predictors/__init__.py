"""Predictors: answers at the asked places."""

from unmask.predictors.cross_attention import CrossAttentionPredictor
from unmask.predictors.linear import LinearPredictor
from unmask.predictors.mlp import MLPPredictor
from unmask.predictors.pooled import PooledPredictor
from unmask.predictors.transformer import TransformerPredictor

__all__ = ["CrossAttentionPredictor", "LinearPredictor", "MLPPredictor", "PooledPredictor", "TransformerPredictor"]
