"""Methods: paper defaults for the parts of `unmask.MaskedModel`, one file each."""

from unmask_vision.methods.a2mim import A2MIM
from unmask_vision.methods.beit import BEiT
from unmask_vision.methods.crop_mae import CropMAE
from unmask_vision.methods.data2vec import Data2Vec
from unmask_vision.methods.dbot import DBOT
from unmask_vision.methods.dmae import DMAE
from unmask_vision.methods.dmjd import DMJD
from unmask_vision.methods.dvae import DVAE, VQVAE
from unmask_vision.methods.gmml import GMML
from unmask_vision.methods.hpm import HPM
from unmask_vision.methods.ijepa import IJEPA
from unmask_vision.methods.mae import MAE
from unmask_vision.methods.mask_distill import MaskDistill
from unmask_vision.methods.masked_denoising import MaskedDenoising
from unmask_vision.methods.maskfeat import MaskFeat
from unmask_vision.methods.mfm import MFM
from unmask_vision.methods.mixed_ae import MixedAE
from unmask_vision.methods.mr_mae import MRMAE
from unmask_vision.methods.noise_masks import NoiseMasks
from unmask_vision.methods.seit_plus_plus import SeiTPlusPlus
from unmask_vision.methods.simmim import SimMIM
from unmask_vision.methods.uni4eye import Uni4Eye
from unmask_vision.methods.urfound import UrFound

__all__ = [
    "Uni4Eye",
    "NoiseMasks",
    "UrFound",
    "SeiTPlusPlus",
    "MaskedDenoising",
    "A2MIM",
    "BEiT",
    "CropMAE",
    "DBOT",
    "DMAE",
    "DMJD",
    "DVAE",
    "Data2Vec",
    "GMML",
    "HPM",
    "IJEPA",
    "MAE",
    "MFM",
    "MRMAE",
    "MaskDistill",
    "MaskFeat",
    "MixedAE",
    "SimMIM",
    "VQVAE",
]
