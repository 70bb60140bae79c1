"""Predictors: answers at the asked places."""

from unmask.predictors.crate import CRATEPredictor
from unmask.predictors.cross_attention import CrossAttentionPredictor
from unmask.predictors.linear import LinearPredictor
from unmask.predictors.mlp import MLPPredictor
from unmask.predictors.transformer import TransformerPredictor

__all__ = ["CRATEPredictor", "CrossAttentionPredictor", "LinearPredictor", "MLPPredictor", "TransformerPredictor"]
