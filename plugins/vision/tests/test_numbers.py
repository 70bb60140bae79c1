"""Numbers of other depths: what becomes 0 and 1, what stands for no data, and what is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from unmask import agreements
from unmask.api import main
from unmask.data import Findings
from unmask_vision.data.folder import ImageFolderData
from unmask_vision.data.looks import Looks
from unmask_vision.data.reading import Unreadable, read_image
from unmask_vision.data.scale import BandStats, Numbers, Scale, as_json, read_stats, scale_between, scale_of
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE

RNG = np.random.default_rng(0)
ON_CPU = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]


def tiles(root: Path, count: int = 8, bands: int = 2, nodata: float | None = None) -> list[np.ndarray]:
    """Reflectances of 12 bits, band by band another range; the first tile has a corner without data."""
    root.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        values = np.stack([RNG.integers(300 * (b + 1), 1500 * (b + 1), (16, 16)) for b in range(bands)], -1)
        tags: list[Any] = []
        if nodata is not None and number == 0:
            values[:4, :4] = nodata
            tags = [(42113, "s", 0, str(nodata), True)]
        values = values.astype(np.uint16)
        tifffile.imwrite(
            root / f"{number}.tif", values, photometric="minisblack", planarconfig="contig", extratags=tags
        )
        made.append(values)
    return made


def folder(root: Path, **options: Any) -> ImageFolderData:
    return ImageFolderData(
        str(root), **{"image_size": 16, "channels": 2, "batch_size": 2, "val_ratio": 0.25, "augment": "none", **options}
    )


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("int8", -128, 127), ("uint16", 0, 65535), ("int16", -32768, 32767), ("int32", -(2**31), 2**31 - 1)],
)
def test_whole_numbers_are_read_by_the_range_of_their_type(tmp_path: Path, dtype: str, low: int, high: int) -> None:
    np.save(tmp_path / "a.npy", np.array([[low, high], [low + (high - low) // 2, low]], dtype))
    tifffile.imwrite(tmp_path / "a.tif", np.load(tmp_path / "a.npy"), photometric="minisblack")
    for name in ("a.npy", "a.tif"):
        image = read_image(tmp_path / name, 1)
        assert image.dtype == torch.float32
        assert image[0, 0].tolist() == [0, 1]
        assert image[0, 1, 0] == pytest.approx(0.5, abs=0.01)


def test_a_range_is_of_the_files_numbers_and_clips(tmp_path: Path) -> None:
    values = np.array([[100, 200], [300, 1000]], np.int16)
    np.save(tmp_path / "a.npy", values)
    numbers = Numbers(scale_between([100, 300]))
    assert read_image(tmp_path / "a.npy", 1, numbers=numbers).tolist() == [[[0, 0.5], [1, 1]]]
    np.save(tmp_path / "b.npy", np.stack([values, values], -1))
    numbers = Numbers(scale_between([[100, 300], [0, 1000]]))
    assert read_image(tmp_path / "b.npy", 2, numbers=numbers)[:, 0, 1].tolist() == pytest.approx([0.5, 0.2])
    as_bytes = torch.full((1, 2, 2), 51, dtype=torch.uint8)
    assert read_image(as_bytes, 1, numbers=Numbers(scale_between([0, 102]))).unique().tolist() == [0.5]


@pytest.mark.parametrize("ends", [[3, 3], [1], [[0, 1], [2, 1]], [0, float("inf")], ["a", "b"]])
def test_odd_ranges_are_refused(ends: Any) -> None:
    with pytest.raises(ValueError, match=r"`scale_range` must be \[low, high\] with low < high"):
        scale_between(ends)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"scale": "percentile"},
            "`scale` must be one of 'type', 'range', 'percentiles', 'mean-std', but is 'percentile'",
        ),
        ({"scale": "range"}, "`scale_range` must be given exactly where `scale` is 'range'"),
        ({"stats": "a.json"}, "`stats` must be left out where `scale` is 'type'"),
        ({"frames": "last"}, "`frames` must be 'first' or 'all', but is 'last'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        folder(Path("nowhere"), **options)


def test_places_without_data_become_0_and_are_counted(tmp_path: Path) -> None:
    tiles(tmp_path, nodata=9)
    by_tag = folder(tmp_path, scale="percentiles")
    assert "  1 have places without data, which became 0: 0.tif." in by_tag.found().splitlines()
    assert read_image(tmp_path / "0.tif", 2, numbers=by_tag.numbers)[:, :4, :4].unique().tolist() == [0]
    assert min(by_tag.numbers.scale.low) > 250  # type: ignore[union-attr]  # 9 was not measured

    findings = Findings()
    np.save(tmp_path / "a.npy", np.array([[-9999.0, 2.0], [np.nan, 4.0]], np.float32))
    numbers = Numbers(Scale((0.0,), (4.0,)), nodata=-9999)
    image = read_image(tmp_path / "a.npy", 1, findings=findings, name="a", numbers=numbers)
    assert image.tolist() == [[[0, 0.5], [0, 1]]]
    assert set(findings.odd) == {
        "have places without data, which became 0",
        "have values that are not finite, which became 0",
    }
    raw = read_image(tmp_path / "a.npy", 1, numbers=numbers._replace(raw=True))
    assert raw.isnan().tolist() == [[[True, False], [True, False]]]
    assert raw[0, :, 1].tolist() == [2, 4]

    np.save(tmp_path / "b.npy", np.full((4, 4), 7, np.uint8))
    with pytest.raises(Unreadable, match="it has no data"):
        read_image(tmp_path / "b.npy", 1, numbers=Numbers(nodata=7))
    assert read_image(tmp_path / "b.npy", 1, numbers=Numbers(nodata=-1)).unique().tolist() == [7]


def test_numbers_of_alpha_and_of_grey_are_scaled_alike(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.full((2, 2), 50, np.uint8))
    image = read_image(tmp_path / "grey.npy", 3, numbers=Numbers(scale_between([0, 100])))
    assert image.shape == (3, 2, 2)
    assert image.unique().tolist() == [0.5]


def test_measures_are_those_of_all_values() -> None:
    values = RNG.normal(3000, 40, (6, 2, 30, 20))
    values[2, 1, :5] = np.nan
    found = BandStats(6)
    for image in values:
        found.see(torch.tensor(image))
    result = found.result()
    for band in range(2):
        known = values[:, band][~np.isnan(values[:, band])]
        assert result["mean"][band] == pytest.approx(known.mean())
        assert result["std"][band] == pytest.approx(known.std())
        assert (result["min"][band], result["max"][band]) == (known.min(), known.max())
        assert result["percentiles"]["50"][band] == pytest.approx(np.median(known), rel=1e-4)
    assert result["nodata_ratio"] == [0, pytest.approx(100 / 3600)]
    assert scale_of("mean-std", {"mean": [10.0], "std": [2.0]}) == Scale((4.0,), (16.0,))
    with pytest.raises(ValueError, match="are all alike, as those of band 1 are: 3; nearest: 'range'"):
        scale_of("mean-std", {"mean": [3.0], "std": [0.0]})


def test_a_scale_gives_contrast_band_by_band(tmp_path: Path) -> None:
    made = np.concatenate([image.reshape(-1, 2) for image in tiles(tmp_path)])
    for scale in ("percentiles", "mean-std"):
        data = folder(tmp_path, scale=scale)
        assert "near together" not in data.found()
        low, high = (np.array(ends) for ends in data.numbers.scale)  # type: ignore[union-attr]
        if scale == "percentiles":
            assert low == pytest.approx(np.percentile(made, 2, axis=0), rel=0.02)
            assert high == pytest.approx(np.percentile(made, 98, axis=0), rel=0.02)
        else:
            assert (low + high) / 2 == pytest.approx(made.mean(0), rel=0.02)
            assert (high - low) / 6 == pytest.approx(made.std(0), rel=0.02)
        image = data.splits.train[0]["image"]
        assert image.dtype == torch.float32
        assert 0 <= image.min() < 0.3 and 0.7 < image.max() <= 1


def test_nearly_constant_values_are_told_in_spite_of_a_few_far_ones() -> None:
    looks = Looks()
    image = torch.full((1, 64, 64), 0.02) + 0.001 * torch.rand(1, 64, 64)
    image[0, 0, 0] = 1.0  # a saturated pixel
    for _ in range(3):
        looks.see(image)
    assert "so near together that all images look alike. Scale them" in " ".join(looks.lines())


def test_the_command_measures_what_a_scale_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiles(tmp_path / "tiles", 12, nodata=9)
    data = ["--config", "vision/mae-folder", "--data.folder", "tiles", "--data.channels", "2", "--model.channels", "2"]
    assert main(["vision-stats", *data, "--out", "stats.json"]) == 0
    said = capsys.readouterr().out
    assert "in the units of their files." in said
    assert "train with it by `--data.scale percentiles --data.stats stats.json`" in said
    found = json.loads((tmp_path / "stats.json").read_text())
    assert len(found["mean"]) == 2 and min(found["min"]) > 9
    for scale in ("percentiles", "mean-std"):
        assert folder(tmp_path / "tiles", scale=scale, stats=str(tmp_path / "stats.json")).found()
    for words, told in (
        ([], "needs a recipe or file: `--config NAME`"),
        ([*data, "--out", "a.txt"], "`--out` must end in .json or .yaml, but is `a.txt`"),
    ):
        assert main(["vision-stats", *words]) == 2
        assert told in capsys.readouterr().err


def test_files_of_measures_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stats.yaml"
    path.write_text("mean: [1.0, 2.0]\nstd: [1.0, 1.0]\n")
    assert read_stats(path, 2, "mean-std")["mean"] == [1, 2]
    with pytest.raises(
        ValueError, match=r"`stats` must hold 3 numbers as mean, one per channel, but .* has \[1\.0, 2\.0\]"
    ):
        read_stats(path, 3, "mean-std")
    with pytest.raises(ValueError, match=r"must hold 2 numbers as percentile 2, one per channel, but .* has none"):
        read_stats(path, 2, "percentiles")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_stats(tmp_path / "none.json", 2, "mean-std")


def test_the_scale_stays_with_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other data of a trained model is read by the numbers that it was trained with."""
    tiles(tmp_path / "a")
    tiles(tmp_path / "b")
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 8, 2, options={"embed_dim": 12, "depth": 1, "num_heads": 1})
    method: Any = MAE
    model = method(patch_size=8, channels=2, encoder=encoder)
    trained = folder(tmp_path / "a", scale="percentiles")
    trained.setup("fit")
    agreements.check(model, trained, loaded=True)
    for options in ({"scale": "percentiles"}, {}):
        other = folder(tmp_path / "b", **options)
        capsys.readouterr()
        agreements.check(model, other, loaded=False, other=True)
        assert "Numbers are scaled as in training: " in capsys.readouterr().out
        expected = read_image(tmp_path / "b" / other.splits.train.items[0].name, 2, numbers=trained.numbers)  # type: ignore[attr-defined]
        assert torch.equal(other.splits.train[0]["image"], expected)
    given = folder(tmp_path / "b", scale="range", scale_range=(0, 4095))
    agreements.check(model, given, loaded=False, other=True)
    assert "but `data.scale` is given and goes first" in capsys.readouterr().out
    assert given.numbers.scale == Scale((0.0,), (4095.0,))

    # The same numbers in a file are no other scale.
    stats = tmp_path / "stats.json"
    stats.write_bytes(as_json(trained.measure(trained.splits.train.items, 10)))  # type: ignore[attr-defined]
    measured = folder(tmp_path / "a", scale="percentiles", stats=str(stats))
    measured.setup("fit")
    again: Any = method(patch_size=8, channels=2, encoder=encoder)
    agreements.check(again, measured, loaded=True)
    capsys.readouterr()
    alike = folder(tmp_path / "b", scale="percentiles", stats=str(stats))
    agreements.check(again, alike, loaded=False, other=True)
    assert "goes first" not in capsys.readouterr().out
