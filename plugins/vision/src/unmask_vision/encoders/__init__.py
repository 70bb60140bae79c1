"""Image encoders: timm's models behind core's `Encoder`."""

from unmask_vision.encoders.codebook import CodeEncoder, DVAEEncoder, VQEncoder
from unmask_vision.encoders.mixed import MixedEncoder
from unmask_vision.encoders.swin import SwinV2Encoder
from unmask_vision.encoders.swin_ir import SwinIREncoder
from unmask_vision.encoders.vit import ViTEncoder

__all__ = ["CodeEncoder", "DVAEEncoder", "MixedEncoder", "SwinIREncoder", "SwinV2Encoder", "VQEncoder", "ViTEncoder"]
