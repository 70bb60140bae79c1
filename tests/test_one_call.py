"""`unmask.pretrain`, `unmask.load` and ``unmask pretrain``: what is taken for what, and that a call is a ``fit``."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import unmask
from unmask.cli import main
from unmask.configs.guessing import guess
from unmask.runs.checkpoints import read_checkpoint
from unmask.support.errors import UserError

DIGITS = {"max_steps": 3, "batch_size": 16, "precision": "32-true", "accelerator": "cpu"}
KINDS = {
    "photo.png": ("vision/mae-folder", "folder"),
    "bird.wav": ("audio/audio-mae-files", "folder"),
    "page.md": ("text/mlm-files", "paths"),
    "web.graphml": ("graph/graphmae-files", "paths"),
    "scan.ply": ("pointcloud/point-mae-files", "folder"),
}


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cats/one", "cats/two", "dogs/one", "dogs/two"):
        file = tmp_path / "photos" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    return tmp_path / "photos"


@pytest.mark.parametrize("name", KINDS)
def test_files_tell_the_modality(name, tmp_path):
    (tmp_path / name).touch()
    recipe, option = KINDS[name]
    found = guess(str(tmp_path))
    assert found.recipe == recipe
    assert found.words == [f"--data.{option}={tmp_path}"]
    assert "1 of 1 file" in found.told


def test_files_that_one_kind_alone_has_count_first(photos):
    for name in ("a", "b", "c", "d", "e", "f"):
        (photos / f"{name}.txt").touch()
    assert guess(str(photos)).recipe == "vision/mae-folder"
    assert guess(str(photos), "text.mlm").recipe == "text/mlm-files"


def test_several_places_are_a_list_whatever_they_are_called(tmp_path):
    for name in ("a, b", "c]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.md").touch()
    found = guess([str(tmp_path / "a, b"), str(tmp_path / "c]")])
    assert json.loads(found.words[0].partition("=")[2]) == [str(tmp_path / "a, b"), str(tmp_path / "c]")]


def test_what_can_be_several_things_is_asked_for(tmp_path):
    (tmp_path / "table.csv").touch()
    with pytest.raises(
        UserError, match=r"`data` can be taken for graphs or texts; say which by `method`, such as `gra"
    ):
        guess(str(tmp_path))
    assert guess(str(tmp_path), "text.electra").words[0] == "--model=text.electra"
    (tmp_path / "table.csv").rename(tmp_path / "program.exe")
    with pytest.raises(UserError, match=r"must hold files that can be trained on \(.*but holds 1 \.exe"):
        guess(str(tmp_path))
    with pytest.raises(UserError, match=r"there is no `vision\.digit`, nor registered .*nearest: `vision\.digits`"):
        guess("vision.digit")


def test_a_recipe_has_the_method_and_the_data():
    assert guess("vision.digits", "vision.ijepa").recipe == "vision/ijepa-digits"
    assert guess("vision.digits", "vision.ijepa").words == []
    assert guess("vision.digits", "vision.simmim").recipe == "vision/simmim-digits"
    assert guess("vision.digits").recipe == guess("vision.digits", "vision.mae").recipe == "vision/mae-digits"
    with pytest.raises(UserError, match=r"No recipe trains on `vision\.torchvision`"):
        guess("vision.torchvision")


def test_one_call_is_a_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = unmask.pretrain("vision.digits", "called", "vision.mae", mask={"ratio": 0.5}, **DIGITS)
    words = ["--trainer.max_steps", "3", "--data.batch_size", "16", "--model.mask.ratio", "0.5"]
    words += ["--trainer.precision", "32-true", "--trainer.accelerator", "cpu"]
    assert main(["fit", "--config", "vision/mae-digits", *words, "--out", "fitted"]) == 0
    ours, theirs = (read_checkpoint(tmp_path / one / "checkpoints" / "last.ckpt") for one in ("called", "fitted"))
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert all(torch.equal(value, theirs["state_dict"][name]) for name, value in ours["state_dict"].items())
    assert run.model.mask.ratio == 0.5
    assert run.embed(run.data.splits.val).shape == (len(run.data.splits.val), run.model.encoder.width)
    assert "after 3 steps" in repr(run)


def test_a_folder_is_all_that_is_needed(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--model.size", "tiny", "--model.image_size", "16", "--model.patch_size", "8", "--data.image_size", "16"]
    words += ["--data.batch_size", "2", "--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--out", "run"]
    assert main(["pretrain", "photos", *words]) == 0
    assert "Taken for images: 4 of 4 files; recipe: vision/mae-folder." in capsys.readouterr().out
    run = unmask.load("run")
    own = run.embed("photos/cats")  # [2, D]
    cats = run.data.elsewhere("photos/cats").everything()["train"]
    alone = [run.embed([cats[place]]) for place in range(len(cats))]
    np.testing.assert_allclose(own, np.concatenate(alone), atol=1e-5)
    assert run.reconstruct(num_samples=1).picture.shape[2] == 3
    assert run.export("safetensors").path.is_file()


def test_an_option_that_nothing_takes_is_named():
    with pytest.raises(UserError, match=r"There is no option `max_step` of the method.*nearest: `max_steps`"):
        unmask.pretrain("vision.digits", max_step=3)
    with pytest.raises(UserError, match="`mask` must be a number, a text, a list or a dict of such, but is a Rand"):
        unmask.pretrain("vision.digits", mask=unmask.masks.RandomMask())
