"""MR-MAE: two objectives of one encoding that never meet."""

import pytest
import torch
import torch.nn.functional as F

from unmask.predictors import TransformerPredictor
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE, MRMAE


def encoder(width=32):
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, options={"embed_dim": width, "depth": 2, "num_heads": 2})


def made(kind, given_mask, hidden, **options):
    torch.manual_seed(0)
    predictor = TransformerPredictor(32, 48, width=24, depth=1, num_heads=2)
    return kind(patch_size=4, encoder=encoder(), predictor=predictor, mask=given_mask(hidden), **options).eval()


@pytest.fixture
def hidden(some_hidden):
    return some_hidden(3, 16, 12)


@pytest.fixture
def batch():
    return {"image": torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_without_mimicking_it_is_mae_bit_for_bit(given_mask, hidden, batch):
    ours, mae = (made(kind, given_mask, hidden, **more) for kind, more in ((MRMAE, {"mimic_weight": 0.0}), (MAE, {})))
    mae.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.startswith("objectives")})
    assert torch.equal(ours.step(batch, 0).loss.total, mae.step(batch, 0).loss.total)


def test_the_loss_by_hand(given_mask, hidden, batch):
    """A given teacher of another width, its features normed, at the 4 visible patches of each image."""
    torch.manual_seed(5)
    teacher = encoder(48).eval()
    ours = made(MRMAE, given_mask, hidden, teacher=teacher, mimic_weight=0.5)
    step = ours.step(batch, 0)
    tokens = ours.tokenizer(batch)
    with torch.no_grad():
        feature = F.layer_norm(teacher(tokens).values, [48])[~hidden].view(3, 4, 48)
        head = ours.objectives["mimic"].predictor
        mimic = (head.head(step.latent.values) - feature).square().mean()
    torch.testing.assert_close(step.terms["mimic"], mimic)
    mae = made(MAE, given_mask, hidden)
    mae.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.startswith("objectives")})
    torch.testing.assert_close(step.loss.total, mae.step(batch, 0).loss.total + 0.5 * mimic)


def test_no_gradient_of_mimicking_reaches_the_decoder(given_mask, hidden, batch):
    ours = made(MRMAE, given_mask, hidden)
    ours.loss_weight = 0.0
    ours.step(batch, 0).loss.total.backward()
    assert not any(p.grad is not None and p.grad.any() for p in ours.predictor.parameters())
    assert all(p.grad.any() for p in ours.objectives["mimic"].predictor.parameters())
    assert ours.encoder.vit.blocks[0].attn.qkv.weight.grad.any()


def test_no_hidden_pixel_reaches_what_mimics(given_mask, hidden, batch):
    ours = made(MRMAE, given_mask, hidden)
    covered = hidden.view(3, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = {"image": torch.where(covered, 1 - batch["image"], batch["image"])}
    first, again = (ours.step(one, 0).objectives["mimic"] for one in (batch, other))
    assert torch.equal(first.prediction.values, again.prediction.values)
    assert not torch.equal(first.target, again.target)  # the teacher sees all


def test_two_teachers_are_refused():
    with pytest.raises(ValueError, match="`teacher_run` must be left out when `teacher` is given"):
        MRMAE(patch_size=4, encoder=encoder(), teacher=encoder(), teacher_run="runs/other")
