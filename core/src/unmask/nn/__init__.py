"""Building blocks that encoders and predictors of any modality share."""

from unmask.nn.attention import attend, plain_is_quicker
from unmask.nn.gathered import of_all_devices
from unmask.nn.neighbours import Neighbourhood
from unmask.nn.positions import sincos
from unmask.nn.scan import Scan
from unmask.nn.transformer import Attention, Block, Mlp, Transformer, xavier

__all__ = [
    "Attention",
    "Block",
    "Mlp",
    "Neighbourhood",
    "Scan",
    "Transformer",
    "attend",
    "of_all_devices",
    "plain_is_quicker",
    "sincos",
    "xavier",
]
