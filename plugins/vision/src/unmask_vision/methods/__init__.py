"""Methods: paper defaults for the parts of `unmask.MaskedModel`, one file each."""

from unmask_vision.methods.ijepa import IJEPA
from unmask_vision.methods.mae import MAE
from unmask_vision.methods.simmim import SimMIM

__all__ = ["IJEPA", "MAE", "SimMIM"]
