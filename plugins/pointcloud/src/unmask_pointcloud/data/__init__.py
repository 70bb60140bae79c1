"""Where point clouds come from: a data module for each kind of source, and `PointCloudData` for any other."""

from unmask_pointcloud.data.files import PointCloudFilesData
from unmask_pointcloud.data.module import PointCloudData
from unmask_pointcloud.data.npz import NpzCloudsData
from unmask_pointcloud.data.shards import PointCloudShardsData
from unmask_pointcloud.data.solids import SolidsData

__all__ = ["NpzCloudsData", "PointCloudData", "PointCloudFilesData", "PointCloudShardsData", "SolidsData"]
