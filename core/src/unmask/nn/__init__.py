"""Building blocks that encoders and predictors of any modality share."""

from unmask.nn.attention import attend, plain_is_quicker
from unmask.nn.positions import sincos
from unmask.nn.transformer import Attention, Block, Mlp, Transformer, xavier

__all__ = ["Attention", "Block", "Mlp", "Transformer", "attend", "plain_is_quicker", "sincos", "xavier"]
