"""Image encoders: timm's models behind core's `Encoder`."""

from unmask_vision.encoders.scan import ScanEncoder
from unmask_vision.encoders.swin import SwinV2Encoder
from unmask_vision.encoders.vit import ViTEncoder

__all__ = ["ScanEncoder", "SwinV2Encoder", "ViTEncoder"]
