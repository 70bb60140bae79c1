"""Methods over several modalities."""

from unmask_multimodal.methods.flava import FLAVA
from unmask_multimodal.methods.flip import FLIP

__all__ = ["FLAVA", "FLIP"]
