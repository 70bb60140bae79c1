"""MFM: frequencies are hidden, and only those are asked for."""

import pytest
import torch
from focal_frequency_loss import FocalFrequencyLoss

from unmask.corruptions import FrequencyFilter
from unmask.losses import FrequencyLoss
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MFM
from unmask_vision.tokenizer import PatchTokenizer


def made(**options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, options=sizes)
    options = {"corruption": FrequencyFilter(3, channels=3, **scale()), **options}
    return MFM(patch_size=4, encoder=encoder, **options).eval()


def scale():
    tokenizer = PatchTokenizer(4)
    return {name: getattr(tokenizer, name).flatten().tolist() for name in ("mean", "std")}


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_the_step_by_other_code():
    """A disc on a shifted spectrum, clamped pixels, normalised; distances of spectra at what the disc leaves out."""
    model, batch = made(), images()
    step = model.step(batch, 0)
    hidden = step.given.shown.made["hidden_frequencies"]
    at = torch.arange(16) - 8
    disc = (at[:, None] ** 2 + at**2).sqrt() < 3
    low = ~torch.fft.fftshift(hidden, dim=(1, 2))[:, 8, 8]
    assert 0 < int(low.sum()) < 4
    kept = torch.where(low[:, None, None], disc, ~disc)
    shifted = torch.fft.fftshift(torch.fft.fft2(batch["image"]), dim=(2, 3)) * kept[:, None]
    filtered = torch.fft.ifft2(torch.fft.ifftshift(shifted, dim=(2, 3))).real.clamp(0, 1)
    tokens = model.tokenizer({"image": filtered})
    torch.testing.assert_close(step.given.shown.tokens.values, tokens.values, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        answers = model.predictor.head(model.encoder(tokens).values)
        # The image in the tokenizer's units, by cells laid out by hand.
        cells = (answers - step.tokens.values).view(4, 4, 4, 4, 4, 3).permute(0, 5, 1, 3, 2, 4).reshape(4, 3, 16, 16)
        spectrum = torch.fft.fftshift(torch.fft.fft2(cells, norm="ortho"), dim=(2, 3))
        distance = (spectrum.real**2 + spectrum.imag**2 + 1e-12).sqrt()
        weight = (~kept).float()[:, None]
        loss = (distance * weight).sum() / weight.sum() / 3
    torch.testing.assert_close(step.loss.total, loss, rtol=1e-5, atol=1e-6)


def test_with_nothing_kept_and_squares_it_is_the_authors_package_and_the_error_of_pixels():
    nothing = FrequencyFilter(1e6, low_chance=0.0, channels=3)
    model = made(corruption=nothing, loss=FrequencyLoss(3, exponent=2))
    step = model.step(images(), 0)
    assert bool(step.given.shown.made["hidden_frequencies"].all())
    images_of = [model.tokenizer.image(one, step.tokens.layout) for one in (step.prediction.values, step.tokens.values)]
    unscaled = [(one - model.tokenizer.mean) / model.tokenizer.std for one in images_of]
    torch.testing.assert_close(step.loss.total, FocalFrequencyLoss(alpha=0.0)(*unscaled))
    torch.testing.assert_close(step.loss.total, (step.prediction.values - step.tokens.values).square().mean())


def test_hidden_frequencies_reach_no_code():
    model, batch = made(corruption=FrequencyFilter(3, 1.0, channels=3, **scale())), images()
    step = model.step(batch, 0)
    hidden = step.given.shown.made["hidden_frequencies"][:, None]
    noise = torch.fft.ifft2(torch.fft.fft2(torch.rand_like(batch["image"])) * hidden).real
    other = model.step({"image": batch["image"] + noise}, 0)
    torch.testing.assert_close(other.latent.values, step.latent.values, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(other.target, step.target, atol=0.1)
    # The test can fail: frequencies that are kept do.
    seen = torch.fft.ifft2(torch.fft.fft2(torch.rand_like(batch["image"])) * ~hidden).real
    assert not torch.allclose(
        model.step({"image": batch["image"] + seen}, 0).latent.values, step.latent.values, atol=0.1
    )


def test_the_default_filter_has_the_scale_of_the_tokenizer():
    model = made(corruption=None)
    assert model.corruption.radius == 16
    torch.testing.assert_close(model.corruption.std, model.tokenizer.std.flatten())


def test_a_radius_of_0_is_refused():
    with pytest.raises(ValueError, match="`radius` must be above 0, but is 0"):
        FrequencyFilter(0)


class TestMFM(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()
