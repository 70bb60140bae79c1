"""Any folder of point clouds and surfaces, whatever their kinds and sizes, damaged ones included."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from unmask.api import at_least, nearest, quoted
from unmask.data import File, Findings, FolderSource, TableFormat
from unmask_pointcloud.data.columns import checked
from unmask_pointcloud.data.crops import CropSource
from unmask_pointcloud.data.module import PointCloudData
from unmask_pointcloud.data.reading import EXTENSIONS, NAMELESS, ON_REQUEST, SCANS, read_file


class PointCloudFilesData(PointCloudData):
    """Clouds from a folder and all folders below it: PLY, PCD, OBJ, OFF, STL, GLB, text, NPY, NPZ, KITTI's, and LAS.

    How kinds of files become points, channels and classes of points is said in `unmask_pointcloud.data.reading`, which
    files of a folder count in `unmask.data.folders`. On surfaces, ``stored_points`` are drawn evenly by area. Files
    that cannot be used are left out, counted and named.

    Scans that are too large for a sample may be cut into crops; `unmask_pointcloud.data.crops` says how, and how a
    single scan is both trained and validated on. All points of a scan are read then, and of a surface as many as it has
    corners.

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
        extensions: endings of files, in lower case; other files are left out, counted and named. ``.csv`` counts only
            where it is among them.
        columns: names of all columns of files that do not tell them (text, NPY, NPZ, ``.bin``): ``[x, y, z, nx, ny, nz,
            label]``; ``_`` leaves a column out; None: x, y, z and ``channels``.
        crop_size: length of a crop along x and y, in the unit of the files; above 0. None: scans are not cut so.
        points_per_crop: most points of a crop, at least ``num_points``; None: scans are not cut so.

    Raises:
        ValueError: a value outside its range, ``columns`` without x, y, z or a channel, both ways to cut; in `setup`, a
            missing or empty folder, LAS files without laspy, ``columns`` where every file tells its own, a pattern or
            table that does not fit; also as `PointCloudData`.

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
        channels: tuple[str, ...] = (),
        columns: tuple[str, ...] | None = None,
        crop_size: float | None = None,
        points_per_crop: int | None = None,
        **shared: Any,
    ) -> None:
        known = (*EXTENSIONS, *ON_REQUEST)
        unknown = [ending for ending in extensions if ending not in known]
        if unknown:
            near = quoted(nearest(unknown[0], known) or known)
            raise ValueError(f"`extensions` must be among {', '.join(known)}, but has {unknown[0]!r}; nearest: {near}.")
        source = CloudFolder(
            folder, tuple(extensions), val_folder, labels=labels, pattern=pattern, table=table, file_column=file_column,
            label_column=label_column, group_column=group_column, label_kind=label_kind,
            label_separator=label_separator, table_format=table_format, columns=columns,
        )  # fmt: skip
        super().__init__(source=source, channels=channels, **shared)
        names = () if columns is None else checked(columns, self.channels)
        self.read = partial(read_file, channels=self.channels, num_points=self.stored_points, columns=names)
        if crop_size is None and points_per_crop is None:
            return
        if crop_size is not None and points_per_crop is not None:
            raise ValueError(
                "`crop_size` or `points_per_crop` must be None, for scans are cut in one way, but they are "
                f"{crop_size:g} and {points_per_crop:,}."
            )
        if crop_size is not None and not crop_size > 0:
            raise ValueError(f"`crop_size` must be above 0, but is {crop_size:g}.")
        if points_per_crop is not None:
            at_least(self.num_points, points_per_crop=points_per_crop)
        self.source = CropSource(
            source, partial(self.read, num_points=None), crop_size, points_per_crop, self.num_points,
            self.stored_points, self.val_ratio,
        )  # fmt: skip


@dataclass
class CloudFolder(FolderSource):
    """Those files; refused are LAS files where nothing reads them, and ``columns`` where every file tells its own."""

    endings: tuple[str, ...] = EXTENSIONS
    by_value: bool = False
    what: str = "point clouds"
    columns: tuple[str, ...] | None = None

    def files(self, option: str, folder: str, findings: Findings) -> list[File]:
        files = super().files(option, folder, findings)
        scans = [path for path, _ in files if path.suffix.lower() in SCANS]
        if scans and importlib.util.find_spec("laspy") is None:
            raise ValueError(
                f"`{option}` must hold no LAS files where laspy is not installed, but has {scans[0].name}; "
                "`pip install 'unmask-pointcloud[las]'`, or leave '.las' and '.laz' out of `extensions`."
            )
        if self.columns is not None and not any(path.suffix.lower() in NAMELESS for path, _ in files):
            raise ValueError(
                f"`columns` must be None where every file of `{option}` tells its own, as {files[0][0].name} does, but "
                f"is {list(self.columns)}."
            )
        return files
