"""Predictors: answers at the asked places."""

from unmask.predictors.at_layer import AtLayer
from unmask.predictors.attention_pooled import AttentionPooledPredictor
from unmask.predictors.crate import CRATEPredictor
from unmask.predictors.cross_attention import CrossAttentionPredictor
from unmask.predictors.linear import LinearPredictor
from unmask.predictors.mixture import MixturePredictor
from unmask.predictors.mlp import MLPPredictor
from unmask.predictors.neighbour_predictor import NeighbourPredictor
from unmask.predictors.pooled import PooledPredictor
from unmask.predictors.prototypes import PrototypePredictor
from unmask.predictors.regressor import RegressorPredictor
from unmask.predictors.transformed import TransformedPredictor
from unmask.predictors.transformer import TransformerPredictor
from unmask.predictors.whole import WholePredictor

__all__ = [
    "AtLayer",
    "AttentionPooledPredictor",
    "CRATEPredictor",
    "CrossAttentionPredictor",
    "LinearPredictor",
    "MLPPredictor",
    "MixturePredictor",
    "NeighbourPredictor",
    "PooledPredictor",
    "PrototypePredictor",
    "RegressorPredictor",
    "TransformedPredictor",
    "TransformerPredictor",
    "WholePredictor",
]
