"""Rendered solids: image, depth, normals, classes and points of the same scene, made by rule."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask.api import at_least
from unmask.data import MaskedDataModule, Splits

KINDS = ("box", "ball", "cylinder", "dome", "wedge")
"""Solids; class 0 of a map is what lies behind them."""
FAR = 2.0
"""Where rays begin; scenes lie in [-1, 1]^3."""
TURN = 120 * np.pi / 180


class Scene(NamedTuple):
    """Maps of scenes, one row each.

    Args:
        image: shaded grey ``[B, 1, S, S]`` in [0, 1].
        depth: distance from the camera ``[B, 1, S, S]`` in [0, 1]; 1 behind all solids.
        normals: unit vectors ``[B, 3, S, S]``; 0 behind all solids.
        labels: ``[B, S, S]`` int64: 0, or 1 and the number of the solid's kind.
        kind: of the solid that covers most pixels ``[B]``.
    """

    image: Tensor
    depth: Tensor
    normals: Tensor
    labels: Tensor
    kind: Tensor


class RenderedSolids(MaskedDataModule):
    """Scenes of two solids, turned and placed at random, seen from above by parallel rays, all maps exactly aligned.

    Batches hold ``image``, ``depth``, ``normals``, ``labels`` as of `Scene`, ``label`` (the kind of solid that covers
    most pixels), and with ``num_points`` also ``points`` ``[B, P, 3]``, drawn from what is seen. Everything follows
    from the number of a scene: no file is read.

    Args:
        image_size: S, side of the maps in pixels.
        num_train: scenes to train on, at least 1.
        num_val: scenes held out, at least 1.
        num_points: P, points of each scene's surface; 0: none.
        batch_size: scenes per device and step.
        num_workers: loading processes; 0, because all is in memory.
        val_batch_size: scenes per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a count below its least.
    """

    sample_name = "scenes"

    def __init__(
        self,
        image_size: int = 32,
        num_train: int = 4000,
        num_val: int = 500,
        num_points: int = 0,
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        super().__init__(num_workers=num_workers, **shared)
        at_least(1, image_size=image_size, num_train=num_train, num_val=num_val)
        at_least(0, num_points=num_points)
        self.image_size, self.num_train, self.num_val, self.num_points = image_size, num_train, num_val, num_points

    @property
    def classes(self) -> tuple[str, ...]:
        return KINDS

    def load(self) -> Splits:
        # Held-out scenes have numbers of their own, whatever the sizes.
        train, val = (
            Scenes(rendered(first, count, self.image_size), first, self.num_points)
            for first, count in ((0, self.num_train), (1 << 30, self.num_val))
        )
        return Splits(train, val)


class Scenes(Dataset):
    """Scenes as samples."""

    def __init__(self, scenes: Scene, first: int, num_points: int) -> None:
        self.scenes, self.first, self.num_points = scenes, first, num_points

    def __len__(self) -> int:
        return len(self.scenes.kind)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, depth, normals, labels, kind = (one[index] for one in self.scenes)
        sample = {"image": image, "depth": depth, "normals": normals, "labels": labels, "label": int(kind)}
        if self.num_points:
            sample["points"] = points(depth[0], labels > 0, self.num_points, self.first + index)
        return sample


def rendered(first: int, count: int, size: int, chunk: int = 500) -> Scene:
    """The scenes of these numbers."""
    pieces = [_render(range(at, min(at + chunk, first + count)), size) for at in range(first, first + count, chunk)]
    return Scene(*(torch.cat(maps) for maps in zip(*pieces, strict=True)))


def points(depth: Tensor, seen: Tensor, count: int, number: int) -> Tensor:
    """``count`` points of a depth map ``[S, S]`` where it shows a solid: ``[P, 3]`` in [-1, 1]; fewer are repeated."""
    generator = np.random.default_rng([number, 1])
    rows, columns = (one.numpy() for one in seen.nonzero(as_tuple=True))
    if not len(rows):  # nothing is seen of any solid: the middle
        return torch.zeros(count, 3)
    chosen = generator.choice(len(rows), count, replace=len(rows) < count)
    at = _centres(depth.shape[-1])
    height = 1 - 2 * depth[rows[chosen], columns[chosen]]
    return torch.stack([at[columns[chosen]], -at[rows[chosen]], height], dim=1)


def _render(numbers: range, size: int) -> Scene:
    at = _centres(size)
    across, up = at.expand(size, size), -at[:, None].expand(size, size)
    origin = torch.stack([across, up, torch.full((size, size), FAR)], dim=-1).view(1, -1, 3)  # [1, R, 3]
    light = torch.tensor([0.4, 0.5, 0.77])

    scenes = [_scene(number) for number in numbers]
    depth = torch.full((len(numbers), size * size), torch.inf)
    normals = torch.zeros(len(numbers), size * size, 3)
    labels = torch.zeros(len(numbers), size * size, dtype=torch.int64)
    shade = torch.full((len(numbers), size * size), 0.1)
    for solid in range(2):
        kind = torch.tensor([scene["kinds"][solid] for scene in scenes])
        turn, centre, half, grey = (
            torch.tensor(np.stack([scene[name][solid] for scene in scenes]), dtype=torch.float32)
            for name in ("turns", "centres", "halves", "greys")
        )
        distance, normal = _hit(origin - centre[:, None], turn, half, kind)
        nearer = distance < depth
        depth = torch.where(nearer, distance, depth)
        normals = torch.where(nearer[..., None], normal, normals)
        labels = torch.where(nearer, kind[:, None] + 1, labels)
        lit = grey[:, None] * (0.35 + 0.65 * (normal @ light).clamp(min=0))
        shade = torch.where(nearer, lit, shade)
    far = depth.isinf()
    depth = torch.where(far, 1.0, ((depth - (FAR - 1)) / 2).clamp(0, 1))
    kinds = torch.stack([(labels == number + 1).sum(1) for number in range(len(KINDS))], dim=1).argmax(1)
    maps = (len(numbers), -1, size, size)
    return Scene(
        shade.clamp(0, 1).view(maps), depth.view(maps), normals.mT.reshape(maps), labels.view(-1, size, size), kinds
    )


def _scene(number: int) -> dict[str, Any]:
    """Two different solids: kinds, rotations, centres, half sides and brightness."""
    generator = np.random.default_rng([number, 0])
    return {
        "kinds": generator.choice(len(KINDS), 2, replace=False),
        "turns": [_rotation(generator) for _ in range(2)],
        "centres": [
            np.array([0.3, 0.0, 0.0]) * sign + generator.uniform(-0.25, 0.25, 3)
            for sign in generator.permutation([-1, 1])
        ],
        "halves": [generator.uniform(0.25, 0.5, 3) * scale for scale in (1.2, 0.8)],
        "greys": generator.uniform(0.5, 1.0, 2),
    }


def _rotation(generator: np.random.Generator) -> np.ndarray:
    """Evenly drawn, by the QR decomposition of normal numbers."""
    turn, upper = np.linalg.qr(generator.standard_normal((3, 3)))
    turn = turn * np.sign(np.diag(upper))
    turn[:, 0] *= np.linalg.det(turn)
    return turn


def _hit(origin: Tensor, turn: Tensor, half: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
    """Where downward rays enter convex solids: distance ``[B, R]``, infinite where they miss, and normals there.

    A solid is what satisfies some half-spaces ``n p <= 1`` and ``sum q p^2 <= 1``, in units of its half sides: a ray is
    inside from the last of the entries to the first of the exits.
    """
    down = torch.tensor([0.0, 0.0, -1.0])
    start = (origin @ turn) / half[:, None]  # [B, R, 3] in the solid's own frame
    way = (down @ turn / half)[:, None]  # [B, 1, 3]
    planes, squares = _solids()
    planes, squares = planes[kind], squares[kind]  # [B, P, 3], [B, 3]

    against = start @ planes.mT  # [B, R, P]
    towards = way @ planes.mT  # [B, 1, P]
    at = (1 - against) / torch.where(towards == 0, 1.0, towards)
    missed = ((towards == 0) & (against > 1)).any(-1)
    enters = torch.where(towards < 0, at, -torch.inf)
    leaves = torch.where(towards > 0, at, torch.inf).amin(-1)
    enter, which = enters.max(-1)  # [B, R]
    normal = planes.gather(1, which[..., None].expand(-1, -1, 3))

    a = (squares[:, None] * way * way).sum(-1)  # [B, 1]
    b = (squares[:, None] * start * way).sum(-1)
    c = (squares[:, None] * start * start).sum(-1) - 1
    root = (b * b - a * c).clamp(min=0).sqrt()
    round_ = squares.sum(1, keepdim=True) > 0
    safe = torch.where(a > 1e-9, a, 1.0)
    first, last = (-b - root) / safe, (-b + root) / safe
    missed |= round_ & (b * b - a * c < 0)
    later = round_ & (first > enter)
    surface = squares[:, None] * (start + first[..., None] * way)
    normal = torch.where(later[..., None], surface, normal)
    enter = torch.where(later, first, enter)
    leaves = torch.where(round_, torch.minimum(leaves, last), leaves)

    normal = (normal / half[:, None]) @ turn.mT
    distance = torch.where(missed | (enter > leaves), torch.inf, enter)
    return distance, torch.nn.functional.normalize(normal, dim=-1)


def _solids() -> tuple[Tensor, Tensor]:
    """Half-spaces ``[K, 6, 3]`` (a zero one is everything) and squares ``[K, 3]`` of each kind, in `KINDS`' order."""
    axes = torch.eye(3)
    none = torch.zeros(6, 3)
    planes = torch.stack([none] * len(KINDS))
    squares = torch.zeros(len(KINDS), 3)
    planes[0] = torch.cat([axes, -axes])  # box
    squares[1] = torch.ones(3)  # ball
    planes[2, :2] = torch.stack([axes[2], -axes[2]])  # cylinder
    squares[2] = torch.tensor([1.0, 1.0, 0.0])
    planes[3, 0] = -1e6 * axes[2]  # dome: above its base
    squares[3] = torch.ones(3)
    corners = [torch.tensor([np.cos(i * TURN), np.sin(i * TURN), 0.0]) for i in range(3)]
    planes[4, :5] = torch.stack([*(2 * corner.float() for corner in corners), axes[2], -axes[2]])  # wedge
    return planes, squares


def _centres(size: int) -> Tensor:
    return (torch.arange(size) + 0.5) / size * 2 - 1
