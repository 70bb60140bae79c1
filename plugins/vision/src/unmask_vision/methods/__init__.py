"""Methods: paper defaults for the parts of `unmask.MaskedModel`, one file each."""

from unmask_vision.methods.crop_mae import CropMAE
from unmask_vision.methods.hpm import HPM
from unmask_vision.methods.ijepa import IJEPA
from unmask_vision.methods.mae import MAE
from unmask_vision.methods.mr_mae import MRMAE
from unmask_vision.methods.simmim import SimMIM
from unmask_vision.methods.spark import SparK

__all__ = ["HPM", "IJEPA", "MAE", "MRMAE", "CropMAE", "SimMIM", "SparK"]
