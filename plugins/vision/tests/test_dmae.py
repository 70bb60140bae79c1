"""DMAE: an inner layer tells a teacher's, of the patches that both see."""

import pytest
import torch
import torch.nn.functional as F
from transformers import ViTMAEConfig, ViTMAEModel

from unmask.predictors import TransformerPredictor
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.exchange import to_transformers
from unmask_vision.methods import DMAE, MAE
from unmask_vision.tokenizer import PatchTokenizer


def encoder(width=32, depth=4):
    options = {"embed_dim": width, "depth": depth, "num_heads": 4}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=options)


def fixed(make, *sizes):
    """The same weights whatever has been drawn before, as a file would have them."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return make(*sizes)


def made(kind=DMAE, **options):
    torch.manual_seed(0)
    predictor = TransformerPredictor(32, 48, width=24, depth=1, num_heads=2)
    return kind(patch_size=4, **{"encoder": encoder(), "predictor": predictor, **options})


@pytest.fixture
def batch():
    return {"image": torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


class TestDMAE(MethodContract):
    def make(self):
        return made(teacher=fixed(encoder, 48, 2))

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def test_without_distilling_it_is_mae_bit_for_bit(batch):
    ours, mae = made(distil_weight=0.0, teacher=encoder(48, 2)).eval(), made(MAE).eval()
    mae.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.startswith("objectives")})
    assert torch.equal(ours.step(batch, 0).loss.total, mae.step(batch, 0).loss.total)


def test_the_teacher_s_layer_equals_transformers_and_the_term_is_right(given_mask, some_hidden, batch):
    hidden = some_hidden(3, 16, 12)
    torch.manual_seed(5)
    teacher = encoder(48, 8)
    plain = PatchTokenizer(4, mean=[0.0] * 3, std=[1.0] * 3)
    ours = made(teacher=teacher, mask=given_mask(hidden), tokenizer=plain).eval()
    config = ViTMAEConfig(
        hidden_size=48, num_hidden_layers=8, num_attention_heads=4, intermediate_size=192, image_size=16, patch_size=4,
        layer_norm_eps=1e-6, mask_ratio=0.75,
    )  # fmt: skip
    theirs = ViTMAEModel(config).eval()
    as_mae = made(MAE, encoder=teacher, predictor=TransformerPredictor(48, 48, width=24, depth=1, num_heads=2))
    weights = {k.removeprefix("vit."): v for k, v in to_transformers(as_mae).items() if k.startswith("vit.")}
    theirs.load_state_dict(weights, strict=True)
    noise = hidden.float() + torch.linspace(0, 0.5, 16)  # kept in order
    with torch.no_grad():
        step = ours.step(batch)
        state = theirs(batch["image"], noise=noise, output_hidden_states=True).hidden_states[6]  # of 8
        x = ours.encoder(step.tokens, step.mask, 3).values  # of 4
    torch.testing.assert_close(step.objectives["distil"].target, state[:, 1:], rtol=1e-4, atol=1e-5)
    answer = ours.objectives["distil"].predictor.head(x)
    gap = F.normalize(answer, dim=-1) - F.normalize(state[:, 1:], dim=-1)
    torch.testing.assert_close(step.terms["distil"], gap.abs().mean(), rtol=1e-4, atol=1e-6)


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"`layer` must be in \[1, 2\]"):
        made(teacher=encoder(48, 2), teacher_layer=3)
    with pytest.raises(ValueError, match=r"`layer` must be in \[1, 4\]"):
        made(inner_layer=5)
