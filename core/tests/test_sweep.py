"""Sweeps: what varies, and trials that are chosen, left, taken up again and refused."""

import json

import numpy as np
import pytest

from unmask.support.errors import UserError
from unmask.tools.sweep import Setting, Sweep, read_setting
from unmask.tools.sweep.picture import picture

RATE = "model.optim.base_lr=1e-4:1e-1:log"


@pytest.mark.parametrize(
    ("word", "setting"),
    [
        ("model.mask.ratio=0.4:0.9", Setting("model.mask.ratio", 0.4, 0.9)),
        ("a=1e-4:1e-2:log", Setting("a", 1e-4, 1e-2, log=True)),
        ("a=2:8", Setting("a", 2, 8, whole=True)),
        ("a=1:64:log:int", Setting("a", 1, 64, log=True, whole=True)),
        ("--a=2,4", Setting("a", choices=(2, 4))),
        ("a=block,random", Setting("a", choices=("block", "random"))),
    ],
)
def test_settings_are_read(word, setting):
    assert read_setting(word) == setting
    assert read_setting(setting.text) == setting


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("a", "must be such as"),
        ("a=0.9:0.4", "from low to high"),
        ("a=0:1:log", "above 0"),
        ("a=1:x", "must be such as"),
        ("a=0.5:3:int", "whole ends"),
        ("a=2", "two values"),
        ("a=2,2", "two values"),
        ("a=1:2:lin", "must be such as"),
    ],
)
def test_settings_that_are_none(word, said):
    with pytest.raises(UserError, match=said):
        read_setting(word)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A sweep whose `fit` writes a loss that is least at a rate of 0.01; ``stops`` are trials that are killed once."""
    killed = []

    def called(self, trial, command, *words):
        assert command == "fit"
        assert words[-4:] == ("--out", trial.folder, "--ckpt_path", "last")
        if trial.number in self.stops and trial.number not in killed:
            killed.append(trial.number)
            raise KeyboardInterrupt
        if trial.number in self.fails:
            return "it is no good"
        trial.folder.mkdir(exist_ok=True)
        rate = float(dict(word.removeprefix("--").split("=") for word in words[2:-4])["model.optim.base_lr"])
        (trial.folder / "metrics.csv").write_text(f"train/loss,step\n{abs(np.log10(rate) + 2)},9\n")
        return ""

    monkeypatch.setattr(Sweep, "_called", called)

    def make(name="sweep", words=("--config", "that"), vary=RATE, aim="train/loss", stops=(), fails=()):
        sweep = Sweep(tmp_path / name, words, [read_setting(vary)], aim)
        sweep.stops, sweep.fails = stops, fails
        return sweep

    return make


def quiet(*words, **options):
    pass


def test_a_sweep_that_was_killed_goes_on_and_chooses_the_same(make):
    whole = make("whole")
    whole.run(15, quiet)
    cut = make("cut", stops=(4,))
    with pytest.raises(KeyboardInterrupt):
        cut.run(15, quiet)
    assert [trial.value is None for trial in cut.trials] == [False] * 4 + [True]
    again = make("cut", stops=(4,))
    again.run(15, quiet)
    assert [trial.settings for trial in again.trials] == [trial.settings for trial in whole.trials]
    assert [trial.value for trial in again.trials] == [trial.value for trial in whole.trials]
    values = [trial.value for trial in whole.trials]
    assert min(values) == whole.best[0].value
    assert np.mean(values[10:]) < np.mean(values[:10])  # it looks where it was good
    whole.run(15, quiet)  # nothing is left to do
    assert len(whole.trials) == 15


def test_two_processes_share_a_sweep(make):
    """What another works at is left to it."""
    one, other = make(), make()
    number, _, lock = one._claimed(3)
    other.run(3, quiet)
    assert [trial.value is None for trial in other.trials] == [True, False, False]
    lock.release()
    other.run(3, quiet)
    assert all(trial.value is not None for trial in other.trials)
    assert number == 0


def test_failed_trials_are_told_and_a_hopeless_sweep_ends(make):
    some = make("some", fails=(1,))
    some.run(4, quiet)
    assert [trial.failed for trial in some.trials] == ["", "it is no good", "", ""]
    assert len(some.best) == 3
    with pytest.raises(UserError, match="first 3 trials failed: it is no good"):
        make("none", fails=range(9)).run(9, quiet)


def test_another_sweep_in_the_folder_is_refused(make):
    make()
    with pytest.raises(UserError, match=r"another sweep, whose words are .*this.*; give another `--out`"):
        make(words=("--config", "this"))
    with pytest.raises(UserError, match="twice"):
        Sweep(make().folder, [], [read_setting(RATE)] * 2, "probe")


def test_the_picture_has_a_panel_for_each_setting(make):
    sweep = make()
    sweep.run(5, quiet)
    drawn = picture(sweep.trials, [*sweep.settings], sweep.aimed, sweep.less_is_better)
    assert drawn.shape == (264, 640, 3)
    assert (drawn == (210, 80, 40)).all(-1).any()


def test_the_aim_must_be_a_figure(make):
    with pytest.raises(UserError, match="no column `val/loss`; nearest: `train/loss`"):
        make(aim="val/loss").run(1, quiet)


def test_what_was_aimed_at_by_the_name_of_a_command(make, monkeypatch):
    """The linear probe on all labels, where the command is named alone."""

    def called(self, trial, command, *words):
        trial.folder.mkdir(exist_ok=True)
        rows = [{"name": name, "percent": True, "mean": {"pretrained": 0.5 + i / 10}} for i, name in enumerate(
            ("kNN, all labels", "linear, all labels", "linear, 5 per class"))]  # fmt: skip
        (trial.folder / "probe.json").write_text(json.dumps({"columns": ["pretrained"], "rows": rows}))
        return ""

    monkeypatch.setattr(Sweep, "_called", called)
    sweep = make(aim="probe")
    sweep.run(1, quiet)
    assert (sweep.aimed, sweep.best[0].value) == ("probe linear, all labels", 0.6)
