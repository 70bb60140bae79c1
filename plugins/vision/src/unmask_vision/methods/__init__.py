"""Methods: paper defaults for the parts of `unmask.MaskedModel`, one file each."""

from unmask_vision.methods.crop_mae import CropMAE
from unmask_vision.methods.data2vec import Data2Vec
from unmask_vision.methods.dbot import DBOT
from unmask_vision.methods.dmae import DMAE
from unmask_vision.methods.dmt_jepa import DMTJEPA
from unmask_vision.methods.dtm import DTM
from unmask_vision.methods.g2sd import G2SD
from unmask_vision.methods.hpm import HPM
from unmask_vision.methods.hybrid_distill import HybridDistill
from unmask_vision.methods.ijepa import IJEPA
from unmask_vision.methods.lut import LUT
from unmask_vision.methods.mae import MAE
from unmask_vision.methods.mask_align import MaskAlign
from unmask_vision.methods.mask_distill import MaskDistill
from unmask_vision.methods.mr_mae import MRMAE
from unmask_vision.methods.self_distill import SelfDistill
from unmask_vision.methods.simmim import SimMIM
from unmask_vision.methods.vit_linearizer import ViTLinearizer

__all__ = [
    "CropMAE",
    "DBOT",
    "DMAE",
    "DMTJEPA",
    "DTM",
    "Data2Vec",
    "G2SD",
    "HPM",
    "HybridDistill",
    "IJEPA",
    "LUT",
    "MAE",
    "MRMAE",
    "MaskAlign",
    "MaskDistill",
    "SelfDistill",
    "SimMIM",
    "ViTLinearizer",
]
