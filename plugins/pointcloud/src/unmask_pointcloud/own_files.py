"""Which files this plugin trains on when a folder alone is given."""

from __future__ import annotations

from unmask.data import OwnFiles
from unmask_pointcloud.data.reading import EXTENSIONS


class Clouds(OwnFiles):
    """Point clouds, by `pointcloud/point-mae-files`."""

    what = "point clouds"
    endings = EXTENSIONS
    recipe = "pointcloud/point-mae-files"
