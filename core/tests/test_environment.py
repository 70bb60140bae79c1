"""``environment.json``: an entry per start, true to the last checkpoint, kept by resumed runs."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import lightning as L
import pytest
import torch

from unmask.runs.environment import Environment

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")


class Pull(L.LightningModule):
    """Pulls three numbers to zero; stops with ``trouble`` at a step."""

    seed = 5

    def __init__(self, trouble: BaseException | None = None, at: int = -1) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1, bias=False)
        self.trouble, self.at = trouble, at

    def training_step(self, batch, batch_idx):
        if self.trouble and self.global_step == self.at:
            raise self.trouble
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(folder: Path, model: L.LightningModule, max_steps: int, ckpt_path: Path | None = None) -> list[dict]:
    """Four steps an epoch, with a checkpoint after each; returns the entries written."""
    checkpoints = L.pytorch.callbacks.ModelCheckpoint(folder, "last", enable_version_counter=False)
    trainer = L.Trainer(
        max_steps=max_steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Environment(folder, ["unmask", "fit", f"{Path.home()}/x", f"--out={Path.home()}"]), checkpoints],
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(torch.ones(8, 3), 2)
    with suppress(ValueError, SystemExit):  # how Lightning ends after Ctrl-C
        trainer.fit(model, loader, ckpt_path=ckpt_path)
    return json.loads((folder / "environment.json").read_text())


def test_an_entry_says_what_trained_how_far_and_on_what(tmp_path):
    (entry,) = fit(tmp_path, Pull(), 8)
    assert (entry["first_step"], entry["last_step"], entry["ended"]) == (0, 8, "finished")
    assert entry["versions"]["unmask"] == metadata.version("unmask")
    assert {"torch", "lightning", "numpy"} <= set(entry["versions"])
    assert entry["trainable_parameters"] == 3 and entry["seed"] == 5
    assert entry["device"].startswith("cpu: ") and entry["seconds"] >= 0
    assert entry["command"] == ["unmask", "fit", "~/x", "--out=~"]
    assert entry["started"].endswith("+00:00")


@pytest.mark.parametrize(("trouble", "ended"), [(KeyboardInterrupt(), "interrupted"), (ValueError(), "ValueError")])
def test_a_resumed_run_adds_an_entry(tmp_path, trouble, ended):
    (entry,) = fit(tmp_path, Pull(trouble, at=6), 12)
    assert (entry["last_step"], entry["ended"]) == (6, ended)
    first, second = fit(tmp_path, Pull(), 12, tmp_path / "last.ckpt")
    assert first == entry
    assert (second["first_step"], second["last_step"], second["ended"]) == (4, 12, "finished")


def test_a_killed_run_has_what_its_last_checkpoint_knew(tmp_path, monkeypatch):
    monkeypatch.setattr(Environment, "on_exception", lambda *_: None)  # no chance to say anything
    (entry,) = fit(tmp_path, Pull(ValueError(), at=6), 12)
    assert (entry["last_step"], entry["ended"]) == (4, None)


def test_a_new_run_in_a_folder_starts_anew(tmp_path):
    (tmp_path / "environment.json").write_text('[{"ended": null}]')  # killed before its first checkpoint
    assert len(fit(tmp_path, Pull(), 4)) == 1
    (tmp_path / "environment.json").write_text("[{")
    assert len(fit(tmp_path, Pull(), 8, tmp_path / "last.ckpt")) == 1
    assert not list(tmp_path.glob(".*"))
