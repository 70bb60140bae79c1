"""Image encoders: timm's models behind core's `Encoder`, and any other network that makes maps of features."""

from unmask_vision.encoders.codebook import CodeEncoder, DVAEEncoder, VQEncoder
from unmask_vision.encoders.crate import CRATEEncoder
from unmask_vision.encoders.hiera import HieraEncoder
from unmask_vision.encoders.layer_masking import LayerMasked
from unmask_vision.encoders.maps import CNNEncoder, MapEncoder, ModuleEncoder
from unmask_vision.encoders.mixed import MixedEncoder
from unmask_vision.encoders.patchwise import PatchwiseEncoder
from unmask_vision.encoders.scan import ScanEncoder
from unmask_vision.encoders.swin import SwinV2Encoder
from unmask_vision.encoders.swin_ir import SwinIREncoder
from unmask_vision.encoders.vit import ViTEncoder

__all__ = [
    "PatchwiseEncoder",
    "CNNEncoder",
    "CRATEEncoder",
    "CodeEncoder",
    "DVAEEncoder",
    "HieraEncoder",
    "LayerMasked",
    "MapEncoder",
    "MixedEncoder",
    "ModuleEncoder",
    "ScanEncoder",
    "SwinIREncoder",
    "SwinV2Encoder",
    "VQEncoder",
    "ViTEncoder",
]
