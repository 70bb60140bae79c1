"""Where samples of several modalities come from."""

from unmask_multimodal.data.captioned_digits import CaptionedDigits
from unmask_multimodal.data.mapped_digits import MappedDigits
from unmask_multimodal.data.pages import Pages
from unmask_multimodal.data.rendered_solids import RenderedSolids
from unmask_multimodal.data.scenes import Scenes

__all__ = [
    "CaptionedDigits",
    "MappedDigits",
    "Pages",
    "RenderedSolids",
    "Scenes",
]
