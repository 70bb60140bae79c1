"""Every command on every method, by the contract; and Point-BERT's two stages by one command."""

import csv
import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from unmask.api import load_run, main
from unmask.testing import FEW_STEPS, RunContract
from unmask_pointcloud.data import PointCloudFilesData
from unmask_pointcloud.data.augment import Jitter
from unmask_pointcloud.encoders import PointTransformer
from unmask_pointcloud.methods import PointBERT

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

        # What was trained labels each point of new files.
        points = np.random.default_rng(0).normal(size=(150, 3)).round(3)
        Path("scans").mkdir()
        np.savetxt("scans/a.xyz", points, fmt="%.3f")
        Path("new.yaml").write_text("data: {class_path: pointcloud.files, init_args: {folder: scans, num_points: 64}}")
        label = ["pointcloud-label", str(run_folder), "scans"]
        assert main(label) == 2
        assert "give `--data` a YAML file" in capsys.readouterr().err
        assert main([*label, "--data", "new.yaml", "--out", "labels.csv"]) == 0
        assert "150 points: " in capsys.readouterr().out
        with open("labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["point"]) for row in rows] == list(range(150))
        assert np.array_equal([[float(row[name]) for name in "xyz"] for row in rows], points)
        for row in rows[:20]:
            shares = {name[2:-1]: float(share) for name, share in row.items() if name.startswith("p(")}
            assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
            assert max(shares, key=shares.get) == row["class"] and shares[row["class"]] == float(row["probability"])
        assert main([*label, "--data", "new.yaml", "--out", "labels.csv"]) == 2
        assert "is there already" in capsys.readouterr().err

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


@pytest.mark.slow
def test_one_command_trains_both_stages_and_reuses_the_first(short_recipe, capfd):
    assert main([*short_recipe, "--out", "runs/second"]) == 0
    said = "First stage, on the same data: unmask fit --config first.yaml --config runs/first/first-stage.yaml --out"
    assert said in capfd.readouterr().out
    (session,) = json.loads(Path("runs/first/environment.json").read_text())
    assert (session["last_step"], session["ended"]) == (2, "finished")
    first, second = load_run("runs/first").model, load_run("runs/second").model
    assert second.target.taken
    for name, tensor in first.encoder.state_dict().items():
        assert torch.equal(second.target.dvae.state_dict()[name], tensor), name

    written = Path("runs/first/checkpoints/last.ckpt").stat().st_mtime_ns
    assert main([*short_recipe, "--out", "runs/third"]) == 0
    told = capfd.readouterr().out
    assert "First stage: runs/first, trained on the same data." in told
    assert "unmask fit" not in told
    assert Path("runs/first/checkpoints/last.ckpt").stat().st_mtime_ns == written

    # One of another size is refused.
    assert main([*short_recipe, "--model.num_codes", "64", "--out", "runs/other"]) == 2
    assert "do not fit the model of `dvae`" in capfd.readouterr().err.splitlines()[-1]

    # A run that goes on has all it needs in its checkpoint.
    Path("runs/first").rename("runs/gone")
    longer = [*short_recipe, "--trainer.max_steps", "6", "--model.dvae_recipe", "null", "--model.dvae_run", "null"]
    assert main([*longer, "--out", "runs/second", "--ckpt_path", "last"]) == 0
    again = load_run("runs/second").model
    assert torch.equal(again.target.dvae.book, first.encoder.book)

    # Where there is neither, it is said in a line.
    assert main([*longer, "--out", "runs/none"]) == 2
    assert "`dvae_run` must be the folder of a finished run" in capfd.readouterr().err.splitlines()[-1]


@pytest.fixture
def own(short_recipe):
    """The same on clouds of one's own, in 12 files."""
    Path("clouds").mkdir()
    for number in range(12):
        np.savetxt(f"clouds/{number}.xyz", np.random.default_rng(number).normal(size=(130, 3)))
    at = short_recipe.index("--data.num_solids")
    return [*short_recipe[:at], *short_recipe[at + 2 :], "--data", "pointcloud.files", "--data.folder", "clouds"]


@pytest.mark.slow
def test_the_first_stage_learns_from_the_same_data(own, short_recipe, capfd):
    """Its patches and codes are made to agree, as well."""
    other = [
        "--model.patch_size",
        "16",
        "--model.num_codes",
        "64",
        "--data.num_points",
        "100",
        "--data.batch_size",
        "5",
    ]
    assert main([*own, *other, "--out", "runs/second"]) == 0
    assert "12 clouds: 1,536 points." in capfd.readouterr().out
    first, second = load_run("runs/first"), load_run("runs/second")
    assert isinstance(first.datamodule, PointCloudFilesData)
    assert (first.datamodule.source.folder, first.datamodule.num_points, first.datamodule.batch_size) == (
        "clouds",
        100,
        5,
    )
    assert (first.model.tokenizer.patch_size, first.model.encoder.num_codes) == (16, 64)
    assert torch.equal(second.model.target.dvae.book, first.model.encoder.book)

    # Another spelling and other batches are the same data, and a run that is looked at asks for no first stage.
    again = [*own, *other, "--data.folder", str(Path("clouds").absolute()), "--data.batch_size", "4"]
    assert main([*again, "--out", "runs/third"]) == 0
    assert "First stage: runs/first, trained on the same data." in capfd.readouterr().out
    Path("other.yaml").write_text(
        "data: {class_path: pointcloud.solids, init_args: {num_solids: 48, num_points: 100}}\n"
    )
    few = ["--probes", "knn", "--max_stored", "40"]
    Path("runs/first").rename("runs/gone")
    assert main(["probe", "runs/second", "--data", "other.yaml", *few]) == 0
    assert not Path("runs/first").exists()
    Path("runs/gone").rename("runs/first")
    capfd.readouterr()

    # A finished one of other data is not taken for it, nor one of other patches.
    out = ["--out", "runs/fourth"]
    way_out = "; give another folder, delete it, or set `dvae_recipe` to null to take it as it is."
    for given, said in (
        ([*short_recipe, "--model.patch_size", "16"], "PointCloudFilesData instead of SolidsData" + way_out),
        ([*own, *other, "--data.num_points", "90"], "`num_points` 100 instead of 90" + way_out),
        (
            [*own, *other, "--model.patch_size", "8"],
            "has `patch_size` 16 instead of 8; give another folder, or delete it.",
        ),
    ):
        assert main([*given, *out]) == 2
        assert capfd.readouterr().err.splitlines()[-1].endswith(said), said

    # Unless somebody says so: then it is told.
    alone = [*short_recipe, "--model.patch_size", "16", "--model.num_codes", "64", "--model.dvae_recipe", "null"]
    assert main([*alone, *out]) == 0
    told = "First stage: runs/first, trained on other data: PointCloudFilesData instead of SolidsData."
    assert told in capfd.readouterr().out


@pytest.mark.slow
def test_the_first_stage_in_python(own, capfd):
    """A data module that was made by hand is described for the command; one that cannot be is refused."""

    def fit(data, **options):
        dvae = {"num_patches": 8, "num_codes": 16, "dvae_width": 16, "hidden_width": 8, "queue_size": 8}
        encoder = PointTransformer(32, 1, 1, 0, 16, 8, class_token=True, mask_token=True)
        stage = {"dvae_run": "runs/first", "dvae_recipe": "first.yaml"}
        model = PointBERT(**(stage | options), **dvae, encoder=encoder)
        trainer = L.Trainer(
            max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
        given = {"datamodule": data} if isinstance(data, L.LightningDataModule) else {"train_dataloaders": data}
        trainer.fit(model, **given)
        return model

    def clouds(**options):
        return PointCloudFilesData("clouds", batch_size=4, num_points=100, **options)

    data = clouds()
    data.setup()
    loaders = data.train_dataloader()
    for given, said in (
        (clouds(augment=Jitter()), "cannot make this run's data: a config cannot say `augment`, a Jitter; train the"),
        (loaders, "the trainer was given loaders, not a data module; train the first stage before"),
    ):
        with pytest.raises(ValueError, match=f"`dvae_recipe` must be left out .*{said}"):
            fit(given)
    model = fit(clouds(augment=("jitter",)))
    assert torch.equal(load_run("runs/first").model.encoder.book, model.target.dvae.book)
    assert load_run("runs/first").datamodule.augmentations[0].sigma == 0.01
    capfd.readouterr()

    fit(clouds(augment=["jitter"], num_workers=0))
    assert "First stage: runs/first, trained on the same data." in capfd.readouterr().out
    with pytest.raises(
        ValueError, match=r"was trained on `augment` \['jitter'\] instead of \['scale-translate'\]; give"
    ):
        fit(clouds())
    fit(loaders)
    assert "whether it was trained on the data of this run is not known" in capfd.readouterr().out


def test_the_first_stage_is_looked_at_by_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "pointcloud/dvae-solids", *SMALL, *FEW_STEPS, "--out", "run"]) == 0
    assert main(["reconstruct", "run", "--num_samples", "2", "--out", "pictures/it.png"]) == 0
    names = {path.name for path in Path("pictures").iterdir()}
    assert {"it.png", "0-input.ply", "0-prediction.ply"} <= {name.removeprefix("it-") for name in names}
    assert main(["probe", "run", "--probes", "knn", "--max_stored", "40"]) == 0
    found = json.loads(Path("run/probe.json").read_text())
    assert "pretrained encoder" in found["columns"]


def test_an_option_of_a_part_that_is_not_named_is_refused_in_a_line(capsys):
    words = ["fit", "--config", "pointcloud/point-mae-files", "--data.folder", "x", "--model.encoder.channels", "3"]
    assert main(words) == 2
    told = (
        "`--model.encoder.channels` must come after `--model.encoder NAME`, which names the part that it is an option"
    )
    assert capsys.readouterr().err.strip() == f"{told} of."
