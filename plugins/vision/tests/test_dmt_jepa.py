"""DMT-JEPA: codes are made anew from alike ones around them."""

import pytest
import torch
import torch.nn.functional as F

from unmask import Progress
from unmask.predictors import TransformerPredictor
from unmask.targets import NeighbourTeacher
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import DMTJEPA, IJEPA


def made(kind=DMTJEPA, **options):
    torch.manual_seed(0)
    no_class = {"class_token": False, "global_pool": "avg", "fc_norm": False}
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 4, **no_class}
    encoder = ViTEncoder("vit_tiny_patch16_224", 32, 4, positions="sincos", options=sizes)
    predictor = TransformerPredictor(32, 32, width=24, depth=1, num_heads=2)
    return kind(patch_size=4, encoder=encoder, predictor=predictor, **options)


class TestDMTJEPA(MethodContract):
    lr = 3e-3

    def make(self):
        return made()

    def batch(self):
        return {"image": torch.rand(4, 3, 32, 32)}


@pytest.fixture
def batch():
    return {"image": torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))}


def test_without_a_head_it_is_ijepa_bit_for_bit(batch):
    ours, theirs = made(head_depth=0).eval(), made(IJEPA).eval()
    mine, other = ours.step(batch, 0), theirs.step(batch, 0)
    assert torch.equal(mine.target, other.target)
    assert torch.equal(mine.loss.total, other.loss.total)


def test_the_head_of_the_targets_follows_that_of_the_context(batch):
    ours = made(target=NeighbourTeacher(momentum=0.25)).eval()
    before = ours.target.head.blocks[0].q.weight.clone()
    assert torch.equal(before, ours.predictor.head.blocks[0].q.weight)
    with torch.no_grad():
        ours.predictor.head.blocks[0].q.weight.add_(1.0)
    ours.target.update(ours, Progress(total_steps=10))
    torch.testing.assert_close(ours.target.head.blocks[0].q.weight, before + 0.75)
    step = ours.step(batch, 0)
    with torch.no_grad():
        codes = F.layer_norm(ours.target.teacher(step.tokens).values, [32])
        expected = step.mask.asked.gather(ours.target.head(codes, (8, 8)))
    assert torch.equal(step.target, expected)


def test_another_predictor_is_refused():
    with pytest.raises(ValueError, match="`predictor` must be a `neighbours` one for a `neighbour-teacher`"):
        made(IJEPA, target=NeighbourTeacher())
