"""Regions: features of things in a picture that a detector found, given as values with boxes."""

from unmask_multimodal.regions.answers import AnswerHead
from unmask_multimodal.regions.encoder import RegionEncoder
from unmask_multimodal.regions.loss import DistributionLoss, OverAllPlaces
from unmask_multimodal.regions.tied import TiedFeatures
from unmask_multimodal.regions.tokenizer import RegionTokenizer

__all__ = ["AnswerHead", "DistributionLoss", "OverAllPlaces", "RegionEncoder", "RegionTokenizer", "TiedFeatures"]
