"""PyG's data sets of point clouds and surfaces by name: ModelNet, ShapeNet, GeometricShapes, FAUST, ..."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unmask import seeds
from unmask.api import nearest, quoted
from unmask.data import Findings, Found, Item, Source, Unreadable, data_alone
from unmask_pointcloud.data.clouds import Cloud
from unmask_pointcloud.data.columns import cloud_of
from unmask_pointcloud.data.module import PointCloudData, numbered

FEATURES = "clouds have `x`, which is left out"
OTHER_Y = "clouds have a `y` that is no class number, which is left out"
"""What can be odd about a sample, in words."""


class PyGCloudsData(PointCloudData):
    """One of ``torch_geometric.datasets`` whose samples have ``pos``: `ModelNet`, `ShapeNet`, `GeometricShapes`, ...

    Where samples have ``face``, ``stored_points`` are drawn evenly on the surface; else ``pos`` are the points.
    ``label`` is ``category`` (ShapeNet) or ``y`` of one number; ``y`` of one number per point is ``part``. Normals are
    those of the surface, or ``x`` of three columns (ShapeNet). A data set with a ``train`` argument is validated and
    scored on what is not of it; one with a ``split``, trained on ``trainval`` or else ``train``, on ``test``.

    Args:
        name: of the class.
        root: folder where its files are, or are put.
        options: further arguments of the class: ``{name: "10"}`` for ModelNet10, ``{categories: [Chair]}``.
        download: whether files that are not in ``root`` may be fetched from the network.

    Raises:
        ValueError: in `setup`, no such data set, or files that are missing and may not be fetched, or
            torch-geometric is not installed; also as `PointCloudData`.

    Further arguments are those of `PointCloudData`.
    """

    def __init__(
        self,
        name: str,
        root: str,
        options: dict[str, Any] | None = None,
        download: bool = False,
        channels: tuple[str, ...] = (),
        stored_points: int = 8192,
        **shared: Any,
    ) -> None:
        source = PyGSource(name, root, options, download, channels, stored_points)
        super().__init__(source=source, channels=channels, stored_points=stored_points, **shared)


@dataclass
class PyGSource(Source):
    """Those samples as clouds, with ``num_points`` on each surface; other fields are options of `PyGCloudsData`."""

    name: str
    root: str
    options: dict[str, Any] | None = None
    download: bool = False
    channels: tuple[str, ...] = ()
    num_points: int = 8192

    def __post_init__(self) -> None:
        if not set(self.channels) <= {"normals"}:
            raise ValueError(f"`channels` of PyG's data sets must be `normals` or none, but are {list(self.channels)}.")

    def prepare(self) -> None:
        with data_alone(_safe()):  # PyG would run code that is in its files
            self._opened()

    def read(self, findings: Findings) -> Found:
        with data_alone(_safe()):
            opened = self._opened()
            train = self._items(opened[0], "train")
            val = None if opened[1] is None else self._items(opened[1], "test")
            names = getattr(opened[0], "categories", None) if "category" in opened[0][0] else None
        classes = numbered([*train, *(val or [])])
        return Found(train, val, list(names) if names and len(names) >= len(classes) else classes)

    def _items(self, dataset: Any, part: str) -> list[Item]:
        return [
            Item(
                f"{self.name} {part} {number}", partial(self._cloud, data, f"{part} {number}"), _label(data)
            )
            for number, data in enumerate(dataset)
        ]  # fmt: skip

    def _cloud(self, data: Any, name: str) -> Cloud:
        if data.pos is None:
            raise Unreadable("it has no `pos`")
        places, normals, part = np.asarray(data.pos, dtype=np.float64), None, None
        odd: tuple[str, ...] = ()
        if getattr(data, "face", None) is not None and data.face.shape[1]:
            import trimesh

            surface = trimesh.Trimesh(places, np.asarray(data.face).T, process=False)
            if not np.isfinite(places).all() or not surface.area > 0:
                raise Unreadable("a surface without an area, or with corners that are not finite")
            seed = seeds.mix("surface", name)
            places, faces = trimesh.sample.sample_surface(surface, self.num_points, seed=seed)
            normals = surface.face_normals[faces]
        else:
            if data.x is not None and data.x.shape == (len(places), 3):
                normals = np.asarray(data.x, dtype=np.float64)
            if data.x is not None and (normals is None or not self.channels):
                odd += (FEATURES,)
            if data.y is not None and data.y.numel() == len(places) > 1 and not data.y.is_floating_point():
                part = np.asarray(data.y).reshape(-1)
        if data.y is not None and part is None and _label(data) is None:
            odd += (OTHER_Y,)
        return cloud_of(places, {"normals": normals}, self.channels, odd)._replace(part=part)

    def _opened(self) -> tuple[Any, Any]:
        """Samples to train on, and to validate on where the data set says so."""
        try:
            import torch_geometric.datasets
        except ImportError as error:
            raise ValueError(
                "`pointcloud.pyg` needs torch-geometric, which is not installed: "
                "`pip install 'unmask-pointcloud[pyg]'`."
            ) from error
        known = {name for name in dir(torch_geometric.datasets) if name[0].isupper()}
        if self.name not in known:
            near = quoted(nearest(self.name, known) or sorted(known)[:3])
            raise ValueError(
                f"`name` must be a class of `torch_geometric.datasets`, but is {self.name!r}; nearest: {near}."
            )
        kind = getattr(torch_geometric.datasets, self.name)
        arguments = inspect.signature(kind.__init__).parameters
        if not self.download:
            kind = type(kind.__name__, (kind,), {"download": _refuse, "__module__": kind.__module__})
        try:
            open_part = partial(kind, str(Path(self.root).expanduser()), **(self.options or {}))
            if "train" in arguments:
                return open_part(train=True), open_part(train=False)
            if "split" in arguments:
                first = "trainval" if "trainval" in str(inspect.getdoc(kind) or "") else "train"
                return open_part(split=first), open_part(split="test")
            return open_part(), None
        except (TypeError, AssertionError) as error:  # some classes assert what they take
            told = f": {error}" if str(error) else ""
            raise ValueError(
                f"`options` must be arguments that `{self.name}` takes, but are {self.options or {}}{told}."
            ) from error


def _safe() -> list[type]:
    """What PyG's files hold beside tensors; none of it runs anything."""
    try:
        from torch_geometric.data import Data
        from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
        from torch_geometric.data.storage import BaseStorage, GlobalStorage
    except ImportError:  # `_opened` says so
        return []
    return [Data, DataEdgeAttr, DataTensorAttr, BaseStorage, GlobalStorage]


def _label(data: Any) -> int | None:
    """Class of a sample, where it has one."""
    category = getattr(data, "category", None)
    if category is not None and category.numel() == 1:
        return int(category)
    y = data.y
    return int(y) if y is not None and y.numel() == 1 and not y.is_floating_point() else None


def _refuse(self: Any) -> None:
    names = self.raw_file_names if isinstance(self.raw_file_names, list | tuple) else [self.raw_file_names]
    raise ValueError(
        f"`root` must hold the files of {type(self).__name__}, but {str(self.raw_dir)!r} lacks some of "
        f"{quoted(map(str, names))}; or set `download` to True."
    )
