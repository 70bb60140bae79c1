"""Every command on every method, by the contract; and Point-BERT's two stages by one command."""

import json
from pathlib import Path

import pytest
import torch

from unmask.cli import main
from unmask.evaluate.trained import load_run
from unmask.testing.runs import FEW_STEPS, RunContract

SMALL_DATA = (
    "--data.num_solids",
    "48",
    "--data.num_points",
    "128",
    "--data.stored_points",
    "128",
    "--data.batch_size",
    "8",
)
SMALL = ("--model.num_patches", "8", *SMALL_DATA)


class TestPointMAE(RunContract):
    arguments = ["--config", "pointcloud/point-mae-solids", *SMALL]

    def test_it_tells_parts_of_clouds(self, run_folder, capsys):
        few = ["--max_steps", "2", "--batch_size", "8", "--seeds", "0,1"]
        assert main(["pointcloud-segment", str(run_folder), *few]) == 0
        assert "Mean IoU, %, over classes and over clouds" in capsys.readouterr().out
        found = json.loads((run_folder / "segment" / "segment.json").read_text())
        assert [(one["encoder"], one["seed"]) for one in found] == [
            (encoder, seed) for seed in (0, 1) for encoder in ("from scratch", "pretrained")
        ]
        assert all(0 < one["classes"] < 1 and 0 < one["clouds"] < 1 for one in found)
        told = json.loads((run_folder / "segment" / "finetune.json").read_text())
        assert told["task"] == {"kind": "classification", "per_token": True}

    def test_it_is_scored_on_few_clouds(self, run_folder, capsys):
        few = ["--ways", "2,3", "--shots", "2", "--episodes", "2"]
        assert main(["pointcloud-few-shot", str(run_folder), *few]) == 0
        assert "3-way, 2 shots" in capsys.readouterr().out
        rows = json.loads((run_folder / "few-shot.json").read_text())["rows"]
        assert [(row["ways"], row["shots"]) for row in rows] == [(2, 2), (3, 2)]
        assert all(len(scores) == 2 for row in rows for scores in row["scores"].values())
        assert main(["pointcloud-few-shot", str(run_folder), "--ways", "40"]) == 2
        assert "`ways` must be at most" in capsys.readouterr().err

    def test_it_votes_once_it_is_fine_tuned(self, run_folder, capsys):
        assert main(["pointcloud-vote", str(run_folder), "--looks", "2"]) == 2
        assert "must have been fine-tuned" in capsys.readouterr().err
        assert main(["finetune", str(run_folder), "--max_steps", "2", "--val_ratio", "0"]) == 0
        assert main(["pointcloud-vote", str(run_folder), "--looks", "2"]) == 0
        assert "vote of 2" in capsys.readouterr().out
        found = json.loads((run_folder / "vote.json").read_text())["accuracy"]
        assert set(found) == {"scratch-seed0", "pretrained-seed0"}
        tuned = json.loads((run_folder / "finetune.json").read_text())["rows"]
        (accuracy,) = (row["mean"] for row in tuned if row["name"] == "accuracy")
        assert found["pretrained-seed0"]["single"] == pytest.approx(accuracy["pretrained"])


class TestPointBERT(RunContract):
    arguments = ["--config", "pointcloud/point-bert-solids", *SMALL]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _first_stage(cls, tmp_path_factory):
        folder = str(tmp_path_factory.mktemp("first") / "dvae")
        assert main(["fit", "--config", "pointcloud/dvae-solids", *SMALL, *FEW_STEPS, "--out", folder]) == 0
        cls.arguments = [*cls.arguments, "--model.dvae_run", folder]


@pytest.fixture
def short_recipe(tmp_path, monkeypatch):
    """A first stage of two steps."""
    monkeypatch.chdir(tmp_path)
    made = (
        "model: {class_path: pointcloud.dvae, init_args: {num_patches: 8, patch_size: 32, num_codes: 128, width: 64, "
        "hidden_width: 32}}\n"
        "data: {class_path: pointcloud.solids, init_args: {num_solids: 48, num_points: 128, stored_points: 128, "
        "batch_size: 8}}\n"
        "trainer: {max_steps: 2, accelerator: cpu}\n"
    )
    Path("first.yaml").write_text(made)
    return [
        "fit", "--config", "pointcloud/point-bert-solids", *SMALL, *FEW_STEPS, "--model.dvae_run", "runs/first",
        "--model.dvae_recipe", "first.yaml",
    ]  # fmt: skip


def test_one_command_trains_both_stages_and_reuses_the_first(short_recipe, capfd):
    assert main([*short_recipe, "--out", "runs/second"]) == 0
    assert "First stage: unmask fit --config first.yaml --out runs/first" in capfd.readouterr().out
    (session,) = json.loads(Path("runs/first/environment.json").read_text())
    assert (session["last_step"], session["ended"]) == (2, "finished")
    first, second = load_run("runs/first").model, load_run("runs/second").model
    assert second.has_dvae
    for name, tensor in first.encoder.state_dict().items():
        assert torch.equal(second.target.dvae.state_dict()[name], tensor), name

    written = Path("runs/first/checkpoints/last.ckpt").stat().st_mtime_ns
    assert main([*short_recipe, "--out", "runs/third"]) == 0
    assert "First stage" not in capfd.readouterr().out
    assert Path("runs/first/checkpoints/last.ckpt").stat().st_mtime_ns == written

    # One of another size is refused.
    assert main([*short_recipe, "--model.num_codes", "64", "--out", "runs/other"]) == 2
    assert "do not fit the model of `model`" in capfd.readouterr().err.splitlines()[-1]

    # A run that goes on has all it needs in its checkpoint.
    Path("runs/first").rename("runs/gone")
    longer = [*short_recipe, "--trainer.max_steps", "6", "--model.dvae_recipe", "null", "--model.dvae_run", "null"]
    assert main([*longer, "--out", "runs/second", "--ckpt_path", "last"]) == 0
    again = load_run("runs/second").model
    assert torch.equal(again.target.dvae.book, first.encoder.book)

    # Where there is neither, it is said in a line.
    assert main([*longer, "--out", "runs/none"]) == 2
    assert "`dvae_run` must be the folder of a finished run" in capfd.readouterr().err.splitlines()[-1]


def test_the_first_stage_is_looked_at_by_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "pointcloud/dvae-solids", *SMALL, *FEW_STEPS, "--out", "run"]) == 0
    assert main(["reconstruct", "run", "--num_samples", "2", "--out", "pictures/it.png"]) == 0
    names = {path.name for path in Path("pictures").iterdir()}
    assert {"it.png", "0-input.ply", "0-prediction.ply"} <= {name.removeprefix("it-") for name in names}
    assert main(["probe", "run", "--probes", "knn", "--max_stored", "40"]) == 0
    found = json.loads(Path("run/probe.json").read_text())
    assert "pretrained encoder" in found["columns"]
