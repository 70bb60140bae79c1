"""Methods over several modalities."""

from unmask_multimodal.methods.flip import FLIP
from unmask_multimodal.methods.hicmae import HiCMAE

__all__ = ["FLIP", "HiCMAE"]
