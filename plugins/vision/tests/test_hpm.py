"""HPM: a second decoder learns which hidden patches are harder, and the mask hides by it."""

import math

import pytest
import torch
import torch.nn.functional as F

from unmask import Mask, Progress
from unmask.masks import HardMask, RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import EMATeacher
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import HPM, MAE


def made(kind, **options):
    torch.manual_seed(0)
    options = {
        "encoder": ViTEncoder("vit_tiny_patch16_224", 16, 4, options={"embed_dim": 32, "depth": 2, "num_heads": 2}),
        "predictor": TransformerPredictor(32, 48, width=24, depth=1, num_heads=2),
        **options,
    }
    return kind(patch_size=4, **options).eval()


@pytest.fixture
def batch():
    return {"image": torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_without_order_and_guidance_it_is_mae_bit_for_bit(batch):
    ours = made(HPM, mask=HardMask(guided=0.0), order_weight=0.0)
    mae = made(MAE, mask=RandomMask(ratio=0.75))
    own = {name: value for name, value in ours.state_dict().items() if not name.startswith(("terms", "mask"))}
    mae.load_state_dict(own)
    assert torch.equal(ours.step(batch, 0).loss.total, mae.step(batch, 0).loss.total)


def test_the_loss_by_hand(batch):
    """Pair by pair: minus the logarithm of the odds that the harder of two has the higher score."""
    ours = made(HPM)
    step = ours.step(batch, 0)
    with torch.no_grad():
        scores = ours.terms["order"].predictor(step.latent, step.tokens.places, step.mask).values.mean(-1).tolist()
    losses = step.loss.per_token.tolist()
    found = [
        math.log(1 + math.exp(-(d[i] - d[j])))
        for d, loss in zip(scores, losses, strict=True)
        for i in range(12)
        for j in range(12)
        if loss[i] > loss[j]
    ]
    assert len(found) == 3 * 66  # pairs of 12 hidden patches
    assert step.terms["order"].item() == pytest.approx(sum(found) / len(found), rel=1e-5)


def test_a_fully_guided_mask_hides_the_hardest(batch):
    """By the codes of the copy, which follows the model by its momentum."""
    ours = made(HPM, mask=HardMask(ratio=0.5, guided=1.0, momentum=0.25))
    before = ours.mask.encoder.vit.blocks[0].attn.qkv.weight.clone()
    with torch.no_grad():
        for parameter in [*ours.encoder.parameters(), *ours.terms.parameters()]:
            parameter.add_(0.1 * torch.randn_like(parameter))
    now = ours.encoder.vit.blocks[0].attn.qkv.weight
    ours.mask.update(ours, Progress(total_steps=10))
    torch.testing.assert_close(ours.mask.encoder.vit.blocks[0].attn.qkv.weight, 0.25 * before + 0.75 * now)
    # Without momentum the copy is the model itself.
    ours.mask.momentum = 0.0
    ours.mask.update(ours, Progress(total_steps=10))
    tokens = ours.tokenizer(batch)
    with torch.no_grad():
        x = ours.encoder(tokens)
        scorer = ours.terms["order"].predictor
        everywhere = torch.ones(3, 16, dtype=torch.bool)
        asked = Mask(~everywhere, predict=everywhere)
        hardness = scorer(x, tokens.places, asked).values.mean(-1)
    hidden = ours.step(batch, 0).mask.hidden
    assert hidden.sum(1).tolist() == [8, 8, 8]
    assert torch.equal(hidden, hardness.argsort(1, descending=True).argsort(1) < 8)
    assert not torch.equal(hidden[0], hidden[1])


class TestHPMOfFeatures(MethodContract):
    def make(self):
        return made(HPM, predict="features", teacher=teacher(), predictor=TransformerPredictor(32, 24, 24, 1, 2))

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def teacher():
    """The same weights whatever has been drawn before, as a file would have them."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return ViTEncoder("vit_tiny_patch16_224", 16, 4, options={"embed_dim": 24, "depth": 1, "num_heads": 2})


def test_features_of_a_teacher_are_predicted_and_ordered(batch):
    ours = made(HPM, predict="features", teacher=teacher(), predictor=None, encoder=None, size="tiny", image_size=16)
    step = ours.step(batch, 0)
    with torch.no_grad():
        feature = F.layer_norm(ours.target.encoder(step.tokens).values, [24])
    right = step.mask.asked.gather(feature)
    torch.testing.assert_close(step.target, right)
    loss = (step.prediction.values - right).square().mean(-1)
    torch.testing.assert_close(step.loss.per_token, loss.detach())
    harder = loss[..., :, None] > loss[..., None, :]
    scores = ours.terms["order"].predictor(step.latent, step.tokens.places, step.mask).values.mean(-1)
    gap = F.logsigmoid(scores[..., :, None] - scores[..., None, :])
    torch.testing.assert_close(step.terms["order"], -(gap * harder).sum() / harder.sum())
    assert isinstance(made(HPM, predict="features", predictor=None).target, EMATeacher)


def test_a_teacher_beside_pixels_is_refused():
    with pytest.raises(ValueError, match="`teacher_run` must be left out when `predict: pixels` is given"):
        made(HPM, teacher_run="runs/other")
    with pytest.raises(ValueError, match="`predict` must be one of pixels, features, but is 'ids'"):
        made(HPM, predict="ids")


def test_a_hard_mask_needs_the_order_of_losses():
    with pytest.raises(ValueError, match="`terms` must have a `loss-order` for a `hard` mask"):
        made(MAE, mask=HardMask())
