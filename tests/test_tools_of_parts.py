"""What commands do with joint runs: pictures, codes, probes and exports of some parts, each from that part alone."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import unmask
from unmask import Corruption, EncoderByPart, Latent, Tokens
from unmask.cli import main
from unmask.joint import split_by_part
from unmask.of_parts import ModelOfParts
from unmask.runs.trained import load_run
from unmask.structures import Mask, Places
from unmask.tools.features.labels import real_tokens
from unmask.tools.features.samples import owners
from unmask.tools.finetune import load as load_tuned
from unmask.tools.pictures.drawing import parts_of
from unmask.tools.pictures.reconstruct import GivenParts

STEM = {
    "class_path": "vision.vit",
    "init_args": {
        "name": "vit_tiny_patch16_224", "image_size": 8, "channels": 1, "positions": "sincos",
        "options": {"embed_dim": 24, "depth": 0, "num_heads": 2, "class_token": False, "global_pool": "avg"},
    },
}  # fmt: skip


def stem(patch_size):
    return STEM | {"init_args": STEM["init_args"] | {"patch_size": patch_size}}


def patches(size):
    return {"class_path": "vision.patches", "init_args": {"patch_size": size, "channels": 1}}


JOINT = {
    "seed_everything": 0,
    "model": {
        "class_path": "multimodal.multimae",
        "init_args": {
            "answers": {"fine": 4, "coarse": 16},
            "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
            "mask": {"class_path": "multimodal.budget", "init_args": {"num_visible": 8}},
            "tokenizer": {
                "class_path": "by-part",
                "init_args": {"tokenizers": {"fine": patches(2), "coarse": patches(4)}},
            },
            "encoder": {
                "class_path": "multimodal.joint",
                "init_args": {
                    "trunk": {
                        "class_path": "unmask_multimodal.encoders.JointTrunk",
                        "init_args": {"width": 24, "depth": 1, "num_heads": 2},
                    },
                    "encoders": {"fine": stem(2), "coarse": stem(4)},
                },
            },
            "optim": {"base_lr": 1e-3, "scale_lr": False, "warmup_steps": 1},
        },
    },
    "data": {"class_path": "vision.digits", "init_args": {"batch_size": 64}},
    "trainer": {"max_steps": 2, "precision": "32-true", "limit_val_batches": 1, "accelerator": "cpu"},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("joint")


@pytest.fixture(scope="module")
def run(folder):
    """Digits as patches of two sizes, under one trunk."""
    (folder / "joint.yaml").write_text(yaml.safe_dump(JOINT, sort_keys=False))
    assert main(["fit", "--config", str(folder / "joint.yaml"), "--out", str(folder / "run")]) == 0
    return str(folder / "run")


@pytest.fixture(scope="module")
def model(run):
    return load_run(run).model


@pytest.fixture(scope="module")
def batch():
    return {"image": torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), "index": torch.arange(3)}


def test_every_part_is_drawn_under_its_name_and_answers_stand_where_they_were_asked(model, batch):
    with torch.no_grad():
        step = model.step(batch, 0)
    found = parts_of(model, step)
    assert [part.name for part in found] == ["fine", "coarse"]
    for part in found:
        losses, asked = part.step.loss.per_token, part.step.mask.asked
        assert losses.shape == asked.index.shape
        right = asked.gather(part.step.tokens.values)
        ours = (part.step.prediction.values - right).square().mean(-1)
        real = torch.ones_like(losses, dtype=torch.bool) if asked.valid is None else asked.valid
        torch.testing.assert_close(losses[real], ours[real])
    hidden = step.mask.hidden
    both = model.tokenizer.render(step.tokens, hidden)
    assert len(both) == 3
    assert both[0].shape[0] > 2 * 128  # one below the other, magnified
    halves = split_by_part(step.tokens, hidden)
    assert torch.equal(halves["fine"], step.mask.part("fine").hidden)
    assert torch.equal(halves["coarse"], step.mask.part("coarse").hidden)
    assert model.tokenizer.raw(step.tokens).shape == (3, 64 + 64)


def test_codes_of_a_part_know_nothing_of_another(model, batch):
    """Of a joint trunk: the other part is not encoded. Of encoders by part: the part's own encoder, bit for bit."""
    part = ModelOfParts(model, ["coarse"])
    tokens = model.tokenizer(batch)
    with torch.no_grad():
        codes = part.embed(batch)
        alone = model.encoder(Tokens.join({"coarse": tokens.part("coarse")}))
        both = model.embed(batch)
    assert torch.equal(codes.part("coarse").values, alone.part("coarse").values)
    assert not torch.equal(both.part("coarse").values, codes.part("coarse").values)
    assert torch.equal(both.pool(), (both.part("fine").pool() + both.part("coarse").pool()) / 2)

    encoders = model.encoder.encoders
    by_part = EncoderByPart(dict(encoders))
    with torch.no_grad():
        latent = by_part(tokens)
    assert by_part.width == 48
    assert torch.equal(latent.pool(), torch.cat([encoders[n](tokens.part(n)).pool() for n in encoders], dim=1))
    assert by_part.one("fine") is encoders["fine"]
    assert by_part.only(["fine"]).width == 24
    with pytest.raises(ValueError, match="`parts` must be some of fine, coarse, but one is 'fin'; nearest: `fine`"):
        model.embedder_of(["fin"])


def test_a_part_that_a_sample_lacks_does_not_count_in_its_vector():
    values = torch.tensor([[[2.0, 4.0]], [[6.0, 8.0]]])  # [B, 1, D]
    there = Places(torch.zeros(2, 1, dtype=torch.long), torch.tensor([[True], [False]]))
    parts = {"one": Latent(values), "other": Latent(values + 2, there)}
    assert Latent.join(parts).pool().tolist() == [[3, 5], [6, 8]]
    assert Latent.join(parts, apart=True).pool().tolist() == [[2, 4, 4, 6], [6, 8, 0, 0]]


def test_tokens_of_parts_lie_one_behind_the_other(model, batch):
    tokens = model.tokenizer(batch)
    assert real_tokens(tokens).shape == (3, 20)
    sample, place = owners(tokens)
    assert sample[1].tolist() == [1] * 20
    assert place[0].tolist() == [*range(16), *range(4)]


def test_given_parts_hide_all_of_the_others(model, batch):
    tokens = model.tokenizer(batch)
    mask = GivenParts(["coarse"])(tokens)
    assert mask.part("fine").hidden.all()
    assert not mask.part("coarse").hidden.any()
    assert not mask.part("coarse").asks
    shown = Corruption(drop=1)(tokens, mask).mask
    assert isinstance(shown, Mask)
    assert shown.part("fine").seen.index.shape == (3, 0)


def test_what_cannot_be_done_is_told_in_a_line(run, capsys):
    for words, told in (
        (["reconstruct", run, "--parts", "fine,coarse"], "`parts` must leave one out to reconstruct it"),
        (["reconstruct", run, "--parts", "fine", "--ratio", "0.5"], "`--ratio` must not be given with `--parts`"),
        (
            ["embed", run, "--parts", "corse"],
            "`--parts` must be one of fine, coarse, but is `corse`; nearest: `coarse`",
        ),
        (["import", "x.safetensors", "--into", run], "`--into` needs `--part`"),
    ):
        assert main(words) == 2, words
        assert told in capsys.readouterr().err, words


def test_pictures_and_codes_of_a_run(run, folder, capsys):
    assert main(["reconstruct", run, "--num_samples", "6"]) == 0
    told = capsys.readouterr().out
    assert "fine: squared error" in told
    assert "coarse: squared error" in told
    assert main(["reconstruct", run, "--num_samples", "6", "--parts", "coarse"]) == 0
    told = capsys.readouterr().out
    assert "fine: squared error" in told
    assert "coarse: " not in told
    assert main(["embed", run, "--split", "val", "--parts", "coarse"]) == 0
    trained = unmask.load(run)
    rows = np.load(folder / "run" / "features-coarse.npy")
    assert rows.shape == (500, 24)
    samples = [trained.data.splits.val[i] for i in range(4)]
    np.testing.assert_allclose(trained.embed(samples, parts="coarse"), rows[:4], atol=1e-5)
    assert not np.allclose(trained.embed(samples), rows[:4], atol=1e-3)


@pytest.mark.slow
def test_what_takes_longer_is_told_as_well(run, capsys):
    for words, told in (
        (["export", run, "--format", "vision.timm", "--part", "x"], "`--part` must be one of fine, coarse, but is `x`"),
        (["export", run, "--format", "vision.timm"], "`--part` exports the encoder of one part"),
        (["score", run, "--parts", "fine,coarse"], "Nothing can be scored."),
    ):
        assert main(words) == 2, words
        assert told in capsys.readouterr().err, words


@pytest.mark.slow
def test_probes_of_each_part_and_of_all_in_one_table(run, folder, capsys):
    options = ["--probes", "linear", "--num_draws", "1", "--labels_per_class", "5"]
    assert main(["probe", run, *options]) == 0
    table = json.loads((folder / "run" / "probe.json").read_text())
    heads = list(dict.fromkeys(row["name"].partition(":")[0] for row in table["rows"]))
    assert heads == ["fine", "coarse", "fine+coarse"]
    assert main(["probe", run, "--parts", "coarse", *options]) == 0
    own = json.loads((folder / "run" / "probe.json").read_text())
    of_coarse = [row for row in table["rows"] if row["name"].startswith("coarse:")]
    assert [row["mean"] for row in of_coarse] == [row["mean"] for row in own["rows"]]


@pytest.mark.slow
def test_a_part_is_fine_tuned_and_read_back(run, folder, batch, capsys):
    options = ["--parts", "coarse", "--epochs", "1", "--labels_per_class", "10", "--no_scratch"]
    assert main(["finetune", run, *options]) == 0
    tuned = load_tuned(folder / "run" / "parts-coarse" / "finetune" / "pretrained-10-per-class-seed0.ckpt")
    assert tuned.parts == ("coarse",)
    assert tuned.predict(batch).shape == (3,)


@pytest.mark.slow
def test_a_part_s_encoder_travels(run, folder, capsys):
    """Out of a joint run, into another; and from a run of one modality into a part, other weights kept."""
    out = folder / "fine.safetensors"
    assert main(["export", run, "--format", "safetensors", "--part", "fine", "--out", str(out)]) == 0
    own = load_run(run).model.encoder.encoders["fine"].state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in load_file(out).items())
    config = str(folder / "joint.yaml")
    assert main(["import", str(out), "--config", config, "--part", "fine", "--out", str(folder / "with")]) == 0
    made = load_run(folder / "with").model.encoder.encoders
    assert all(torch.equal(own[name], tensor) for name, tensor in made["fine"].state_dict().items())
    assert main(["import", str(out), "--into", run, "--part", "fine", "--out", str(folder / "into")]) == 0
    before, after = (load_run(one).model.state_dict() for one in (run, folder / "into"))
    assert all(torch.equal(before[name], after[name]) for name in before)
