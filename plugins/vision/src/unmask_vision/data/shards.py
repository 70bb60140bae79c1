"""Images in shards, which ``unmask shard`` has written: more than a disk holds, in a folder or behind a URL."""

from __future__ import annotations

from typing import Any

from unmask.data import Shards
from unmask_vision.data.augment import Size, shorter_side
from unmask_vision.data.module import ImageData


class ImageShardsData(ImageData):
    """Images ``[channels, height, width]`` as files or arrays in the shards of a folder or URL.

    Sizes and depths are known by the index, so that a run's start reads no image. Parts, labels and groups are those of
    the data that the shards were made of.

    Args:
        shards: a folder, or a URL that fsspec knows (``s3://...``, ``https://...``), from where shards are fetched.
        window: shards whose images are mixed in an epoch, at least 1; of as many or more than there are, the order is
            as if images lay in a folder.
        cache_folder: for shards that are fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        cache_gb: of fetched shards that are kept, at least twice ``window`` of them; in 2^30 bytes.

    Raises:
        ValueError: in `setup`, no shards, such that cannot be right, or are of something else; also as `ImageData`.

    Further arguments are those of `ImageData`.
    """

    def __init__(
        self,
        shards: str,
        image_size: Size | None = 224,
        channels: int = 3,
        crop_scale: tuple[float, float] = (0.2, 1.0),
        window: int = 8,
        cache_folder: str | None = None,
        cache_gb: float = 20.0,
        **shared: Any,
    ) -> None:
        source = Shards(shards, self.item, window, cache_folder, cache_gb, self.facts)
        super().__init__(source=source, image_size=image_size, channels=channels, crop_scale=crop_scale, **shared)
        self.around = None if image_size is None else shorter_side(image_size, crop_scale)
