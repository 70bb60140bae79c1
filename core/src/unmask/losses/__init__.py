"""Losses: how far answers are from targets, per asked place."""

from unmask.losses.binary_cross_entropy import BinaryCrossEntropyLoss
from unmask.losses.cosine import CosineLoss, DirectionL1Loss, ScaledCosineLoss
from unmask.losses.cross_entropy import CrossEntropyLoss
from unmask.losses.frequency import FocalFrequencyLoss, FrequencyLoss
from unmask.losses.info_nce import InfoNCELoss
from unmask.losses.morphed import MorphedLoss
from unmask.losses.prototypes import PrototypeLoss
from unmask.losses.regression import FocalL1Loss, L1Loss, MSELoss, SmoothL1Loss

__all__ = [
    "BinaryCrossEntropyLoss",
    "CosineLoss",
    "CrossEntropyLoss",
    "DirectionL1Loss",
    "FocalFrequencyLoss",
    "FocalL1Loss",
    "FrequencyLoss",
    "InfoNCELoss",
    "L1Loss",
    "MSELoss",
    "MorphedLoss",
    "PrototypeLoss",
    "ScaledCosineLoss",
    "SmoothL1Loss",
]
