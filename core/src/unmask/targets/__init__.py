"""Targets: what should be predicted."""

from unmask.targets.clusters import ClusterIds
from unmask.targets.decoder_teacher import DecoderTeacher
from unmask.targets.ema_teacher import EMATeacher
from unmask.targets.frozen_teacher import FrozenTeacher
from unmask.targets.given import GivenTarget
from unmask.targets.labels import LabelTarget
from unmask.targets.neighbour_teacher import NeighbourTeacher
from unmask.targets.own_codes import OwnCodeTarget
from unmask.targets.place_ids import PlaceIds
from unmask.targets.prototype_teacher import PrototypeTeacher
from unmask.targets.staged_teacher import StagedTeacher
from unmask.targets.teacher import Teacher
from unmask.targets.values import ValueTarget

__all__ = [
    "ClusterIds",
    "DecoderTeacher",
    "EMATeacher",
    "FrozenTeacher",
    "GivenTarget",
    "LabelTarget",
    "NeighbourTeacher",
    "OwnCodeTarget",
    "PlaceIds",
    "PrototypeTeacher",
    "StagedTeacher",
    "Teacher",
    "ValueTarget",
]
