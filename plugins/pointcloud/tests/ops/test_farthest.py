"""Farthest points: brute force, ties, padding, other implementations."""

import pytest
import torch

from unmask_pointcloud.ops import farthest, farthest_point_sampling


def brute(points, real, num_centres, distances, start=None):
    """Of one cloud, point by point; the lowest index of equals."""
    table = distances(points, points)
    chosen = [real[0] if start is None else start]
    while len(chosen) < num_centres:
        gaps = {n: min(float(table[n, c]) for c in chosen) for n in real}
        chosen.append(min(real, key=lambda n: (-gaps[n], n)))
    return chosen


@pytest.mark.parametrize("num_centres", [1, 25])
def test_equals_brute_force(cloud, valid, num_centres, distances):
    found = farthest_point_sampling(cloud, num_centres, valid)
    for row, points in enumerate(cloud):
        real = list(range(len(points))) if valid is None else valid[row].nonzero().flatten().tolist()
        assert found[row].tolist() == brute(points, real, num_centres, distances)


@pytest.mark.parametrize("num_centres", [1, 7, 60])
def test_the_way_for_other_devices_gives_the_same(cloud, valid, num_centres):
    points = farthest.checked(cloud, valid)
    start = farthest._start(points, valid, None)
    found = farthest._anywhere(points, num_centres, valid, start)
    assert torch.equal(found, farthest_point_sampling(cloud, num_centres, valid))


def test_by_hand():
    line = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [10, 0, 0]]])
    assert farthest_point_sampling(line, 6).tolist() == [[0, 3, 2, 1, 0, 0]]  # then the first point again


def test_a_start_may_be_given(distances):
    cloud = torch.randn(2, 40, 3)
    found = farthest_point_sampling(cloud, 5, start=torch.tensor([3, 39]))
    assert found[0].tolist() == brute(cloud[0], range(40), 5, distances, start=3)
    assert found[1].tolist() == brute(cloud[1], range(40), 5, distances, start=39)


def test_what_padding_holds_does_not_matter():
    cloud = torch.randn(2, 30, 3)
    valid = torch.arange(30) < torch.tensor([[30], [11]])
    expected = farthest_point_sampling(cloud, 8, valid)
    cloud[~valid] = torch.nan
    assert torch.equal(farthest_point_sampling(cloud, 8, valid), expected)
    assert torch.equal(expected[1:], farthest_point_sampling(cloud[1:, :11], 8))


def test_more_clouds_than_are_handled_together():
    clouds = torch.randn(50, 700, 3)
    one_by_one = [farthest_point_sampling(cloud[None], 9) for cloud in clouds]
    assert torch.equal(farthest_point_sampling(clouds, 9), torch.cat(one_by_one))


def test_equals_fpsample():
    fpsample = pytest.importorskip("fpsample")
    cloud = torch.randn(2000, 3, generator=torch.Generator().manual_seed(3))
    expected = fpsample.fps_sampling(cloud.numpy(), 100, start_idx=0)
    assert farthest_point_sampling(cloud[None], 100)[0].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("points", "valid", "said"),
    [
        (torch.zeros(5, 3), None, r"must be \[clouds, points, 3\], but is \[5, 3\]"),
        (torch.zeros(2, 3, 5), None, r"must be \[clouds, points, 3\], but is \[2, 3, 5\]"),
        (torch.zeros(2, 5, 3, dtype=torch.int64), None, "must be floating point, but is torch.int64"),
        (torch.full((1, 5, 3), torch.nan), None, "must be finite"),
        (torch.full((1, 5, 3), -torch.inf), None, "must be finite"),
        (torch.full((1, 5, 3), 1e30), None, "at most 1e[+]18 in size"),
        (torch.zeros(2, 0, 3), None, "cloud 0 has none"),
        (torch.zeros(2, 2, 3), torch.tensor([[True, True], [False, False]]), "cloud 1 has none"),
        (torch.zeros(2, 2, 3), torch.ones(2, 3, dtype=torch.bool), r"`valid` must be bool \[2, 2\]"),
        (torch.zeros(2, 2, 3), torch.ones(2, 2), r"`valid` must be bool \[2, 2\], but is torch.float32"),
    ],
)
def test_refuses_clouds(points, valid, said):
    with pytest.raises(ValueError, match=said):
        farthest_point_sampling(points, 2, valid)


def test_refuses_counts_and_starts():
    cloud, valid = torch.zeros(2, 4, 3), torch.tensor([[True] * 4, [True, False, True, True]])
    with pytest.raises(ValueError, match="`num_centres` must be at least 1, but is 0"):
        farthest_point_sampling(cloud, 0)
    with pytest.raises(ValueError, match="must name a real point of each cloud, but has 4"):
        farthest_point_sampling(cloud, 2, start=torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="must name a real point of each cloud, but has 1"):
        farthest_point_sampling(cloud, 2, valid, start=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"`start` must be int64 \[2\]"):
        farthest_point_sampling(cloud, 2, start=torch.tensor([0.0, 1.0]))


def test_no_clouds():
    assert farthest_point_sampling(torch.zeros(0, 5, 3), 2).shape == (0, 2)
