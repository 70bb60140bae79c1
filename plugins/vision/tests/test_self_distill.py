"""Self-distillation for further pretraining: codes of whole images stay near a teacher's."""

import pytest
import torch

from unmask.api import load_run, main
from unmask.predictors import TransformerPredictor
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE, SelfDistill


def encoder():
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=options)


def made(kind=SelfDistill, **options):
    torch.manual_seed(0)
    predictor = TransformerPredictor(32, 48, width=24, depth=1, num_heads=2)
    return kind(patch_size=4, encoder=encoder(), predictor=predictor, **options)


@pytest.fixture
def batch():
    return {"image": torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


class TestSelfDistill(MethodContract):
    def make(self):
        return made(distil_weight=0.5)

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def test_without_distilling_it_is_mae_bit_for_bit(batch):
    assert torch.equal(
        made(distil_weight=0.0).eval().step(batch, 0).loss.total, made(MAE).eval().step(batch, 0).loss.total
    )


def test_a_teacher_that_is_the_start_costs_nothing_at_first_and_stays(batch):
    model = made().eval()
    assert model.step(batch, 0).terms["distil"] == 0
    with torch.no_grad():
        model.encoder.vit.patch_embed.proj.weight.add_(0.1)
    model.terms["distil"].teacher.update(model, model.progress)
    step = model.step(batch, 0)
    with torch.no_grad():
        gap = model.encoder(step.tokens).values - encoder_as(made().encoder, step.tokens)
    torch.testing.assert_close(step.terms["distil"], gap.square().mean())
    assert step.terms["distil"] > 0


def encoder_as(start, tokens):
    with torch.no_grad():
        return start.eval()(tokens).values


def test_runs_are_the_start_and_the_teacher(tmp_path, monkeypatch):
    """The second command: weights of one run, features of another."""
    monkeypatch.chdir(tmp_path)
    few = ["--trainer.max_steps", "2", "--trainer.precision", "32-true", "--trainer.logger", "false"]
    for name, seed in (("one", "1"), ("two", "2")):
        assert main(["fit", "--config", "vision/mae-digits", "--out", name, "--seed_everything", seed, *few]) == 0
    one = load_run("one").model
    options = {"embed_dim": one.encoder.width, "depth": one.encoder.num_layers, "num_heads": 3}
    decoder = one.predictor
    ours = SelfDistill(
        patch_size=2,
        channels=1,
        encoder=ViTEncoder("vit_tiny_patch16_224", 8, 2, 1, positions="sincos", options=options),
        predictor=TransformerPredictor(
            one.encoder.width, 4, decoder.width, len(decoder.trunk.blocks), decoder.trunk.blocks[0].attn.num_heads
        ),
        start_run="one",
        teacher_run="two",
    )
    for part in ("encoder", "predictor"):
        for name, tensor in getattr(one, part).state_dict().items():
            assert torch.equal(getattr(ours, part).state_dict()[name], tensor), name
    teacher = ours.terms["distil"].teacher.encoder
    theirs = load_run("two").model.encoder.vit.blocks[0].attn.qkv.weight
    assert torch.equal(teacher.vit.blocks[0].attn.qkv.weight, theirs)
    assert not torch.equal(ours.encoder.vit.blocks[0].attn.qkv.weight, theirs)
