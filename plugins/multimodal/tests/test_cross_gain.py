"""Cross gain: 0 where nothing crosses, by hand where something does, and exchanged padding."""

import dataclasses

import pytest
import torch

from unmask import Draws, LossByPart, MaskedModel, PredictorByPart, TokenizerByPart, seeds
from unmask.api import UserError, main
from unmask.losses import MSELoss
from unmask.masks import MaskByPart, RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask.testing import shaken
from unmask_multimodal.cross_gain import cross_gains, exchanged, exchanged_mask, losses_of
from unmask_multimodal.encoders import JointEncoder, JointTrunk
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

OPTIONS = {"embed_dim": 24, "num_heads": 3, "depth": 0, "class_token": False, "global_pool": "avg"}


def model(names="ab", routes=None):
    torch.manual_seed(0)
    stems = {n: ViTEncoder("vit_tiny_patch16_224", 8, 2, 1, positions="sincos", options=OPTIONS) for n in names}
    made = MaskedModel(
        tokenizer=TokenizerByPart({n: PatchTokenizer(2, 1) for n in names}, {n: {"image": n} for n in names}),
        mask=MaskByPart({n: RandomMask(0.5) for n in names}),
        encoder=JointEncoder(stems, JointTrunk(24, 2, 3, routes=routes)),
        predictor=PredictorByPart({n: TransformerPredictor(24, 4, 16, 1, 2) for n in names}),
        target=ValueTarget(),
        loss=LossByPart({n: MSELoss() for n in names}),
    )
    return shaken(made).eval()


def batch(size=5, seed=0):
    a, b = torch.rand(2, size, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return {"a": a, "b": b}


def test_nothing_crosses_where_the_parts_read_only_themselves():
    apart = cross_gains(model(routes={"a": ["a"], "b": ["b"]}), [batch()])
    assert [(one.asked, one.given, one.gain, one.error, one.samples) for one in apart] == [
        ("a", "b", 0.0, 0.0, 5),
        ("b", "a", 0.0, 0.0, 5),
    ]
    one_way = {one.given: one.gain for one in cross_gains(model(routes={"a": ["a"]}), [batch()])}
    assert one_way["b"] == 0.0
    assert one_way["a"] != 0.0


def test_the_gain_by_hand():
    """Masks follow from the samples' numbers, so a step on rolled images is the step with another's part."""
    made, batches = model(), [batch(), batch(4, 1), batch(1, 2)]  # the last has no other sample and does not count
    (found, _) = cross_gains(made, batches)
    assert (found.asked, found.given, found.samples) == ("a", "b", 9)
    more, before = [], []
    for number, samples in enumerate(batches[:2]):
        with torch.no_grad():
            key = seeds.mix("validate", number)
            own = made.step(samples, key)
            other = made.step({**samples, "b": samples["b"].roll(-1, 0)}, key)
        errors = [
            (s.prediction.part("a").values - s.mask.part("a").asked.gather(s.tokens.part("a").values))
            .square()
            .mean((1, 2))
            for s in (own, other)
        ]
        before.append(errors[0])
        more.append(errors[1] - errors[0])
    more = torch.cat(more)
    assert found.own == pytest.approx(float(torch.cat(before).mean()), rel=1e-5)
    assert found.gain == pytest.approx(float(more.mean()), rel=1e-3)
    assert found.error == pytest.approx(float(more.std() / 3), rel=1e-3)


def test_padding_comes_with_the_part():
    made = model()
    tokens = made.tokenizer(batch())
    valid = torch.arange(16) < torch.tensor([16, 12, 8, 4, 16])[:, None]
    tokens = type(tokens).join({**tokens.parts, "b": dataclasses.replace(tokens.part("b"), valid=valid)})
    mask = made.mask(tokens, draws=Draws.of(0, torch.arange(5)))
    other, turned = exchanged(tokens, "b"), exchanged_mask(mask, "b")
    assert torch.equal(other.part("b").valid, valid.roll(-1, 0))
    assert torch.equal(turned.part("b").hidden, mask.part("b").hidden.roll(-1, 0))
    assert not (turned.part("b").hidden & ~other.part("b").valid).any()
    assert torch.equal(other.part("a").values, tokens.part("a").values)
    assert torch.equal(turned.part("a").hidden, mask.part("a").hidden)
    assert exchanged_mask(mask, "a") is mask


def test_samples_that_are_asked_nothing_do_not_count():
    made = model()
    step = made.step(batch(), 0)
    answers = step.prediction.part("a")
    valid = torch.ones_like(answers.asked.index, dtype=torch.bool)
    valid[2] = False
    none = dataclasses.replace(answers, asked=dataclasses.replace(answers.asked, valid=valid))
    parts = {**step.prediction.parts, "a": none}
    found = losses_of(step._replace(prediction=dataclasses.replace(step.prediction, parts=parts)))
    assert found["a"].isnan().tolist() == [False, False, True, False, False]
    assert torch.allclose(found["a"][0], step.loss.per_token[0, :8].double().mean())
    assert torch.allclose(found["b"][0], step.loss.per_token[0, 8:].double().mean())


def test_what_has_no_other_part_is_refused():
    with pytest.raises(UserError, match="`run` must be of a method that predicts parts, but is of MaskedModel"):
        cross_gains(model("a"), [batch()])
    with pytest.raises(UserError, match="a batch of two samples or more"):
        cross_gains(model(), [batch(1)])


def test_the_command_on_a_run(tmp_path, capsys):
    few = ["--data.init_args.num_train", "16", "--data.init_args.num_val", "8", "--data.init_args.batch_size", "8",
           "--trainer.max_steps", "2"]  # fmt: skip
    run = str(tmp_path / "run")
    assert main(["fit", "--config", "multimodal/multimae-solids", *few, "--out", run]) == 0
    capsys.readouterr()
    assert main(["multimodal-cross-gain", run]) == 0
    lines = capsys.readouterr().out.splitlines()
    pairs = [tuple(line.split()[:2]) for line in lines[2:]]
    assert pairs == [(a, b) for a in ("depth", "image", "labels") for b in ("depth", "image", "labels") if a != b]
    assert all(line.split()[-1] == "8" for line in lines[2:])
