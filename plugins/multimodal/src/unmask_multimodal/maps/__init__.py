"""Maps aligned with an image: depth in robust units, classes of pixels, and ids of trained codes."""

from unmask_multimodal.maps.codes import CodesTokenizer, IdStem, IdTarget
from unmask_multimodal.maps.depth import DepthTokenizer
from unmask_multimodal.maps.labels import LabelMapLoss, LabelMapStem, LabelMapTarget, LabelMapTokenizer

__all__ = [
    "CodesTokenizer",
    "DepthTokenizer",
    "IdStem",
    "IdTarget",
    "LabelMapLoss",
    "LabelMapStem",
    "LabelMapTarget",
    "LabelMapTokenizer",
]
