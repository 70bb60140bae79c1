"""Building blocks that encoders and predictors of any modality share."""

from unmask.nn.attention import attend, plain_is_quicker
from unmask.nn.crate import ISTA, CRATEBlock, CRATEDecoderBlock, SubspaceAttention
from unmask.nn.cross import CrossBlock, LayerMixture
from unmask.nn.gathered import of_all_devices
from unmask.nn.grids import assembled, cell_side, cut
from unmask.nn.neighbours import Neighbourhood
from unmask.nn.positions import sincos
from unmask.nn.prototypes import Centre, PrototypeHead
from unmask.nn.rotary import rotary, turned
from unmask.nn.scan import Scan
from unmask.nn.transformer import Attention, Block, Mlp, Transformer, xavier

__all__ = [
    "CRATEBlock",
    "CRATEDecoderBlock",
    "Centre",
    "ISTA",
    "Attention",
    "Block",
    "CrossBlock",
    "LayerMixture",
    "Mlp",
    "PrototypeHead",
    "SubspaceAttention",
    "Neighbourhood",
    "Scan",
    "Transformer",
    "assembled",
    "attend",
    "cell_side",
    "cut",
    "of_all_devices",
    "plain_is_quicker",
    "rotary",
    "sincos",
    "turned",
    "xavier",
]
