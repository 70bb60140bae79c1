"""Checkpoints by steps, by the clock or by epochs: when they come, and that a run goes on from each of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from unmask.cli import main
from unmask.runs.checkpoints import WholeCheckpoints
from unmask.runs.saving import Saving
from unmask.support.errors import UserError

FIT = ["fit", "--config", "toy.yaml", "--trainer.log_every_n_steps", "2", "--trainer.max_steps", "10"]


@pytest.fixture
def saved(monkeypatch) -> list[tuple[int, dict]]:
    """The step of each checkpoint that runs of the test write, and where a copy of it lies."""
    steps: list[tuple[int, Path]] = []
    write = WholeCheckpoints.save_checkpoint

    def noted(self, checkpoint, path, storage_options=None):
        write(self, checkpoint, path, storage_options)
        copy = Path(f"copy-{len(steps)}.ckpt")
        shutil.copy(path, copy)
        steps.append((checkpoint["global_step"], copy))

    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", noted)
    return steps


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        pytest.param("1 epoch", [4, 8, 10], marks=pytest.mark.slow),
        pytest.param("2 epochs", [8, 10], marks=pytest.mark.slow),
        ("3 steps", [3, 6, 9, 10]),
        ("0.000001 seconds", list(range(1, 11))),
    ],
)
def test_a_run_saves_as_often_as_asked_and_goes_on_from_each(every, steps, saved, toys):
    assert main([*FIT, "--out", "whole"]) == 0
    saved.clear()
    assert main([*FIT, "--out", "often", "--checkpoint_every", every]) == 0
    assert [step for step, _ in saved] == steps
    assert_same_end("whole", "often")
    assert [path.name for path in Path("often/checkpoints").iterdir()] == ["last.ckpt"]
    for step, copy in [one for one in saved[:-1] if one[0] % 4][:1]:  # in the middle of an epoch
        again = Path(f"again-{step}")
        (again / "checkpoints").mkdir(parents=True)
        shutil.copy(copy, again / "checkpoints" / "last.ckpt")
        shutil.copy("whole/metrics.csv", again)
        assert main([*FIT, "--out", str(again), "--checkpoint_every", every, "--ckpt_path", "last"]) == 0
        assert_same_end("whole", again)


def test_more_steps_go_on_from_the_end_of_a_run_that_saved_by_steps(toys, capsys):
    assert main([*FIT, "--out", "whole"]) == 0
    short = [*FIT[:-1], "6", "--out", "run", "--checkpoint_every", "4 steps"]
    assert main(short) == 0  # in the middle of an epoch
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 6
    assert main([*FIT, "--out", "run", "--checkpoint_every", "1 hour", "--ckpt_path", "last"]) == 0
    told = capsys.readouterr()
    assert "`checkpoint_every` 4 steps -> 1 hour" in told.out
    assert "callback" not in told.err
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 10


@pytest.mark.parametrize(
    ("every", "named"),
    [
        ("often", "must be a count of steps, epochs, seconds, minutes or hours"),
        ("5 minuts", "nearest: 5 minutes"),
        ("0 steps", "must be above 0"),
        ("1.5 epochs", "must be above 0, and whole epochs"),
    ],
)
def test_other_words_are_refused(every, named, tmp_path):
    with pytest.raises(UserError, match=re.escape(named)):
        Saving(tmp_path, every)


def test_it_is_refused_where_nothing_would_come_of_it(toys, capsys):
    asked = [*FIT, "--checkpoint_every", "5 steps"]
    assert main([*asked, "--trainer.enable_checkpointing", "false"]) == 2
    assert "no checkpoints are written" in capsys.readouterr().err
    assert main([*asked, "--trainer.callbacks+=ModelCheckpoint"]) == 2
    assert "has a ModelCheckpoint" in capsys.readouterr().err


def assert_same_end(run: str | Path, other: str | Path) -> None:
    """Weights, moments and rows, bit for bit."""
    one, two = (torch.load(Path(x, "checkpoints", "last.ckpt"), weights_only=True) for x in (run, other))
    assert one["global_step"] == two["global_step"]
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, two["state_dict"][name]), name
    moments, others = (x["optimizer_states"][0]["state"] for x in (one, two))
    for index, slots in moments.items():
        for name, value in slots.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(others[index][name])), name
    assert Path(run, "metrics.csv").read_text() == Path(other, "metrics.csv").read_text()
