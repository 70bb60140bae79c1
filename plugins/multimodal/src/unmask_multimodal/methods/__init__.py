"""Methods over several modalities."""

from unmask_multimodal.methods.flip import FLIP

__all__ = ["FLIP"]
