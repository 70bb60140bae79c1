"""Clouds in shards, which ``unmask shard`` has written: more than the memory holds, in a folder or behind a URL."""

from __future__ import annotations

from typing import Any

from unmask.data import Shards
from unmask_pointcloud.data.module import PointCloudData


class PointCloudShardsData(PointCloudData):
    """Clouds as arrays in the shards of a folder or URL, with the channels that they were written with.

    Numbers of points are known by the index; a cloud is read when it is asked for, and none is kept in memory. Parts,
    labels and groups are those of the data that the shards were made of.

    Args:
        shards: a folder, or a URL that fsspec knows (``s3://...``, ``https://...``), from where shards are fetched.
        window: shards whose clouds are mixed in an epoch, at least 1; of as many or more than there are, the order is
            as if clouds lay in a folder.
        cache_folder: for shards that are fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        cache_gb: of fetched shards that are kept, at least twice ``window`` of them; in 2^30 bytes.

    Raises:
        ValueError: in `setup`, no shards, such that cannot be right, or are of something else; also as
            `PointCloudData`.

    Further arguments are those of `PointCloudData`.
    """

    def __init__(
        self,
        shards: str,
        window: int = 8,
        cache_folder: str | None = None,
        cache_gb: float = 20.0,
        **shared: Any,
    ) -> None:
        super().__init__(source=Shards(shards, self.item, window, cache_folder, cache_gb, self.facts), **shared)
