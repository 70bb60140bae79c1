"""Arrays of images as a data module: no folder of files, and no Python."""

from __future__ import annotations

from typing import Any, Literal

from unmask.api import at_least
from unmask.data import TableFormat
from unmask_vision.data.array_source import ArraySource
from unmask_vision.data.array_table import ArrayTable
from unmask_vision.data.augment import Size
from unmask_vision.data.module import ImageData


class ArraysData(ImageData):
    """Images ``[channels, height, width]`` of an array ``[n, H, W]``, ``[n, H, W, C]`` or ``[n, C, H, W]`` in a file:
    ``.npy``, ``.npz``, IDX (``.gz`` too) or HDF5.

    Args:
        images: the file. ``.npy``, plain IDX and HDF5 are read image by image, so they may be larger than the memory.
        labels: a file of labels, one for each image, of the same kinds: whole numbers or words are classes, real
            numbers are numbers, rows are several numbers. None: those that ``images`` holds under a usual name, if any.
        image_key: the images' name in a ``.npz`` or HDF5 file; None: the only array of images, or one of a usual name.
        label_key: the labels' name; None: one of a usual name, such as ``labels`` or ``y``.
        val_images: another such file, for validation; None: a fixed random part of ``images``.
        val_labels: its labels.
        table: a CSV, TSV, JSON or Parquet file of labels, as `unmask.data.tables` reads them, with a row for each image
            in their order; in place of ``labels``.
        val_table: such a table of ``val_images``; None: where there is an ``id_key``, ``table`` tells of both, and else
            ``val_images`` have no labels.
        id_column: a column by which rows are found, so that they may have another order; None: rows are in order.
        id_key: the name in ``images`` of an array of what that column holds; None: it holds the images' numbers from 0.
        label_column: a column of labels, or several columns, of which ``label_kind`` makes one label.
        group_column: a column that becomes a key of the samples, for ``unmask probe --groups``; None: none does.
        label_kind: what labels of the table are taken for, see `unmask.data.labels`: ``class``, ``multi-label``,
            ``number`` or ``numbers``.
        label_separator: between several labels; None: the first of comma, semicolon and bar that there is.
        table_format: how the table is written, where the rules of `unmask.data.tables` do not fit.

    Raises:
        ValueError: labels both in an array and in a table, or an option that nothing reads; in `setup`, a file that is
            missing or of another kind, a name that it lacks, not as many labels as images, or a table that does not
            fit; also as `ImageData`.

    Further arguments are those of `ImageData`.
    """

    def __init__(
        self,
        images: str,
        labels: str | None = None,
        image_key: str | None = None,
        label_key: str | None = None,
        val_images: str | None = None,
        val_labels: str | None = None,
        table: str | None = None,
        val_table: str | None = None,
        id_column: str | None = None,
        id_key: str | None = None,
        label_column: str | list[str] = "label",
        group_column: str | None = None,
        label_kind: Literal["class", "multi-label", "number", "numbers"] = "class",
        label_separator: str | None = None,
        table_format: TableFormat | None = None,
        image_size: Size = 224,
        channels: int = 3,
        augment: Literal["crop-flip", "none"] = "crop-flip",
        **shared: Any,
    ) -> None:
        at_least(1, channels=channels)
        told = ArrayTable(
            table, val_table, id_column, id_key, label_column, group_column, label_kind, label_separator, table_format
        )
        source = ArraySource(images, labels, image_key, label_key, val_images, val_labels, channels, told)
        super().__init__(source=source, image_size=image_size, channels=channels, augment=augment, **shared)
