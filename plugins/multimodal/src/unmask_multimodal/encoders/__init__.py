"""Encoders over several parts."""

from unmask_multimodal.encoders.joint import JointEncoder
from unmask_multimodal.encoders.trunks import Bias, CrossTrunk, JointTrunk, Stream, Trunk
from unmask_multimodal.encoders.words import WordStem

__all__ = ["Bias", "CrossTrunk", "JointEncoder", "JointTrunk", "Stream", "Trunk", "WordStem"]
