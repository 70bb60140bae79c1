"""Multi-task pretraining: each branch at weight 0 leaves the rest, and each by hand."""

import pytest
import torch
import torch.nn.functional as F

from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.predictors import LinearPredictor
from unmask.testing import MethodContract, shaken
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.methods import MultiTask, SimMIM
from unmask_vision.predictors import SwinPredictor


def encoder():
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", mask_token=True, options=sizes)


def made(kind=MultiTask, **options):
    torch.manual_seed(0)
    more = {"num_classes": 5, "contrast_width": 12} if kind is MultiTask else {}
    given = {"backbone": "vit", "patch_size": 4, "encoder": encoder(), "predictor": LinearPredictor(32, 48)}
    given["mask"] = RandomMask(0.6)
    return kind(**{**given, **more, **options})


def batch(count=4):
    generator = torch.Generator().manual_seed(1)
    looks = {name: torch.rand(count, 3, 16, 16, generator=generator) for name in ("image", "second")}
    return {**looks, "label": torch.arange(count) % 5}


class TestMultiTask(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return batch()


class TestOfSwin(MethodContract):
    def make(self):
        options = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "patch_size": 4}
        made_of_swin = made(encoder=SwinV2Encoder(image_size=32, options=options), predictor=SwinPredictor(32, 48, 2))
        return shaken(made_of_swin)  # timm begins with branches of 0

    def batch(self):
        generator = torch.Generator().manual_seed(1)
        looks = {name: torch.rand(4, 3, 32, 32, generator=generator) for name in ("image", "second")}
        return {**looks, "label": (torch.rand(4, 5, generator=generator) > 0.5).float()}


@pytest.fixture
def both(given_mask, some_hidden):
    hidden = some_hidden(4, 16, 10)
    return given_mask(hidden), MaskByPart({"first": given_mask(hidden), "second": NoMask()})


def test_pixels_alone_are_simmim_bit_for_bit(both):
    plain = made(SimMIM, mask=both[0]).eval()
    ours = made(mask=both[1], label_weight=0.0, contrast_weight=0.0).eval()
    first, second = plain.step(batch(), 0), ours.step(batch(), 0)
    assert torch.equal(first.loss.total, second.loss.total)
    for step in (first, second):
        step.loss.total.backward()
    for name, parameter in plain.encoder.named_parameters():
        other = ours.encoder.get_parameter(name).grad
        assert (parameter.grad is None and (other is None or not other.any())) or torch.equal(parameter.grad, other)
    assert not torch.equal(made(mask=both[1]).eval().step(batch(), 0).loss.total, first.loss.total)


@pytest.mark.parametrize("several", [False, True])
def test_labels_alone_are_plain_classification_of_the_whole_look(both, several):
    model = shaken(made(mask=both[1], pixel_weight=0.0, contrast_weight=0.0).eval())
    given = batch()
    right = F.one_hot(given["label"], 5).float()
    if several:
        right[0] = torch.tensor([1.0, 0, 1, 1, 0])
        given["label"] = right
    step = model.step(given, 0)
    codes = model.embed({"image": given["second"]}).pool("mean")
    scores = model.objectives["labels"].predictor.head(codes)
    torch.testing.assert_close(step.loss.total, F.binary_cross_entropy_with_logits(scores, right))
    assert step.objectives["labels"].prediction.parts.keys() == {"second"}
    assert step.prediction.parts.keys() == {"first"}


def test_contrast_alone_by_hand(both):
    model = shaken(made(mask=both[1], pixel_weight=0.0, label_weight=0.0).eval())
    step, term = model.step(batch(), 0), model.terms["contrast"]
    assert made().terms["contrast"].log_scale.exp().item() == pytest.approx(10)
    first, second = (
        F.normalize(project(step.latent.part(name).values.mean(1)), dim=-1)
        for name, project in zip(("first", "second"), term.projects, strict=True)
    )
    scores = first @ second.mT * term.log_scale.exp()
    own = torch.arange(4)
    torch.testing.assert_close(step.loss.total, (F.cross_entropy(scores, own) + F.cross_entropy(scores.mT, own)) / 2)


def test_the_loss_is_the_weighted_sum_of_three(both):
    weights = {"pixel_weight": 0.5, "label_weight": 2.0, "contrast_weight": 0.25}
    step = made(mask=both[1], **weights).eval().step(batch(), 0)
    pixels = made(SimMIM, mask=both[0]).eval().step(batch(), 0).loss.total
    expected = 0.5 * pixels + 2 * step.terms["labels"] + 0.25 * step.terms["contrast"]
    torch.testing.assert_close(step.loss.total, expected)


def test_what_it_needs():
    with pytest.raises(ValueError, match="`num_classes` must be at least 2, but is 1"):
        made(num_classes=1)
    with pytest.raises(ValueError, match="`pixel_weight` must be at least 0, but is -1"):
        made(pixel_weight=-1.0)
    with pytest.raises(ValueError, match="A batch must have `label`"):
        made().step({name: one for name, one in batch().items() if name != "label"}, 0)
