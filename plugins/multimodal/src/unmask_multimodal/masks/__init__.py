"""Masks across parts."""

from unmask_multimodal.masks.budget import BudgetMask
from unmask_multimodal.masks.whole_part import OnePartMask, WholePartMask

__all__ = ["BudgetMask", "OnePartMask", "WholePartMask"]
