"""Any folder of image files, whatever their kinds, sizes and channels, damaged ones included."""

from __future__ import annotations

from typing import Any, Literal

from unmask.api import at_least
from unmask.data import FolderSource, TableFormat
from unmask_vision.data.augment import Size, shorter_side
from unmask_vision.data.module import ImageData
from unmask_vision.data.reading import EXTENSIONS


class ImageFolderData(ImageData):
    """Images ``[channels, height, width]``, from a folder and all folders below it.

    Which files of a folder count is said in `unmask.data.folders`, and how they are read in `ImageData`.

    Args:
        folder: the folder.
        val_folder: another folder, for validation; None: a fixed random part of ``folder``.
        labels: ``folder``: the class is the first folder below ``folder``, when every image lies in one; ``pattern``;
            ``table``; None: no labels. Images that the pattern or table says nothing of, or nothing but blanks, have
            none.
        pattern: a regular expression, searched for in a file's path below ``folder``, with a named group ``label``;
            other named groups become keys of the samples, for ``unmask probe --groups``.
        table: a CSV, TSV, JSON or Parquet file, as `unmask.data.tables` reads them, with a row for each image, found as
            `unmask.data.file_table` tells.
        file_column: its column of files: names, paths below ``folder``, or longer ones; with or without ending.
        label_column: its column of labels, or several columns, of which ``label_kind`` makes one label.
        group_column: a column that becomes a key of the samples, for ``unmask probe --groups``; None: none does.
        label_kind: what labels are taken for, see `unmask.data.labels`: ``class``, ``multi-label``, ``number`` or
            ``numbers``.
        label_separator: between several labels; None: the first of comma, semicolon and bar that there is.
        table_format: how the table is written, where the rules of `unmask.data.tables` do not fit.
        on_unreadable: ``skip`` unreadable files, or ``stop`` with an error that names the first.
        extensions: endings of image files, in lower case; other files are ignored.
        max_pixels: images with more pixels (JPEG: after decoding at reduced size) are unreadable.

    Raises:
        ValueError: in `setup`, a missing or empty folder, an unreadable file when ``on_unreadable`` is ``stop``, a
            pattern or table that does not fit; also as `ImageData`.

    Further arguments are those of `ImageData`.
    """

    def __init__(
        self,
        folder: str,
        image_size: Size = 224,
        channels: int = 3,
        val_folder: str | None = None,
        labels: Literal["folder", "pattern", "table"] | None = "folder",
        pattern: str | None = None,
        table: str | None = None,
        file_column: str = "file",
        label_column: str | list[str] = "label",
        group_column: str | None = None,
        label_kind: Literal["class", "multi-label", "number", "numbers"] = "class",
        label_separator: str | None = None,
        table_format: TableFormat | None = None,
        crop_scale: tuple[float, float] = (0.2, 1.0),
        on_unreadable: Literal["skip", "stop"] = "skip",
        extensions: tuple[str, ...] = EXTENSIONS,
        max_pixels: int = 200_000_000,
        **shared: Any,
    ) -> None:
        at_least(1, max_pixels=max_pixels)
        if on_unreadable not in ("skip", "stop"):
            raise ValueError(f"`on_unreadable` must be 'skip' or 'stop', but is {on_unreadable!r}.")
        source = FolderSource(
            folder, extensions, val_folder, labels=labels, pattern=pattern, table=table, file_column=file_column,
            label_column=label_column, group_column=group_column, label_kind=label_kind,
            label_separator=label_separator, table_format=table_format, by_value=False, what="images",
        )  # fmt: skip
        super().__init__(source=source, image_size=image_size, channels=channels, crop_scale=crop_scale, **shared)
        self.on_unreadable = on_unreadable
        self.max_pixels = max_pixels
        self.around = shorter_side(image_size, crop_scale)
