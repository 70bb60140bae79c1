"""Any folder of point clouds and surfaces, whatever their kinds and sizes, damaged ones included."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any, Literal

from unmask.data import find_files
from unmask_pointcloud.data.clouds import Source
from unmask_pointcloud.data.module import PointCloudData, Sources
from unmask_pointcloud.data.reading import EXTENSIONS, SCANS, read_file
from unmask_pointcloud.data.report import BESIDE, SEEN


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
        super().__init__(**shared)
        if labels not in ("folder", None):
            raise ValueError(f"`labels` must be 'folder' or None, but is {labels!r}.")
        unknown = [ending for ending in extensions if ending not in EXTENSIONS]
        if unknown:
            raise ValueError(f"`extensions` must be among {', '.join(EXTENSIONS)}, but has {unknown[0]!r}.")
        self.folder = folder
        self.val_folder = val_folder
        self.labels = labels
        self.extensions = extensions

    def sources(self) -> Sources:
        findings = self.report.findings
        options = [name for name in ("folder", "val_folder") if getattr(self, name) is not None]
        folders = [Path(getattr(self, name)).expanduser() for name in options]
        found = [self._files(folder, option) for folder, option in zip(folders, options, strict=True)]
        pairs = [[(path, _class(path, folder)) for path in own] for own, folder in zip(found, folders, strict=True)]
        words = {word for own in pairs for _, word in own}
        classes = sorted(words) if self.labels is not None and all(words) else []
        for own, folder in zip(pairs, folders, strict=True):
            for path, word in own:
                beside = self.labels is not None and len(words) > 1 and not word
                findings.note(BESIDE, path.relative_to(folder).as_posix(), int(beside))
        trained_on = {path.resolve() for path in found[0]}
        for path in (path for part in found[1:] for path in part):
            findings.note(SEEN, path.relative_to(folders[1]).as_posix(), int(path.resolve() in trained_on))
        parts = [
            [
                Source(
                    str(path.relative_to(folder)),
                    partial(read_file, path, self.channels, self.stored_points),
                    classes.index(word) if classes else None,
                )
                for path, word in own
            ]
            for own, folder in zip(pairs, folders, strict=True)
        ]
        return Sources(parts[0], parts[1] if len(parts) > 1 else None, classes)

    def _files(self, folder: Path, option: str) -> list[Path]:
        files = find_files(folder, self.extensions, self.report.findings, "point clouds", option)
        scans = [path for path in files if path.suffix.lower() in SCANS]
        if scans and importlib.util.find_spec("laspy") is None:
            raise ValueError(
                f"`{option}` must hold no LAS files where laspy is not installed, but has {scans[0].name}; "
                "`pip install 'unmask-pointcloud[las]'`, or leave '.las' and '.laz' out of `extensions`."
            )
        return files


def _class(path: Path, root: Path) -> str:
    """The first folder below ``root`` on the way to ``path``; empty when it lies in ``root`` itself."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""
