"""Masked training for denoising: noise and zeros of the shares that are asked, a trunk of windows, L1 everywhere."""

import pytest
import torch

from unmask import Uniform
from unmask.corruptions import NoisyValues
from unmask.losses import L1Loss
from unmask.testing import MethodContract
from unmask_vision.encoders import SwinIREncoder
from unmask_vision.methods import MaskedDenoising, SimMIM
from unmask_vision.tokenizer import PatchTokenizer


def trunk(ratio=0.0, **more):
    torch.manual_seed(0)
    sizes = {"width": 16, "depths": (2, 1), "num_heads": 2, "window_size": 4}
    return SwinIREncoder(8, 1, 3, **{**sizes, **more}, attention_mask_ratio=ratio)


def made(ratio=0.75, **options):
    return MaskedDenoising(encoder=trunk(ratio), **options).eval()


def images(count=4, side=8):
    return {"image": torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))}


def test_the_step_shows_noise_and_zeros_and_asks_for_all_clean_pixels():
    model = made(noise_std=0.1, zeros=Uniform(0.8, 0.9))
    step = model.step(images(400), 0)
    shown = step.given.shown.tokens.values  # [B, 64, 3]
    clean = images(400)["image"].flatten(2).mT
    gone = (shown == 0).all(-1)
    assert torch.equal(gone, (shown == 0).any(-1))
    share = gone.float().mean(1)
    assert abs(float(share.mean()) - 0.85) < 0.01
    assert 0.02 < float(share.std()) < 0.08  # drawn by image: 0.029, and 0.045 of 64 lots
    noise = (shown - clean)[~gone]
    assert abs(float(noise.std()) - 0.1) < 0.003
    assert torch.equal(step.target, clean)
    torch.testing.assert_close(step.loss.total, (step.prediction.values - clean).abs().mean())


def test_without_masks_it_is_plain_denoising_by_the_same_parts():
    """Limit: with nothing at 0 it is SimMIM on noisy pixels, bit for bit."""
    ours = made(0.0, zeros=0.0, noise_std=0.1)
    parts = {"tokenizer": ours.tokenizer, "mask": ours.mask, "loss": L1Loss(), "predictor": ours.predictor}
    plain = SimMIM(encoder=ours.encoder, corruption=NoisyValues(0.1, channels=3), **parts).eval()
    assert torch.equal(ours.step(images(), 0).loss.total, plain.step(images(), 0).loss.total)


def test_places_are_0_before_each_attention_by_their_share():
    model = made(0.75)
    seen = []
    hooks = [
        block.attn.register_forward_pre_hook(lambda attn, args: seen.append(args[0]))
        for group in model.encoder.groups
        for block in group
    ]
    model.step(images(200), 0)
    for hook in hooks:
        hook.remove()
    assert len(seen) == 3
    gone = [(x == 0).all(-1) for x in seen]
    for one in gone:
        assert abs(float(one.float().mean()) - 0.75) < 0.02
    assert not torch.equal(gone[0], gone[2])
    codes = model.embed(images()).values  # nothing falls where codes are used
    torch.testing.assert_close(codes, trunk(0.0)(model.tokenizer(images())).values)


def test_blocks_are_timms():
    encoder = trunk().eval()
    tokens = PatchTokenizer(1)(images())
    x = encoder.embed(tokens.values.mT.unflatten(2, (8, 8))).movedim(1, -1)
    for group, conv in zip(encoder.groups, encoder.convs, strict=True):
        y = x
        for block in group:
            y = block(y)
        x = x + conv(y.movedim(-1, 1)).movedim(1, -1)
    torch.testing.assert_close(encoder(tokens).values, encoder.norm(x.flatten(1, 2)))
    assert any(block.shift_size != (0, 0) for group in encoder.groups for block in group)


def test_images_of_another_size_are_taken():
    encoder = trunk().eval()
    larger = encoder(PatchTokenizer(1)(images(side=12))).values
    other = trunk().eval()
    other.load_state_dict(encoder.state_dict())
    made_for_it = SwinIREncoder(12, 1, 3, 16, (2, 1), 2, 4).eval()
    made_for_it.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(larger, made_for_it(PatchTokenizer(1)(images(side=12))).values)
    # And then the first size again.
    tokens = PatchTokenizer(1)(images())
    torch.testing.assert_close(encoder(tokens).values, other(tokens).values)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="`attention_mask_ratio` must be in"):
        trunk(1.0)
    with pytest.raises(ValueError, match="`width` must be a multiple of `num_heads`"):
        trunk(width=15)
    with pytest.raises(ValueError, match="`zeros` must be in"):
        made(zeros=1.0)


class TestMaskedDenoising(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()
