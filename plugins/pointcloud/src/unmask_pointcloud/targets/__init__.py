"""Targets of hidden patches."""

from unmask_pointcloud.targets.codes import CodeTarget
from unmask_pointcloud.targets.geometry import CentroidTarget, CurvatureTarget, NormalTarget, OccupancyTarget
from unmask_pointcloud.targets.points import PointTarget

__all__ = ["CentroidTarget", "CodeTarget", "CurvatureTarget", "NormalTarget", "OccupancyTarget", "PointTarget"]
