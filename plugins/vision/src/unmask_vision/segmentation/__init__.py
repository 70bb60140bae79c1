"""Semantic segmentation of images: labels from mask files, codes of cells, the command ``unmask vision-segment``."""

from unmask_vision.segmentation.cellwise import Cellwise
from unmask_vision.segmentation.mask_labels import MaskLabels

__all__ = ["Cellwise", "MaskLabels"]
