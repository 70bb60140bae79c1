"""Images of 14 bands in one array: each is scaled by its own numbers, and the recipe runs."""

import numpy as np
import pytest
import torch

from unmask.api import main
from unmask_vision.data import ArraysData

BANDS = 14


def bands(num=6, side=64):
    """Reflectances in percent, and temperatures in kelvin."""
    rng = np.random.default_rng(0)
    mean = np.where(np.arange(BANDS) < 7, 30, 260)
    return (mean + np.linspace(1, 20, BANDS) * rng.standard_normal((num, side, side, BANDS))).astype(np.float32)


def test_each_band_is_scaled_by_its_own_numbers(tmp_path):
    np.save(tmp_path / "bands.npy", bands())
    made = ArraysData(
        str(tmp_path / "bands.npy"), image_size=64, channels=BANDS, scale="mean-std", augment="none", batch_size=2
    )
    made.setup("fit")
    images = torch.stack([made.splits.train[i]["image"] for i in range(len(made.splits.train))])
    assert images.shape[1:] == (BANDS, 64, 64)
    spread = images.transpose(0, 1).flatten(1)
    torch.testing.assert_close(spread.mean(1), torch.full((BANDS,), 0.5), rtol=0, atol=0.01)
    torch.testing.assert_close(spread.std(1), torch.full((BANDS,), 1 / 6), rtol=0, atol=0.01)


@pytest.mark.slow
def test_the_recipe_runs_on_an_array(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("bands.npy", bands())
    words = ["fit", "--config", "vision/simmim-multiband", "--data.images", "bands.npy", "--out", "run"]
    words += ["--model.image_size", "64", "--data.image_size", "64", "--data.batch_size", "2"]
    assert main([*words, "--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]) == 0
