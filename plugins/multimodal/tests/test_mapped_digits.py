"""Digits with maps: scipy's and scikit-image's numbers, or hand cases; the recipe runs."""

import pytest
import torch
from scipy import ndimage

from unmask.api import main
from unmask.testing import DataContract
from unmask_multimodal.data import MappedDigits
from unmask_multimodal.data.mapped_digits import INK, distance, edges


class TestMappedDigits(DataContract):
    def make(self, **options):
        return MappedDigits(batch_size=64, **options)


def test_maps_are_scipys():
    data = MappedDigits(batch_size=64)
    data.setup("fit")
    sample = data.splits.train[7]
    image = sample["image"][0].numpy()
    steep = [ndimage.sobel(image, axis=axis, mode="constant") for axis in (0, 1)]
    expected = (steep[0] ** 2 + steep[1] ** 2) ** 0.5 / 4 / 2**0.5
    torch.testing.assert_close(sample["edges"][0], torch.tensor(expected), rtol=1e-5, atol=1e-6)
    inner = ndimage.distance_transform_edt(image > INK) / 8
    torch.testing.assert_close(sample["distance"][0], torch.tensor(inner).float(), rtol=1e-5, atol=1e-6)


def test_maps_by_hand():
    image = torch.zeros(2, 1, 8, 8)
    image[0, 0, 2:7, 2:7] = 1.0
    image[1] = 1.0
    found = distance(image)
    assert found[0, 0, 4, 4].item() == pytest.approx(3 / 8)
    assert found[0, 0, 2, 4].item() == pytest.approx(1 / 8)
    assert found[0, 0, 0, 0] == 0
    assert (found[1] == 1).all()  # no background at all
    assert edges(image)[0, 0, 4, 4] == 0
    assert edges(image)[0, 0, 4, 2].item() == pytest.approx(1 / 2**0.5)


def test_a_short_run(tmp_path):
    short = ["--trainer.max_steps", "3", "--trainer.check_val_every_n_epoch", "1", "--data.num_val", "64"]
    assert main(["fit", "--config", "multimodal/multimae-digits", *short, "--out", str(tmp_path / "run")]) == 0


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`num_val` must be in \[10, 1787\], but is 5"):
        MappedDigits(num_val=5)
