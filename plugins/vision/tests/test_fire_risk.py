"""FireRisk's protocol from end to end, on a stand-in of its layout: pretraining, other weights, fine-tuning, probes."""

import json

import numpy as np
import pytest
import timm
from PIL import Image
from timm.models import save_for_hf

from unmask.api import main

CLASSES = ("High", "Low", "Moderate", "Non-burnable", "Very_High", "Very_Low", "Water")
SMALL = """
model:
  class_path: vision.mae
  init_args:
    patch_size: 8
    encoder:
      class_path: vision.vit
      init_args: {name: vit_tiny_patch16_224, image_size: 32, patch_size: 8, positions: timm, options: {depth: 2}}
    predictor:
      class_path: transformer
      init_args: {encoder_width: 192, target_width: 192, width: 32, depth: 1, num_heads: 2}
"""


@pytest.fixture
def tiles(tmp_path, monkeypatch):
    """Tiles of 48 pixels, each class of a colour of its own, in folders as FireRisk has them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for number, name in enumerate(CLASSES):
            (tmp_path / part / name).mkdir(parents=True)
            colour = 30 * number + np.array([0, 20, 40])
            for tile in range(count):
                image = (colour + rng.integers(0, 20, (48, 48, 3))).astype(np.uint8)
                Image.fromarray(image).save(tmp_path / part / name / f"{tile}.png")
    return tmp_path


@pytest.mark.slow  # four commands
def test_the_protocol_on_a_stand_in(tiles, capsys):
    (tiles / "small.yaml").write_text(SMALL)
    (tiles / "fire.yaml").write_text(
        "data:\n  class_path: vision.folder\n  init_args:\n    {folder: train, val_folder: val, image_size: 32, "
        "batch_size: 16, num_workers: 0}\n"
    )
    few = ["--trainer.max_steps", "2", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    recipe = ["--config", "vision/mae-fire-risk", "--model.size", "null", "--model.image_size", "null"]
    recipe += ["--config", "small.yaml", "--config", "fire.yaml", "--trainer.accelerator", "cpu"]
    assert main(["fit", *recipe, *few, "--out", "mae"]) == 0
    assert "7 classes" in capsys.readouterr().out
    # Weights of another method, as timm has DINO's.
    other = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, num_classes=0)
    save_for_hf(other, "dino")
    assert main(["import", "dino", "--config", "mae/config.yaml", "--out", "dino-run"]) == 0
    for run, more in (("mae", []), ("dino-run", ["--no_scratch"])):
        assert main(["finetune", run, "--max_steps", "2", "--val_ratio", "0", *more]) == 0
    found = {run: json.loads((tiles / run / "finetune.json").read_text()) for run in ("mae", "dino-run")}
    assert "from scratch" in json.dumps(found["mae"])
    assert main(["probe", "mae", "--probes", "linear", "--labels_per_class", "5", "--num_draws", "1"]) == 0
    assert "accuracy" in capsys.readouterr().out
