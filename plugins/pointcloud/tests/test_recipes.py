"""Recipes fit together: their data makes what their methods take."""

from pathlib import Path

import pytest
import torch
import yaml

from unmask.api import RECIPES, find, main

NAMES = ["point-mae-solids", "dvae-solids", "point-bert-solids"]


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _config(name):
    return yaml.safe_load(Path(find(f"pointcloud/{name}", RECIPES).path()).read_text())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_recipe_hides_can_be_seen(name, capsys):
    small = ("--data.num_solids", "48", "--num_samples", "2", "--out", "preview.png")
    assert main(["preview", "--config", f"pointcloud/{name}", *small]) == 0
    assert Path("preview.png").stat().st_size > 10_000
    assert f"{_config(name)['model']['init_args']['num_patches']} tokens per sample" in capsys.readouterr().out


def test_the_files_recipe_reads_a_folder(capsys):
    folder = Path("clouds")
    folder.mkdir()
    for number in range(4):
        points = torch.randn(1200, 3, generator=torch.Generator().manual_seed(number))
        (folder / f"{number}.xyz").write_text("\n".join(" ".join(map(str, row)) for row in points.tolist()))
    few = ("--data.folder", str(folder), "--num_samples", "1", "--out", "preview.png")
    assert main(["preview", "--config", "pointcloud/point-mae-files", *few]) == 0
    assert "64 tokens per sample" in capsys.readouterr().out


def test_both_stages_of_point_bert_have_the_same_patches_and_codes():
    first, second = (_config(name)["model"]["init_args"] for name in ("dvae-solids", "point-bert-solids"))
    for name in ("num_patches", "patch_size", "num_codes", "hidden_width"):
        assert first[name] == second[name], name
    assert first["width"] == second["dvae_width"] == second["encoder"]["init_args"]["patch_width"]
    assert second["dvae_recipe"] == "pointcloud/dvae-solids"
    clouds = [_config(name)["data"] for name in ("dvae-solids", "point-bert-solids")]
    for data in clouds:
        del data["init_args"]["batch_size"]
    assert clouds[0] == clouds[1]
