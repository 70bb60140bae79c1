"""Pages: words that lie in boxes on a picture."""

from unmask_multimodal.layout.bias import LayoutBias
from unmask_multimodal.layout.stem import LayoutStem
from unmask_multimodal.layout.tokenizer import BoxTokenizer

__all__ = ["BoxTokenizer", "LayoutBias", "LayoutStem"]
