"""Building blocks that encoders and predictors of any modality share."""

from unmask.nn.positions import sincos
from unmask.nn.transformer import Attention, Block, Mlp, Transformer

__all__ = ["Attention", "Block", "Mlp", "Transformer", "sincos"]
