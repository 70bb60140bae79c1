"""Files that trimesh reads: points as they are, or points spread evenly over a surface."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from unmask import seeds
from unmask.data import Unreadable
from unmask_pointcloud.data.clouds import Cloud
from unmask_pointcloud.data.columns import LABELS, cloud_of, named, of_columns, to_unit

logging.getLogger("trimesh").addHandler(logging.NullHandler())  # else damaged files print its tracebacks


def read_surface(path: Path, channels: Sequence[str], num_points: int | None) -> Cloud:
    """Of a file with faces ``num_points`` drawn by area, the same ones each time; None: as many as it has corners.

    A point of a surface has its face's normal. Colours and classes of corners become those of the points.

    Raises:
        Unreadable: no points, a surface without an area, or a channel that it lacks.
    """
    mesh: Any = trimesh.load(path, process=False, maintain_order=True)
    if isinstance(mesh, trimesh.Scene):
        mesh = _joined(mesh)
    if not hasattr(mesh, "vertices") or not len(mesh.vertices):
        raise Unreadable("it has no points")
    if not len(getattr(mesh, "faces", ())):
        return _of_points(mesh, channels)
    if not np.isfinite(mesh.vertices).all():
        raise Unreadable("a surface with corners that are not finite")
    if not mesh.area > 0:
        raise Unreadable("a surface without an area")
    columns = _columns(mesh)
    own = named("rgb", columns)
    if "rgb" in channels and own is not None and len(own) == 3:  # by more names than trimesh knows, and in 16 bits
        colours, _ = to_unit(np.stack([columns[name] for name in own], 1))
        mesh.visual.vertex_colors = np.round(255 * colours).astype(np.uint8)
    coloured = "rgb" in channels and mesh.visual.defined
    seed = seeds.mix("surface", path.name)
    many = len(mesh.vertices) if num_points is None else num_points
    places, faces, *more = trimesh.sample.sample_surface(mesh, many, sample_color=coloured, seed=seed)
    found = {"normals": mesh.face_normals[faces]}
    if coloured:
        found["rgb"] = more[0][:, :3]
    label = next((columns[name] for name in LABELS if name in columns), None)
    return cloud_of(places, found, channels, label=None if label is None else _nearest(mesh, places, faces, label))


def _joined(scene: trimesh.Scene) -> Any:
    """The surfaces of a scene as one; where it has none, its points."""
    surface = scene.to_mesh()
    if len(surface.vertices):
        return surface
    clouds = [one for one in scene.dump() if isinstance(one, trimesh.PointCloud)]
    if not clouds:
        raise Unreadable("it has no points")
    colours = [np.asarray(one.colors) for one in clouds]
    whole = all(len(colour) == len(one.vertices) for colour, one in zip(colours, clouds, strict=True))
    places = np.concatenate([one.vertices for one in clouds])
    return trimesh.PointCloud(places, colors=np.concatenate(colours) if whole else None)


def _of_points(cloud: Any, channels: Sequence[str]) -> Cloud:
    """Points without faces; of PLY files also what other columns say, which trimesh keeps as it found it."""
    columns = _columns(cloud)
    if columns:
        return of_columns(columns | dict(zip("xyz", np.asarray(cloud.vertices).T, strict=True)), channels)
    colours = getattr(cloud, "colors", None)
    found = {"rgb": np.asarray(colours)[:, :3]} if colours is not None and len(colours) == len(cloud.vertices) else {}
    return cloud_of(np.asarray(cloud.vertices), found, channels)


def _columns(mesh: Any) -> dict[str, np.ndarray]:
    """Properties of a PLY file's corners ``[n]`` by name, in lower case; none of another file."""
    raw = mesh.metadata.get("_ply_raw", {}).get("vertex", {})
    found = {name.lower(): np.asarray(raw["data"][name]) for name in raw.get("properties", {})}
    return {name: values.ravel() for name, values in found.items() if values.size == len(mesh.vertices)}


def _nearest(mesh: Any, places: np.ndarray, faces: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each point the value of the nearest corner of its face."""
    corners = mesh.faces[faces]  # [n, 3]
    distance = np.linalg.norm(mesh.vertices[corners] - places[:, None], axis=2)
    return values[corners[np.arange(len(corners)), distance.argmin(1)]]
