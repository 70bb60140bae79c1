"""What is checked, scaled and cut, on clouds as files and sensors leave them."""

import numpy as np
import pytest
import torch

from unmask.api import IGNORED
from unmask.data import UNREADABLE, Item, Unreadable
from unmask_pointcloud.data.clouds import Cloud, Fit, collect, normalized
from unmask_pointcloud.data.reading import read_file
from unmask_pointcloud.data.report import HOLED, PARTLESS, REPEATED, SMALL, THINNED, PointCloudReport

RNG = np.random.default_rng(0)


def _report():
    return PointCloudReport("clouds")


def _collect(*clouds, width=3, normalize="sphere", num_points=4, stored_points=100, report=None):
    items = [
        Item(f"cloud {i}", lambda cloud=cloud: cloud if isinstance(cloud, Cloud) else Cloud(cloud), i)
        for i, cloud in enumerate(clouds)
    ]
    return collect(items, width, normalize, num_points, stored_points, report or _report(), read_file)


def test_the_unit_sphere_by_hand():
    """Of a mean of (3, 2, 0) and the farthest point 4 from it; channels stay as they are."""
    points = np.array([[-1, 2, 0, 7], [5, 2, 0, 8], [5, 2, 0, 9.0]])
    made = normalized(points, "sphere")
    assert made.dtype == np.float32
    assert np.allclose(made, [[-1, 0, 0, 7], [0.5, 0, 0, 8], [0.5, 0, 0, 9]])
    assert np.allclose(normalized(points, "centre"), [[-4, 0, 0, 7], [2, 0, 0, 8], [2, 0, 0, 9]])
    assert np.allclose(normalized(points, "none"), points)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1, 1e6, 1e30, 1e160])
def test_units_do_not_matter_to_the_unit_sphere(scale):
    points = RNG.normal(size=(50, 3))
    assert np.allclose(normalized(points * scale, "sphere"), normalized(points, "sphere"), atol=1e-6)


def test_map_coordinates_keep_their_detail():
    """Millimetres, six million metres from the origin."""
    points = RNG.uniform(0, 1e-2, (50, 3))
    far = points + np.array([4.1e5, 5.9e6, 300])
    for how in ("sphere", "centre"):
        expected = normalized(points, how)
        assert np.abs(normalized(far, how) - expected).max() < 1e-6 * np.abs(expected).max() + 1e-8
    with pytest.raises(Unreadable, match="`normalize` must be 'centre' or 'sphere'"):
        normalized(far, "none")


@pytest.mark.parametrize("points", [np.full((5, 3), 0.1), np.full((5, 3), 5e6)])
def test_one_place_is_no_cloud(points):
    for how in ("sphere", "centre", "none"):
        with pytest.raises(Unreadable, match="one place"):
            normalized(points, how)


@pytest.mark.parametrize("points", [np.array([[0, 0, 0], [1e300, 0, 0.0]]), np.array([[0, 0, 0], [1e-60, 0, 0]])])
def test_sizes_beyond_single_precision_are_refused_where_they_are_kept(points):
    with pytest.raises(Unreadable, match=r"beyond single precision|one place"):
        normalized(points, "centre")


def test_bad_clouds_are_left_out_counted_and_named():
    report = _report()
    good = RNG.normal(size=(6, 3))
    holed = good.copy()
    holed[1, 0], holed[3, 2] = np.nan, np.inf
    bad = [
        np.zeros((0, 3)),
        np.zeros((1, 3)),
        np.ones((9, 3)),
        np.zeros((4, 2)),
        np.full((5, 3), np.nan),
        np.array(["a"]),
    ]
    clouds = _collect(good, *bad, holed, report=report)
    assert len(clouds) == 2
    assert clouds.label.tolist() == [0, 7]
    assert all(np.isfinite(points).all() for points in clouds.points)
    counts = [report.findings.count(what) for what in (UNREADABLE, HOLED)]
    assert counts == [6, 1]
    told = str(report)
    assert "1 clouds have points that are not finite, which are left out: cloud 7 (2 of them)." in told
    assert "cloud 1 (it has 0 points; at least 2 are needed)" in told
    assert "cloud 5 (it has 0 points and 5 that are not finite; at least 2 are needed)" in told
    assert "and 1 more" in told


def test_points_of_a_file_that_cannot_be_opened():
    def read():
        raise FileNotFoundError("gone")

    report = _report()
    assert not len(collect([Item("a.ply", read)], 3, "sphere", 4, 10, report, read_file))
    assert report.findings.named(UNREADABLE) == "a.ply (gone)"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (np.full(6, np.nan), "classes of points are float64 [6] instead of whole numbers [6]"),
        (np.full(6, 10**8), "classes of points must be below 100,000, but go up to 100,000,000"),
        (np.zeros(5, int), "classes of points are int64 [5] instead of whole numbers [6]"),
    ],
)
def test_classes_of_points_that_are_none(part, said):
    report = _report()
    assert not len(_collect(Cloud(RNG.normal(size=(6, 3)), part), report=report))
    assert said in str(report)


def test_points_without_a_class_are_left_out_of_segmentation():
    clouds = _collect(Cloud(RNG.normal(size=(6, 3)), np.array([-1, 0, 1, 2, -1, -7], np.int16)))
    assert sorted(clouds.parts[0].tolist()) == [IGNORED] * 3 + [0, 1, 2]


def test_what_is_odd_about_whole_clouds_is_told():
    """Thinned, filled up, half of it the same points; and classes of points that others lack."""
    report = _report()
    points = RNG.normal(size=(120, 3))
    clouds = _collect(
        points, points[:3], np.repeat(points[:20], 2, 0), Cloud(points[:9], np.zeros(9, int)), report=report
    )
    assert clouds.parts is None
    assert [report.findings.named(what) for what in (THINNED, SMALL, REPEATED, PARTLESS)] == [
        "cloud 0 (120)", "cloud 1 (3)", "cloud 2", "cloud 0, cloud 1, cloud 2",
    ]  # fmt: skip


def test_stored_points_are_an_even_draw_and_the_same_each_time():
    points = np.concatenate([RNG.normal(size=(500, 3)), np.arange(500)[:, None]], axis=1)
    part = np.arange(500)
    first, again = (_collect(Cloud(points, part), width=4, stored_points=100) for _ in range(2))
    assert np.array_equal(first.points[0], again.points[0])
    assert len(set(first.points[0][:, 3])) == 100
    assert np.array_equal(first.points[0][:, 3], first.parts[0])  # classes went along
    assert 150 < first.parts[0].mean() < 350


def test_a_sample_is_a_draw_without_replacement():
    sample = {"points": torch.arange(30.0)[:, None].expand(-1, 3), "part": torch.arange(30)}
    fitted = Fit(10, padded=False, drawn=True)(sample)
    assert fitted["points"].shape == (10, 3)
    assert len(fitted["part"].unique()) == 10
    assert torch.equal(fitted["points"][:, 0].long(), fitted["part"])
    assert "valid" not in fitted
    assert Fit(10, padded=False, drawn=False)(sample)["part"].tolist() == list(range(10))


def test_small_clouds_are_filled_up_and_marked():
    sample = {"points": torch.ones(3, 4), "part": torch.zeros(3, dtype=torch.int64)}
    fitted = Fit(5, padded=True, drawn=True)(sample)
    assert fitted["points"].tolist() == [[1] * 4] * 3 + [[0] * 4] * 2
    assert fitted["part"].tolist() == [0, 0, 0, IGNORED, IGNORED]
    assert fitted["valid"].tolist() == [True] * 3 + [False] * 2
