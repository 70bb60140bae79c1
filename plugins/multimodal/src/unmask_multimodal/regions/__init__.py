"""Regions: features of things in a picture that a detector found, given as values with boxes."""

from unmask_multimodal.regions.answers import AnswerHead
from unmask_multimodal.regions.encoder import RegionEncoder
from unmask_multimodal.regions.loss import OverAllPlaces
from unmask_multimodal.regions.tokenizer import RegionTokenizer

__all__ = ["AnswerHead", "OverAllPlaces", "RegionEncoder", "RegionTokenizer"]
