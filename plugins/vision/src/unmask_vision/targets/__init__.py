"""Targets that only images have."""

from unmask_vision.targets.codes import CodeTarget
from unmask_vision.targets.fine import FineTarget
from unmask_vision.targets.gradients import GradientTarget, sobel
from unmask_vision.targets.hog import HOGTarget
from unmask_vision.targets.map_target import MapTarget

__all__ = ["CodeTarget", "FineTarget", "GradientTarget", "HOGTarget", "MapTarget", "sobel"]
