"""MAE on images of one channel in a folder, then labels of several classes scored by the area under the ROC curve."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from unmask.api import main

FINDINGS = ("effusion", "nodule")


@pytest.fixture
def xrays(tmp_path, monkeypatch):
    """24 images of 32 pixels; a finding is a bright corner."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    rows = []
    for number in range(24):
        image = rng.integers(0, 120, (32, 32), dtype=np.uint8)
        found = [name for bit, name in enumerate(FINDINGS) if number >> bit & 1]
        for name in found:
            at = 24 * FINDINGS.index(name)
            image[at : at + 8, at : at + 8] = 255
        Image.fromarray(image).save(folder / f"{number}.png")
        rows.append({"file": f"{number}.png", "label": "|".join(found) or "none"})
    with open("findings.csv", "w", newline="") as file:
        table = csv.DictWriter(file, ["file", "label"])
        table.writeheader()
        table.writerows(rows)
    return tmp_path


def test_the_recipe_is_fine_tuned_with_auroc(xrays):
    words = ["fit", "--config", "vision/mae-xray", "--data.folder", "images", "--out", "run"]
    words += ["--data.labels", "table", "--data.table", "findings.csv", "--data.val_ratio", "0.3"]
    words += ["--model.image_size", "32", "--data.image_size", "32", "--data.batch_size", "4"]
    assert main([*words, "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"]) == 0
    tuned = ["finetune", "run", "--no_scratch", "--max_steps", "4", "--batch_size", "8", "--val_ratio", "0"]
    assert main(tuned) == 0
    result = json.loads((xrays / "run" / "finetune.json").read_text())
    found = next(row for row in result["rows"] if row["name"] == "AUROC")["mean"]["pretrained"]
    answers = list(csv.DictReader((xrays / "run" / "finetune" / "predictions.csv").open()))
    label, share = (
        np.array([[float(one[f"{kind}_{c}"]) for c in range(3)] for one in answers])  # none is a class, too
        for kind in ("label", "prediction")
    )
    both = [c for c in range(3) if len(set(label[:, c])) == 2]
    assert both
    assert found == pytest.approx(roc_auc_score(label[:, both], share[:, both], average="macro"), abs=1e-3)


def test_the_recipe_is_mae_on_one_channel():
    from unmask_vision.methods import MAE

    torch.manual_seed(0)
    model = MAE(size="tiny", image_size=32, patch_size=8, channels=1).eval()
    image = torch.rand(2, 1, 32, 32)
    step = model.step({"image": image}, 0)
    cells = ((image - 0.5) / 0.5).unfold(2, 8, 8).unfold(3, 8, 8).reshape(2, 16, 64)
    right = (cells - cells.mean(-1, keepdim=True)) / (cells.var(-1, keepdim=True) + 1e-6).sqrt()
    error = (step.prediction.values - step.mask.asked.gather(right)).square().mean()
    torch.testing.assert_close(step.loss.total, error)
