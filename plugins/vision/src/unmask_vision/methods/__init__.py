"""Methods: paper defaults for the parts of `unmask.MaskedModel`, one file each."""

from unmask_vision.methods.a2mim import A2MIM
from unmask_vision.methods.att_mask import AttMask
from unmask_vision.methods.beit import BEiT
from unmask_vision.methods.cae import CAE
from unmask_vision.methods.crate_mae import CRATEMAE
from unmask_vision.methods.croco import CroCo
from unmask_vision.methods.croco_v2 import CroCoV2
from unmask_vision.methods.crop_mae import CropMAE
from unmask_vision.methods.cross_mae import CrossMAE
from unmask_vision.methods.data2vec import Data2Vec
from unmask_vision.methods.dbot import DBOT
from unmask_vision.methods.dmae import DMAE
from unmask_vision.methods.dmjd import DMJD
from unmask_vision.methods.dmt_jepa import DMTJEPA
from unmask_vision.methods.dtm import DTM
from unmask_vision.methods.dvae import DVAE, VQVAE
from unmask_vision.methods.fsfm import FSFM
from unmask_vision.methods.g2sd import G2SD
from unmask_vision.methods.gmml import GMML
from unmask_vision.methods.hpm import HPM
from unmask_vision.methods.hybrid_distill import HybridDistill
from unmask_vision.methods.ibot import IBOT
from unmask_vision.methods.ijepa import IJEPA
from unmask_vision.methods.lut import LUT
from unmask_vision.methods.mae import MAE
from unmask_vision.methods.mask_align import MaskAlign
from unmask_vision.methods.mask_distill import MaskDistill
from unmask_vision.methods.masked_denoising import MaskedDenoising
from unmask_vision.methods.maskfeat import MaskFeat
from unmask_vision.methods.mfm import MFM
from unmask_vision.methods.mixed_ae import MixedAE
from unmask_vision.methods.mmc import MMC
from unmask_vision.methods.mom import MoM
from unmask_vision.methods.mp3 import MP3
from unmask_vision.methods.mr_mae import MRMAE
from unmask_vision.methods.multi_task import MultiTask
from unmask_vision.methods.nerf_mae import NeRFMAE
from unmask_vision.methods.noise_masks import NoiseMasks
from unmask_vision.methods.seit_plus_plus import SeiTPlusPlus
from unmask_vision.methods.self_distill import SelfDistill
from unmask_vision.methods.selfie import Selfie
from unmask_vision.methods.simmim import SimMIM
from unmask_vision.methods.spark import SparK
from unmask_vision.methods.token_unify import TokenUnify
from unmask_vision.methods.uni4eye import Uni4Eye
from unmask_vision.methods.urfound import UrFound
from unmask_vision.methods.uta import UTA
from unmask_vision.methods.vit_linearizer import ViTLinearizer

__all__ = [
    "A2MIM",
    "AttMask",
    "BEiT",
    "CAE",
    "CRATEMAE",
    "CroCo",
    "CroCoV2",
    "CropMAE",
    "CrossMAE",
    "DBOT",
    "DMAE",
    "DMJD",
    "DMTJEPA",
    "DTM",
    "DVAE",
    "Data2Vec",
    "FSFM",
    "G2SD",
    "GMML",
    "HPM",
    "HybridDistill",
    "IBOT",
    "IJEPA",
    "LUT",
    "MAE",
    "MFM",
    "MMC",
    "MP3",
    "MRMAE",
    "MaskAlign",
    "MaskDistill",
    "MaskFeat",
    "MaskedDenoising",
    "MixedAE",
    "MoM",
    "MultiTask",
    "NeRFMAE",
    "NoiseMasks",
    "SeiTPlusPlus",
    "SelfDistill",
    "Selfie",
    "SimMIM",
    "SparK",
    "TokenUnify",
    "UTA",
    "Uni4Eye",
    "UrFound",
    "VQVAE",
    "ViTLinearizer",
]
