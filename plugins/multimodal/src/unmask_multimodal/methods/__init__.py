"""Methods over several modalities."""

from unmask_multimodal.methods.flip import FLIP
from unmask_multimodal.methods.multimae import MultiMAE

__all__ = ["FLIP", "MultiMAE"]
