"""Augmentations against what they keep and what they change."""

import pytest
import torch

from unmask import seeds
from unmask_pointcloud.data.augment import (
    AUGMENTATIONS,
    Composed,
    DropPoints,
    Jitter,
    Rotate,
    ScaleTranslate,
    augmentation,
)


@pytest.fixture
def sample():
    """Points of an ellipsoid ``[200, 6]`` with its normals, the gradients of ``|x / axes|^2``."""
    places = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    axes = torch.tensor([1.0, 2.0, 0.5])
    normals = torch.nn.functional.normalize(places / axes, dim=-1)
    return {"points": torch.cat([places * axes, normals], 1)}


@pytest.mark.parametrize("axis", ["x", "y", "z", None])
def test_rotations_keep_lengths_and_angles_and_turn_normals_along(axis, sample):
    made = Rotate(axis, normals=3)(sample)["points"]
    points = sample["points"]
    assert torch.allclose(made[:, :3] @ made[:, :3].T, points[:, :3] @ points[:, :3].T, atol=1e-5)
    assert torch.allclose((made[:, :3] * made[:, 3:]).sum(1), (points[:, :3] * points[:, 3:]).sum(1), atol=1e-5)
    assert not torch.allclose(made, points)
    turn = torch.linalg.lstsq(points[:, :3], made[:, :3]).solution.T
    assert torch.allclose(torch.linalg.det(turn), torch.tensor(1.0), atol=1e-4)  # no mirror
    if axis is not None:
        column = "xyz".index(axis)
        assert torch.allclose(made[:, column], points[:, column], atol=1e-6)


def test_rotations_in_all_ways_are_even():
    """The image of a pole is even on the sphere: mean 0, and a third of the variance along each axis."""
    pole = {"points": torch.tensor([[0.0, 0.0, 1.0]])}
    with seeds.seeded("even"):
        images = torch.cat([Rotate(None)(pole)["points"] for _ in range(3000)])
    assert images.mean(0).abs().max() < 0.05
    assert (images.square().mean(0) - 1 / 3).abs().max() < 0.03


def test_scale_and_shift_have_their_bounds_and_normals_stay_normal(sample):
    for _ in range(20):
        made = ScaleTranslate(normals=3)(sample)["points"]
        low, high = made[:, :3].amin(0), made[:, :3].amax(0)
        before_low, before_high = sample["points"][:, :3].amin(0), sample["points"][:, :3].amax(0)
        factor = (high - low) / (before_high - before_low)
        shift = low - before_low * factor
        assert ((factor > 2 / 3 - 1e-5) & (factor < 3 / 2 + 1e-5)).all()
        assert (shift.abs() < 0.2 + 1e-5).all()
        axes = torch.tensor([1.0, 2.0, 0.5]) * factor
        expected = torch.nn.functional.normalize((made[:, :3] - shift) / axes.square(), dim=-1)
        assert torch.allclose(made[:, 3:], expected, atol=1e-4)


def test_jitter_is_cut_off_and_leaves_channels(sample):
    made = Jitter(0.01, 0.015)(sample)["points"]
    moved = (made - sample["points"])[:, :3]
    assert 0 < moved.abs().max() <= 0.015 + 1e-6
    assert torch.equal(made[:, 3:], sample["points"][:, 3:])


def test_dropped_points_lie_on_the_first(sample):
    with seeds.seeded("drop"):
        made = DropPoints(0.9)(sample | {"part": torch.arange(200)})
    dropped = (made["points"] == sample["points"][0]).all(1)
    assert 1 < dropped.sum() < 200
    assert torch.equal(made["points"][~dropped], sample["points"][~dropped])
    assert torch.equal(made["part"], torch.where(dropped, 0, torch.arange(200)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_padding_stays_zero_and_nothing_else_is_changed_in_place(name, sample):
    valid = torch.arange(200) < 150
    padded = {"points": sample["points"].masked_fill(~valid[:, None], 0), "valid": valid, "label": 3}
    before = padded["points"].clone()
    torch.manual_seed(0)
    made = augmentation((name,), 3)[0](padded)
    assert torch.equal(padded["points"], before)
    assert (made["points"][~valid] == 0).all()
    assert (made["points"][valid] != before[valid]).any()
    assert made["label"] == 3


def test_augmentations_are_keyed(sample):
    steps = Composed(augmentation(tuple(AUGMENTATIONS), 3))
    with seeds.seeded(1):
        first = steps(sample)["points"]
    with seeds.seeded(1):
        assert torch.equal(first, steps(sample)["points"])
    with seeds.seeded(2):
        assert not torch.equal(first, steps(sample)["points"])


def test_wrong_settings_are_told():
    with pytest.raises(ValueError, match=r"has 'rotat'; nearest: `rotate`"):
        augmentation(("rotat",), None)
    for make in (lambda: Rotate("w"), lambda: ScaleTranslate((0, 1)), lambda: Jitter(0.1, 0.05), lambda: DropPoints(1)):
        with pytest.raises(ValueError, match="must be"):
            make()
