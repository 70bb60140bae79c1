"""Images in chunks that ``litdata.optimize`` has written, in a folder or behind a URL."""

from __future__ import annotations

from typing import Any

from unmask.data import LitChunks
from unmask_vision.data.augment import Size, shorter_side
from unmask_vision.data.module import ImageData

KINDS = ("jpeg", "image", "pil", "tifffile")
"""LitData's formats of images."""
TAKES = (*KINDS, "file", "bytes", "numpy", "tensor")


class LitImagesData(ImageData):
    """Images ``[channels, height, width]`` of one column: files, images of PIL, arrays as of a ``.npy``, or tensors.

    Args:
        path: a folder that ``litdata.optimize`` has written, or its URL, as fsspec knows it (``s3://...``). Chunks must
            be neither compressed nor encrypted.
        val_path: likewise, to validate and score on; None: a fixed random part of ``path``.
        image_column: a key of the items, or a number where they are tuples; None: the first column of images, else the
            only one of files.
        label_column: whole numbers, truths or words for classes; real numbers for regression; arrays of whole numbers
            for several classes at once. None: ``label`` or ``labels``, if there is one and ``path`` is a folder.
        window: chunks whose images are mixed in an epoch, at least 1; of as many or more than there are, the order is
            as if images lay in a folder.
        cache_folder: for chunks that are fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        cache_gb: of fetched chunks that are kept, at least twice ``window`` of them; in 2^30 bytes.

    Raises:
        ValueError: in `setup`, no such chunks, an index that cannot be right, a column that is not there or pickled, or
            `litdata` is not installed; also as `ImageData`.

    Further arguments are those of `ImageData`.
    """

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        image_size: Size | None = 224,
        channels: int = 3,
        crop_scale: tuple[float, float] = (0.2, 1.0),
        image_column: str | None = None,
        label_column: str | None = None,
        window: int = 8,
        cache_folder: str | None = None,
        cache_gb: float = 20.0,
        **shared: Any,
    ) -> None:
        source = LitChunks(
            path, val_path, column=image_column, label_column=label_column, kinds=KINDS, takes=TAKES,
            item=self.item, option="image_column", needed_by="vision.litdata", window=window, cache_folder=cache_folder,
            cache_gb=cache_gb,
        )  # fmt: skip
        super().__init__(source=source, image_size=image_size, channels=channels, crop_scale=crop_scale, **shared)
        self.around = None if image_size is None else shorter_side(image_size, crop_scale)
