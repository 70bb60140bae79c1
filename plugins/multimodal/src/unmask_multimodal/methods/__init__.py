"""Methods over several modalities."""

from unmask_multimodal.methods.flip import FLIP
from unmask_multimodal.methods.four_m import FourM
from unmask_multimodal.methods.multimae import MultiMAE

__all__ = ["FLIP", "FourM", "MultiMAE"]
