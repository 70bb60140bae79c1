"""Methods over several modalities."""

from unmask_multimodal.methods.flip import FLIP
from unmask_multimodal.methods.hicmae import HiCMAE
from unmask_multimodal.methods.m3ae import M3AE
from unmask_multimodal.methods.multimae import MultiMAE

__all__ = ["FLIP", "HiCMAE", "M3AE", "MultiMAE"]
