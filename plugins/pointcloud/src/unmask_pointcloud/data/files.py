"""Any folder of point clouds and surfaces, whatever their kinds and sizes, damaged ones included."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

from unmask.data import File, Findings, FolderSource, TableFormat
from unmask_pointcloud.data.module import PointCloudData
from unmask_pointcloud.data.reading import EXTENSIONS, SCANS


class PointCloudFilesData(PointCloudData):
    """Clouds from a folder and all folders below it: PLY, OBJ, OFF, STL, GLB, XYZ, NPY, NPZ, and LAS with laspy.

    How kinds of files become points and channels is said in `unmask_pointcloud.data.reading`, which files of a folder
    count in `unmask.data.folders`. On surfaces, ``stored_points`` are drawn evenly by area. Files that cannot be used
    are left out, counted and named.

    Args:
        folder: the folder.
        val_folder: another folder, for validation; None: a fixed random part of ``folder``.
        labels: ``folder``: the class is the first folder below ``folder``, when every file lies in one; ``pattern``;
            ``table``; None: no labels. Files that the pattern or table says nothing of, or nothing but blanks, have
            none.
        pattern: a regular expression, searched for in a file's path below ``folder``, with a named group ``label``;
            other named groups become keys of the samples, for ``unmask probe --groups``.
        table: a CSV, TSV, JSON or Parquet file, as `unmask.data.tables` reads them, with a row for each file, found as
            `unmask.data.file_table` tells.
        file_column: its column of files: names, paths below ``folder``, or longer ones; with or without ending.
        label_column: its column of labels, or several columns, of which ``label_kind`` makes one label.
        group_column: a column that becomes a key of the samples, likewise; None: none does.
        label_kind: what labels are taken for, see `unmask.data.labels`: ``class``, ``multi-label``, ``number`` or
            ``numbers``.
        label_separator: between several labels; None: the first of comma, semicolon and bar that there is.
        table_format: how the table is written, where the rules of `unmask.data.tables` do not fit.
        extensions: endings of files, in lower case; other files are left out, counted and named.

    Raises:
        ValueError: in `setup`, a missing or empty folder, LAS files without laspy; also as `PointCloudData`.

    Further arguments are those of `PointCloudData`.
    """

    def __init__(
        self,
        folder: str,
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
        extensions: tuple[str, ...] = EXTENSIONS,
        **shared: Any,
    ) -> None:
        unknown = [ending for ending in extensions if ending not in EXTENSIONS]
        if unknown:
            raise ValueError(f"`extensions` must be among {', '.join(EXTENSIONS)}, but has {unknown[0]!r}.")
        source = CloudFolder(
            folder, extensions, val_folder, labels=labels, pattern=pattern, table=table, file_column=file_column,
            label_column=label_column, group_column=group_column, label_kind=label_kind,
            label_separator=label_separator, table_format=table_format,
        )  # fmt: skip
        super().__init__(source=source, **shared)


@dataclass
class CloudFolder(FolderSource):
    """Those files; LAS files are refused where nothing reads them."""

    endings: tuple[str, ...] = EXTENSIONS
    by_value: bool = False
    what: str = "point clouds"

    def files(self, option: str, folder: str, findings: Findings) -> list[File]:
        files = super().files(option, folder, findings)
        scans = [path for path, _ in files if path.suffix.lower() in SCANS]
        if scans and importlib.util.find_spec("laspy") is None:
            raise ValueError(
                f"`{option}` must hold no LAS files where laspy is not installed, but has {scans[0].name}; "
                "`pip install 'unmask-pointcloud[las]'`, or leave '.las' and '.laz' out of `extensions`."
            )
        return files
