"""Methods over several modalities."""

from unmask_multimodal.methods.flip import FLIP
from unmask_multimodal.methods.four_m import FourM
from unmask_multimodal.methods.hicmae import HiCMAE
from unmask_multimodal.methods.m3ae import M3AE
from unmask_multimodal.methods.multimae import MultiMAE

__all__ = ["FLIP", "FourM", "HiCMAE", "M3AE", "MultiMAE"]
