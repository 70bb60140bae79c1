"""Methods over several modalities."""

from unmask_multimodal.methods.flava import FLAVA
from unmask_multimodal.methods.flip import FLIP
from unmask_multimodal.methods.four_m import FourM
from unmask_multimodal.methods.hicmae import HiCMAE
from unmask_multimodal.methods.layoutlmv3 import LayoutLMv3
from unmask_multimodal.methods.lxmert import LXMERT
from unmask_multimodal.methods.m3ae import M3AE
from unmask_multimodal.methods.multimae import MultiMAE
from unmask_multimodal.methods.uniter import UNITER

__all__ = [
    "FLAVA",
    "FLIP",
    "FourM",
    "HiCMAE",
    "LXMERT",
    "LayoutLMv3",
    "M3AE",
    "MultiMAE",
    "UNITER",
]
