"""Every mistake on the command line is answered in two lines at most that name the nearest valid choice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from unmask.cli import main
from unmask.plugins import registry

DIGITS = ["fit", "--config", "vision/mae-digits"]

CONFIGS = {
    "key.yaml": "model: {class_path: vision.mae, init_args: {patch_sise: 2}}\ndata: vision.digits\n",
    "top.yaml": "modle: {class_path: vision.mae}\ndata: vision.digits\n",
    "trainer.yaml": "trainer: {max_stepz: 3}\n",
    "name.yaml": "model: {class_path: vision.mea}\ndata: vision.digits\n",
    "deep.yaml": "model: {class_path: MAE, init_args: {mask: {class_path: radom}}}\ndata: vision.digits\n",
    "value.yaml": "model: {class_path: vision.mae, init_args: {size: tyny}}\ndata: vision.digits\n",
    "broken.yaml": "model: [\n",
    "empty.yaml": "",
}

MISTAKES = {
    # What is misspelt, then what the answer must name.
    "command": (["ft", "--config", "vision/mae-digits"], "`fit`"),
    "group": (["list", "maks"], "`masks`"),
    "component": (["show", "vision.mea"], "`vision.mae`"),
    "shell": (["completion", "bsh"], "`bash`"),
    "option of list": (["list", "--hlep"], "`--help`"),
    "recipe": (["fit", "--config", "vision/mae-digit"], "`vision/mae-digits`"),
    "recipe without its plugin": (["fit", "--config", "mae-digits"], "`vision/mae-digits`"),
    "no recipe": (["fit", "--config"], "`--config` needs a value"),
    "config file": (["fit", "--config", "tpo.yaml"], "`top.yaml`"),
    "config key": (["fit", "--config", "key.yaml"], "`model.patch_size`"),
    "config top key": (["fit", "--config", "top.yaml"], "`model`"),
    "config trainer key": ([*DIGITS, "--config", "trainer.yaml"], "`trainer.max_steps`"),
    "config method": (["fit", "--config", "name.yaml"], "`vision.mae`"),
    "config mask": (["fit", "--config", "deep.yaml"], "`random`"),
    "config value": (["fit", "--config", "value.yaml"], "`tiny`"),
    "config syntax": (["fit", "--config", "broken.yaml"], "`broken.yaml` is not valid YAML"),
    "config without keys": (["fit", "--config", "empty.yaml"], "`model` and `data`"),
    "nothing": (["fit"], "`vision.mae`"),
    "no data": (["fit", "--model", "vision.mae"], "`vision.digits`"),
    "method": (["fit", "--model", "vision.mea", "--data", "vision.digits"], "`vision.mae`"),
    "method class": (["fit", "--model", "SimMM", "--data", "vision.digits"], "`vision.simmim`"),
    "method path": (
        ["fit", "--model", "unmask_vision.methods.mae.MEA", "--data", "vision.digits"],
        "mae.MAE`",
    ),
    "method package": (
        ["fit", "--model", "unmask_vison.methods.mae.MAE", "--data", "vision.digits"],
        "`vision.mae`",
    ),
    "mask as method": (["fit", "--model", "random", "--data", "vision.digits"], "`vision.mae`"),
    "data": (["fit", "--model", "vision.mae", "--data", "vision.digit"], "`vision.digits`"),
    "mask": ([*DIGITS, "--model.mask", "blok"], "`block`"),
    "mask class": ([*DIGITS, "--model.mask", "BlokMask"], "`block`"),
    "loss as mask": ([*DIGITS, "--model.mask", "mse"], "`random`"),
    "mask equals": ([*DIGITS, "--model.mask=gird"], "`grid`"),
    "mask without value": ([*DIGITS, "--model.mask"], "`--model.mask` needs a value"),
    "loss": ([*DIGITS, "--model.loss", "smoth-l1"], "`smooth-l1`"),
    "target": ([*DIGITS, "--model.target", "valeus"], "`values`"),
    "encoder": ([*DIGITS, "--model.encoder", "vision.vitt"], "`vision.vit`"),
    "predictor": ([*DIGITS, "--model.predictor", "transfomer"], "`transformer`"),
    "mask option": ([*DIGITS, "--model.mask.ration", "0.5"], "`--model.mask.ratio`"),
    "mask option equals": ([*DIGITS, "--model.mask.ration=0.5"], "`--model.mask.ratio`"),
    "optional part's option": ([*DIGITS, "--model.encoder.patchsize", "2"], "`--model.encoder.patch_size`"),
    "optim option": ([*DIGITS, "--model.optim.base_rl", "0.1"], "`--model.optim.base_lr`"),
    "method option": ([*DIGITS, "--model.maks", "random"], "`--model.mask`"),
    "option below a misspelt one": ([*DIGITS, "--model.maks.ratio", "0.5"], "`--model.mask.ratio`"),
    "top option": ([*DIGITS, "--modle.mask", "random"], "`--model.mask`"),
    "trainer option": ([*DIGITS, "--trainer.max_stepz", "3"], "`--trainer.max_steps`"),
    "data option": ([*DIGITS, "--data.batchsize", "3"], "`--data.batch_size`"),
    "option without trainer": ([*DIGITS, "--max_steps", "3"], "`--trainer.max_steps`"),
    "option without model": ([*DIGITS, "--mask", "random"], "`--model.mask`"),
    "option without data": ([*DIGITS, "--batch_size", "3"], "`--data.batch_size`"),
    "stray word": ([*DIGITS, "random"], "options start with `--`"),
    "schedule": ([*DIGITS, "--model.mask.ratio", "Linaer"], "`linear`"),
    "schedule option": (
        [
            *DIGITS,
            "--model.mask.ratio",
            "linear",
            "--model.mask.ratio.start",
            "0.3",
            "--model.mask.ratio.edn",
            "0.5",
        ],
        "`--model.mask.ratio.end`",
    ),
    "schedule incomplete": (
        [*DIGITS, "--model.mask.ratio", "linear", "--model.mask.ratio.start", "0.3"],
        "`--model.mask.ratio.end` is required",
    ),
    "number": ([*DIGITS, "--model.mask.ratio", "half"], "`--model.mask.ratio` must be a number"),
    "number out of range": ([*DIGITS, "--model.mask.ratio", "1.4"], "`ratio` must be in (0, 1), but is 1.4."),
    "integer": (
        [*DIGITS, "--trainer.max_steps", "many"],
        "`--trainer.max_steps` must be an integer, but is 'many'",
    ),
    "boolean": ([*DIGITS, "--model.target.normalize", "ture"], "`true`"),
    "choice": ([*DIGITS, "--model.size", "tyny"], "`tiny`"),
    "accelerator": ([*DIGITS, "--trainer.accelerator", "gpuu"], "`gpu`"),
    "precision": ([*DIGITS, "--trainer.precision", "bf16-mixd"], "`bf16-mixed`"),
    "callback": ([*DIGITS, "--trainer.callbacks", "Modelcheckpoint"], "`ModelCheckpoint`"),
    "checkpoint": ([*DIGITS, "--ckpt_path", "wieghts.ckpt"], "`weights.ckpt`"),
    "folder": (["fit", "--config", "vision/mae-folder", "--data.folder", "imges"], "images"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_two_lines_name_the_nearest(mistake, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for name, text in CONFIGS.items():
        Path(name).write_text(text)
    Path("weights.ckpt").write_bytes(b"")
    Path("images").mkdir()
    words, named = MISTAKES[mistake]

    assert main(words) == 2

    said = capfd.readouterr()
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 2, said.err
    assert named in said.err
    assert "Traceback" not in said.err
    assert "usage" not in said.err


def test_every_recipe_prints_a_config_that_means_the_same(tmp_path, capfd):
    """A recipe that its method or data no longer understands would only fail when somebody runs it."""
    recipes = [component.name for component in registry.components() if component.group == registry.RECIPES]
    assert recipes
    for recipe in recipes:
        folder = ["--data.folder", "."] if recipe.endswith("folder") else []
        assert main(["fit", "--config", recipe, *folder, "--print_config"]) == 0, capfd.readouterr().err
        printed = capfd.readouterr().out
        (tmp_path / "again.yaml").write_text(printed)
        assert main(["fit", "--config", str(tmp_path / "again.yaml"), "--print_config"]) == 0
        assert capfd.readouterr().out == printed
        assert "Unable to serialize" not in printed, recipe


def test_a_reader_that_has_seen_enough_is_no_error():
    """As in `unmask list | head`."""
    listing = subprocess.Popen([sys.executable, "-m", "unmask", "list"], stdout=PIPE, stderr=PIPE, text=True)
    listing.stdout.close()
    assert listing.wait(120) == 0
    assert listing.stderr.read() == ""
