"""Any folder of point clouds and surfaces, whatever their kinds and sizes, damaged ones included."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

from unmask.data import File, Findings, FolderSource
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
        labels: ``folder``: the class is the first folder below ``folder``, when every file lies in one; None: no
            labels.
        extensions: endings of files, in lower case; other files are left out, counted and named.

    Raises:
        ValueError: in `setup`, a missing or empty folder, LAS files without laspy; also as `PointCloudData`.

    Further arguments are those of `PointCloudData`.
    """

    def __init__(
        self,
        folder: str,
        val_folder: str | None = None,
        labels: Literal["folder"] | None = "folder",
        extensions: tuple[str, ...] = EXTENSIONS,
        **shared: Any,
    ) -> None:
        if labels not in ("folder", None):
            raise ValueError(f"`labels` must be 'folder' or None, but is {labels!r}.")
        unknown = [ending for ending in extensions if ending not in EXTENSIONS]
        if unknown:
            raise ValueError(f"`extensions` must be among {', '.join(EXTENSIONS)}, but has {unknown[0]!r}.")
        super().__init__(source=CloudFolder(folder, extensions, val_folder, labels), **shared)


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
