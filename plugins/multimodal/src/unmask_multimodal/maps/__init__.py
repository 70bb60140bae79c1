"""Maps aligned with an image: depth in robust units, and classes of pixels."""

from unmask_multimodal.maps.depth import DepthTokenizer
from unmask_multimodal.maps.labels import LabelMapLoss, LabelMapStem, LabelMapTarget, LabelMapTokenizer

__all__ = ["DepthTokenizer", "LabelMapLoss", "LabelMapStem", "LabelMapTarget", "LabelMapTokenizer"]
