"""Randomised quantisation: a corruption of any method; SimMIM restores pixels of what it is shown roughly."""

import torch

from unmask import Corruption
from unmask.corruptions import RandomQuantisation
from unmask.masks import EveryMask
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import SimMIM


def made(corruption=None):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, options=sizes)
    corruption = corruption or RandomQuantisation(3, channels=3)
    return SimMIM(patch_size=4, encoder=encoder, mask=EveryMask(), corruption=corruption).eval()


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_images_are_shown_with_few_values_of_each_channel_and_answers_are_clean():
    model = made()
    step = model.step(images(), 0)
    shown = model.tokenizer.image(step.given.shown.tokens.values, step.tokens.layout)
    for image, clean in zip(shown, images()["image"], strict=True):
        for plane, other in zip(image, clean, strict=True):
            assert 2 <= len(plane.mul(1e5).round().unique()) <= 3
            assert plane.min() >= other.min() - 1e-5 and plane.max() <= other.max() + 1e-5
    assert torch.equal(step.target, model.tokenizer(images()).values)
    assert torch.isclose(step.loss.total, (step.prediction.values - step.target).abs().mean())


def test_with_very_many_bins_nothing_is_hidden():
    fine = made(RandomQuantisation(1_000_000, channels=3)).step(images(1), 0)
    plain = made(Corruption(keep=1)).step(images(1), 0)
    torch.testing.assert_close(fine.loss.total, plain.loss.total, rtol=1e-4, atol=1e-5)


def test_bins_are_drawn_anew_with_each_seed():
    model = made()
    first, again, other = (model.step(images(), seed).given.shown.tokens.values for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class TestQuantised(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()
