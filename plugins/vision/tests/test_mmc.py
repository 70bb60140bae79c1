"""MMC: pixels, prototypes and views; and segmentation by a prompting patch."""

import pytest
import torch
import torch.nn.functional as F

from unmask import Uniform
from unmask.masks import BoxMask
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import IBOT, MMC
from unmask_vision.segmentation.prompt import prompted


def made(kind=MMC, **options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, options=sizes)
    return kind(patch_size=4, encoder=encoder, num_prototypes=24, hidden_width=16, **options)


def views(number=4):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(number, 3, 16, 16, generator=generator) for name in ("image", "second")}


class TestMMC(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return views()


def test_without_pixels_and_contrast_it_is_ibot_bit_for_bit():
    ours = made(pixel_weight=0.0, contrast_weight=0.0).eval()
    ibot = made(IBOT, mask=BoxMask(Uniform(0.5, 0.75)), corruption=ours.corruption).eval()
    assert torch.equal(ours.step(views(), 0).loss.total, ibot.step(views(), 0).loss.total)


def test_pixels_and_contrast_by_hand():
    ours = made().eval()
    step = ours.step(views(), 0)
    pixels, pooled = [], []
    with torch.no_grad():
        for number, name in enumerate(("first", "second")):
            latent, hidden = step.latent.part(name), step.mask.part(name).hidden
            answers = ours.objectives["pixels"].predictor(latent, step.tokens.part(name).places, step.mask.part(name))
            right = step.mask.part(name).asked.gather(step.tokens.part(name).values)
            error = (answers.values - right).abs().mean(-1)
            valid = step.mask.part(name).asked.valid
            error = error.flatten() if valid is None else error[valid]
            assert len(error) == hidden.sum()
            pixels.append(error.mean())
            pooled.append(F.normalize(ours.terms["contrast"].projects[number](latent.prefix[:, 0]), dim=-1))
    torch.testing.assert_close(step.terms["pixels"], sum(pixels) / 2)
    scores, own = pooled[0] @ pooled[1].T / 0.1, torch.arange(4)
    expected = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(step.terms["contrast"], expected)


def test_a_prompt_finds_what_is_alike():
    """Codes of one direction for each class: all found; the last cell has no class."""
    label = torch.tensor([0, 0, 1, 1, 1, -100])
    codes = torch.eye(3)[[0, 0, 1, 1, 1, 0]]
    found = prompted(codes, label, torch.rand(6), 0.5)
    assert found.iou == [1.0, 1.0]
    assert found.inside == pytest.approx([1.0, 1.0]) and found.outside == pytest.approx([0.0, 0.0])


def test_prompts_by_hand():
    """Cosines with the prompt of class 0, cell 1: 0.6, 1, 0.8, 0; with that of class 1, cell 3: 0.8, 0, 0.6, 1."""
    codes = torch.tensor([[0.6, 0.8], [2.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    found = prompted(codes, torch.tensor([0, 0, 1, 1]), torch.tensor([0.9, 0.1, 0.9, 0.1]), 0.7)
    assert found.iou == pytest.approx([1 / 3, 1 / 3]), "{1, 2} for {0, 1}, and {0, 3} for {2, 3}"
    assert found.inside == pytest.approx([0.6, 0.6])
    assert found.outside == pytest.approx([0.4, 0.4])
