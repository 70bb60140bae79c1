"""Points on solids that are built by rule: synthetic clouds of twelve kinds that need no download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import trimesh
from trimesh import Trimesh
from trimesh.creation import annulus, capsule, cone, cylinder, icosphere, torus

from unmask.data import Findings, Found, Item, Source
from unmask_pointcloud.data.clouds import Cloud
from unmask_pointcloud.data.module import PointCloudData

PARTS = ("level", "upright", "curved")
"""Classes of points: on a flat level face, on another flat face, on a curved one."""
VARIANTS = 16
"""Shapes of a kind, each stretched anew for every solid."""
STRETCH = (0.5, 1.5)
"""Least and greatest factor along each axis."""
NOISE = 0.005
"""Standard deviation of places, as a share of the solid's size."""


class SolidsData(PointCloudData):
    """Solids of twelve kinds in equal numbers, stretched along each axis and turned about the vertical, y.

    Points are spread evenly over the surface with a little noise. ``label`` is the kind (`KINDS`), ``part`` what a
    point lies on (`PARTS`). They are synthetic: good for trying out, not for comparing methods.

    Args:
        num_solids: of all kinds together, at least 24.
        seed: of shapes and points.

    Raises:
        ValueError: a value outside its range, or channels other than ``normals``.

    Further arguments are those of `PointCloudData`; of each solid ``stored_points`` are drawn.
    """

    sample_name = "solids"

    def __init__(
        self,
        num_solids: int = 1200,
        seed: int = 0,
        channels: tuple[str, ...] = (),
        stored_points: int = 2048,
        val_ratio: float = 0.2,
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        source = SolidsSource(num_solids, seed, channels, stored_points)
        super().__init__(
            source=source, channels=channels, stored_points=stored_points, val_ratio=val_ratio, num_workers=num_workers,
            **shared,
        )  # fmt: skip


@dataclass
class SolidsSource(Source):
    """Those solids, ``num_points`` of each; other fields are options of `SolidsData`."""

    kind = "synthetic solids"

    num_solids: int = 1200
    seed: int = 0
    channels: tuple[str, ...] = ()
    num_points: int = 2048

    def __post_init__(self) -> None:
        if self.num_solids < 2 * len(KINDS):
            raise ValueError(f"`num_solids` must be at least {2 * len(KINDS)}, but is {self.num_solids}.")
        if not set(self.channels) <= {"normals"}:
            raise ValueError(f"`channels` of solids must be `normals` or none, but are {list(self.channels)}.")

    def read(self, findings: Findings) -> Found:
        solids = (Item(f"solid {n}", partial(self.solid, n), n % len(KINDS)) for n in range(self.num_solids))
        return Found(list(solids), classes=list(KINDS))

    def solid(self, number: int) -> Cloud:
        """One of them."""
        rng = np.random.default_rng([self.seed, number])
        shape, curved = _shape(list(KINDS)[number % len(KINDS)], int(rng.integers(VARIANTS)))
        solid = Trimesh(shape.vertices * rng.uniform(*STRETCH, 3), shape.faces, process=False)
        places, faces = trimesh.sample.sample_surface(solid, self.num_points, seed=rng)
        normals = solid.face_normals[faces]
        part = np.where(curved[faces], 2, np.where(np.abs(normals[:, 1]) > 0.999, 0, 1))
        places = places + NOISE * np.ptp(places, axis=0).max() * rng.standard_normal(places.shape)
        angle = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        columns = [places @ turn.T, *([normals @ turn.T] if self.channels else [])]
        return Cloud(np.concatenate(columns, axis=1), part)


def _boxes(*boxes: tuple[float, ...]) -> Trimesh:
    """Boxes of a middle ``x, y, z`` and of sides ``a, b, c``, with y upwards, as one."""
    made = [trimesh.creation.box(extents=box[3:]) for box in boxes]
    for mesh, box in zip(made, boxes, strict=True):
        mesh.apply_translation(box[:3])
    whole = trimesh.util.concatenate(made)
    assert isinstance(whole, Trimesh)
    return whole


def _table(rng: np.random.Generator) -> Trimesh:
    depth, thick, leg = rng.uniform(0.5, 1), rng.uniform(0.05, 0.15), rng.uniform(0.06, 0.14)
    x, z = 0.5 - leg, depth / 2 - leg
    legs = [(a * x, -0.4, b * z, leg, 0.8, leg) for a in (-1, 1) for b in (-1, 1)]
    return _boxes((0, 0, 0, 1, thick, depth), *legs)


def _stairs(rng: np.random.Generator) -> Trimesh:
    count = int(rng.integers(3, 6))
    steps = [((i + 0.5) / count, (i + 1) / count / 2, 0, 1 / count, (i + 1) / count, 1) for i in range(count)]
    return _boxes(*steps)


def _cross(rng: np.random.Generator) -> Trimesh:
    bar, height = rng.uniform(0.15, 0.4), rng.uniform(0.2, 0.6)
    return _boxes((0, 0, 0, 1, height, bar), (0, 0, 0, bar, height, 1))


KINDS: dict[str, tuple[Callable[[np.random.Generator], Trimesh], str]] = {
    "ellipsoid": (lambda rng: icosphere(subdivisions=3), "curved"),
    "box": (lambda rng: _boxes((0, 0, 0, 1, 1, 1)), "flat"),
    "cylinder": (lambda rng: _up(cylinder(radius=0.5, height=1.2, sections=32)), "capped"),
    "cone": (lambda rng: _up(cone(radius=0.6, height=1.2, sections=32)), "capped"),
    "torus": (lambda rng: _up(torus(1, rng.uniform(0.15, 0.45))), "curved"),
    "tube": (lambda rng: _up(annulus(rng.uniform(0.3, 0.8), 1, height=rng.uniform(0.5, 2), sections=32)), "capped"),
    "capsule": (lambda rng: _up(capsule(height=rng.uniform(0.5, 2), radius=0.5, count=(16, 16))), "curved"),
    "pyramid": (lambda rng: _up(cone(radius=0.8, height=1.2, sections=4)), "flat"),
    "prism": (lambda rng: _up(cylinder(radius=0.6, height=1.2, sections=int(rng.choice([3, 5, 6])))), "flat"),
    "table": (_table, "flat"),
    "stairs": (_stairs, "flat"),
    "cross": (_cross, "flat"),
}
"""Kinds of solids by name: what builds one, and whether it is flat, curved, or curved between level faces."""


@cache
def _shape(kind: str, variant: int) -> tuple[Trimesh, np.ndarray]:
    """A solid of about unit size, and which of its faces are curved."""
    build, surface = KINDS[kind]
    shape = build(np.random.default_rng([list(KINDS).index(kind), variant]))
    level = np.abs(shape.face_normals[:, 1]) > 0.999
    curved = {"flat": np.zeros_like(level), "curved": np.ones_like(level), "capped": ~level}[surface]
    return shape, curved


def _up(mesh: Trimesh) -> Trimesh:
    """With its own axis, z, along y."""
    return Trimesh(mesh.vertices[:, [1, 2, 0]], mesh.faces, process=False)
