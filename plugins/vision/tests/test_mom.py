"""MoM: distances of objects in boxes, and a masked pass inside of them."""

import pytest
import torch

from unmask import Grid
from unmask.predictors import TransformerPredictor
from unmask.testing import DataContract, MethodContract
from unmask_vision.boxes import BoxNumbers, BoxTokenizer
from unmask_vision.data import DrawnObjectsData
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MoM


def made(**options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 32, 4, positions="sincos", options=sizes)
    decoder = TransformerPredictor(32, 48, width=24, depth=1, num_heads=2)
    return MoM(patch_size=4, encoder=encoder, decoder=decoder, hidden_width=16, **options)


def scenes(number=6):
    drawn = DrawnObjectsData(num_images=12, num_val=3).splits.train
    return {name: torch.stack([drawn[i][name] for i in range(number)]) for name in ("image", "boxes", "distance")}


class TestMoM(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return scenes()


class TestDrawnObjectsData(DataContract):
    def make(self, **options):
        return DrawnObjectsData(**{"num_images": 48, "num_val": 3, "batch_size": 4, **options})


def test_without_the_masked_pass_it_is_plain_regression_bit_for_bit():
    ours = made(masked_weight=0.0).eval()
    batch = scenes()
    step = ours.step(batch, 0)
    codes = ours.encoder(ours.tokenizer(batch)).values
    numbers = ours.terms["distance"].numbers(codes, step.tokens.notes["boxes"])
    real = batch["distance"] > 0
    error = (numbers - batch["distance"]).abs()
    assert torch.equal(step.loss.total, (error * real).sum() / real.sum())
    assert torch.equal(step.loss.total, made(masked_weight=1.0).eval().step(batch, 0).terms["distance"])


def test_an_object_is_the_mean_of_its_patches():
    term = BoxNumbers(4, hidden_width=8)
    codes, covered = torch.randn(1, 5, 4), torch.tensor([[[1, 0], [1, 0], [0, 0], [0, 0], [0, 0]]]).bool()
    torch.testing.assert_close(term.numbers(codes, covered)[0, 0], term.head(codes[0, :2].mean(0))[0])


def test_the_masked_pass_hides_patches_of_objects_alone():
    ours = made().eval()
    batch = scenes()
    step = ours.step(batch, 0)
    term = ours.terms["masked"]
    hidden = term.mask(step.tokens, draws=step.mask.streams().named("masked pass")).hidden
    inside = step.tokens.notes["boxes"].any(-1)
    assert not (hidden & ~inside).any()
    share = hidden.sum(1) / inside.sum(1)
    assert (share >= 0.5).all() and (hidden.sum(1) <= inside.sum(1)).all()
    torch.testing.assert_close(step.loss.total, step.terms["distance"] + step.terms["masked"])


def test_covered_patches_by_hand():
    """4 x 4 pixels in patches of 2: a box from (1.5, 2.5) to (2.5, 3.5) lies in the two lower patches."""
    boxes = torch.tensor([[[1.5, 2.5, 2.5, 3.5], [0.0, 0.0, 2.0, 2.0], [float("nan")] * 4]])
    covered = BoxTokenizer(2, 1).covered(boxes, Grid((2, 2)))[0].T
    assert covered.tolist() == [[False, False, True, True], [True, False, False, False], [False] * 4]
    assert BoxTokenizer(2, 1)({"image": torch.rand(1, 1, 4, 4)}).notes is None


def test_near_balls_are_large():
    for sample in DrawnObjectsData(num_images=30, num_val=3).splits.train:
        real = sample["distance"] > 0
        assert real.sum() == sample["label"] + 1
        width = (sample["boxes"][:, 2] - sample["boxes"][:, 0])[real]
        torch.testing.assert_close(width * sample["distance"][real], torch.full_like(width, 2 * 32 * 0.22))
        assert sample["boxes"][real].min() >= -1e-4 and sample["boxes"][real].max() <= 32.001


def test_a_batch_without_boxes_is_refused():
    with pytest.raises(ValueError, match="A batch must have `boxes` and `distance`"):
        made(masked_weight=0.0).step({"image": torch.rand(2, 3, 32, 32)}, 0)
