"""Uni4Eye: images and volumes in turn, by one encoder; pixels and gradients."""

import pytest
import torch

from unmask import Mask
from unmask.masks import RandomMask
from unmask.testing import MethodContract, shaken
from unmask_vision.methods import MAE, Uni4Eye
from unmask_vision.targets import GradientTarget
from unmask_vision.tokenizer import PatchTokenizer
from unmask_vision.unified import UnifiedEncoder, UnifiedTokenizer


def made(**options):
    torch.manual_seed(0)
    sizes = {"width": 24, "depth": 2, "num_heads": 2, "decoder_width": 12, "decoder_depth": 1, "decoder_heads": 2}
    return shaken(Uni4Eye(patch_size=4, **sizes, **options)).eval()


def images(count=3):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def volumes(count=3):
    return {"image": torch.rand(count, 3, 8, 16, 12, generator=torch.Generator().manual_seed(2))}


def everywhere(tokens):
    asked = torch.ones(tokens.values.shape[:2], dtype=torch.bool)
    return Mask(~asked, predict=asked)


def test_in_two_dimensions_without_gradients_it_is_mae_bit_for_bit():
    ours = made(gradient_weight=0.0)
    mae = MAE(
        patch_size=4,
        tokenizer=UnifiedTokenizer(PatchTokenizer(4)),
        encoder=UnifiedEncoder(4, 3, 24, 2, 2),
        predictor=made().predictor.images,
        mask=RandomMask(0.5),
    ).eval()
    own = {name.replace("predictor.images.", "predictor."): x for name, x in ours.state_dict().items()}
    mae.load_state_dict({name: own[name] for name in mae.state_dict()})
    assert torch.equal(ours.step(images(), 0).loss.total, mae.step(images(), 0).loss.total)


def test_a_volume_of_one_slice_repeated_has_the_gradients_of_that_slice():
    slices = images()["image"]
    tokenizer, target = UnifiedTokenizer(PatchTokenizer(4)), GradientTarget(3)
    flat, deep = tokenizer({"image": slices}), tokenizer({"image": slices[:, :, None].expand(-1, -1, 8, -1, -1)})
    of_image = target(flat, everywhere(flat)).view(3, 1, 4, 4, 1, 4, 4, 3)
    of_volume = target(deep, everywhere(deep)).view(3, 2, 4, 4, 4, 4, 4, 3)  # grid, cube, channel
    torch.testing.assert_close(of_volume, of_image.expand_as(of_volume), rtol=1e-4, atol=1e-4)
    # And a ramp along the depth has its own, 8 a place but at the mirrored ends.
    ramp = torch.arange(8.0)[:, None, None].expand(1, 3, 8, 8, 8)
    tokens = UnifiedTokenizer(PatchTokenizer(4, 3, [0.0] * 3, [1.0] * 3))({"image": ramp})
    found = target(tokens, everywhere(tokens)).view(2, 2, 2, 4, 4, 4, 3)[:, 0, 0, :, 0, 0, 0].flatten()
    torch.testing.assert_close(found, torch.tensor([0.0, 8, 8, 8, 8, 8, 8, 0]))


@pytest.mark.parametrize("batch", [images, volumes])
def test_the_loss_by_hand(batch):
    model = made(gradient_weight=0.5)
    step = model.step(batch(), 0)
    rank = step.tokens.layout.shape
    assert rank == ((4, 4) if batch is images else (2, 4, 3))
    assert step.mask.hidden.sum(1).tolist() == [step.tokens.num_tokens // 2] * 3
    hidden = step.mask.hidden
    pixels = step.tokens.values[hidden]
    pixels = (pixels - pixels.mean(-1, keepdim=True)) / (pixels.var(-1, keepdim=True) + 1e-6).sqrt()
    gradients = GradientTarget(3)(step.tokens, everywhere(step.tokens))[hidden]
    total = 0.0
    for predictor, right, weight in (
        (model.predictor, pixels, 1.0),
        (model.objectives["gradient"].predictor, gradients, 0.5),
    ):
        own = predictor.images if batch is images else predictor.volumes
        answers = own(step.latent, step.tokens.places, step.mask).values.flatten(0, 1)
        total = total + weight * (answers - right).square().mean()
    torch.testing.assert_close(step.loss.total, total, rtol=1e-5, atol=1e-6)


def test_batches_of_either_kind_train_one_trunk_in_turn():
    model = made().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = [model.step(batch, 0).loss.total.item() for batch in (images(), volumes())]
    for number in range(30):
        optimizer.zero_grad()
        model.step((images(), volumes())[number % 2], number).loss.total.backward()
        assert all(p.grad is not None for p in model.encoder.parameters())  # processes agree on what has one
        optimizer.step()
    last = [model.step(batch, 0).loss.total.item() for batch in (images(), volumes())]
    assert last[0] < first[0] and last[1] < first[1]


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="Sides of volumes must be multiples of `patch_size` 4, but are 8x15x12"):
        made().step({"image": torch.rand(2, 3, 8, 15, 12)}, 0)
    with pytest.raises(ValueError, match=r"`width` must be a multiple of 12 .* nearest: 24"):
        UnifiedEncoder(width=26, num_heads=2)


class TestImages(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()


class TestVolumes(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return volumes()
