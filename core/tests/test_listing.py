"""Runs below a folder in a table: facts, figures, conditions, order."""

import json

import pytest

from unmask.cli import main
from unmask.support.errors import UserError
from unmask.tools import listing


@pytest.fixture
def runs(tmp_path):
    """Three runs: one finished and probed, one killed, one whose files are damaged."""
    make(tmp_path / "a/first", "finished", 100, [(50, 0.9), (99, 0.5)], probe=0.8)
    make(tmp_path / "a/second", None, 40, [(39, 0.7)])
    broken = tmp_path / "b"
    make(broken, "finished", 7, [(6, 0.2)])
    (broken / "config.yaml").write_text("model: [")
    (broken / "environment.json").write_text("{")
    (tmp_path / "no-run").mkdir()
    return tmp_path


def make(folder, ended, steps, losses, probe=None):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").write_bytes(b"some")
    config = {"model": {"class_path": "unmask.model.MaskedModel"}, "data": {"class_path": "nowhere.Mine"}}
    (folder / "config.yaml").write_text(json.dumps(config | {"trainer": {"max_steps": 100}, "seed_everything": 3}))
    session = {"started": f"2026-01-0{steps % 9 + 1}T10:00:00", "last_step": steps, "seconds": 90.0, "ended": ended}
    (folder / "environment.json").write_text(json.dumps([session]))
    rows = ["train/loss,step,val/loss", *[f"{loss},{step}," for step, loss in losses]]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    if probe is not None:
        row = {
            "name": "linear",
            "measure": "accuracy",
            "percent": True,
            "mean": {"raw input": 0.5, "pretrained": probe},
        }
        (folder / "probe.json").write_text(json.dumps({"columns": ["raw input", "pretrained"], "rows": [row]}))


def test_a_run_is_told_by_its_files(runs):
    first, second, broken = listing.listed(runs)
    assert first.facts == {
        "run": "a/first", "method": "MaskedModel", "data": "Mine", "steps": 100, "of": 100, "state": "finished",
        "started": "2026-01-02T10:00:00", "minutes": 1.5, "seed": 3,
    }  # fmt: skip
    assert first.figures == {"train/loss": 0.5, "probe linear": 0.8}
    assert first.less_is_better == {"train/loss", "val/loss"}
    assert (second.facts["state"], second.facts["steps"]) == ("killed", 40)
    assert broken.facts["state"] == "unknown"
    assert broken.facts["method"] is None
    assert broken.figures == {"train/loss": 0.2}


def test_conditions_and_order(runs):
    found = listing.listed(runs)

    def names(*conditions, by="run", down=False):
        return [run.facts["run"] for run in listing.ordered(listing.chosen(found, conditions), by, down)]

    assert names("state=finished") == ["a/first"]
    assert names("state!=finished") == ["a/second", "b"]
    assert names("train/loss<0.6") == ["a/first", "b"]
    assert names("steps>=40", "train/loss>=0.7") == ["a/second"]
    assert names("run=a/*") == ["a/first", "a/second"]
    assert names(by="train/loss") == ["b", "a/first", "a/second"]
    assert names(by="probe", down=True) == ["a/first", "a/second", "b"]  # those without come last


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("loss", r"`--where` must be such as"),
        ("trian/loss=1", r"no column `trian/loss`; nearest: .*`train/loss`"),
        ("steps<many", "a number"),
    ],
)
def test_conditions_that_are_none(runs, word, said):
    with pytest.raises(UserError, match=said):
        listing.chosen(listing.listed(runs), [word])


def test_the_command_prints_and_writes(runs, capsys):
    assert main(["runs", str(runs), "--sort", "train/loss"]) == 0
    printed = capsys.readouterr().out
    assert printed.index(" b ") < printed.index("a/first") < printed.index("a/second")
    assert "40 of 100" in printed and "3 runs" in printed
    assert main(["runs", str(runs), "--csv", str(runs / "all.csv"), "--where", "state=killed"]) == 0
    assert (runs / "all.csv").read_text().splitlines() == [
        "run,method,data,steps,of,state,started,minutes,seed,train/loss",
        "a/second,MaskedModel,Mine,40,100,killed,2026-01-05T10:00:00,1.5,3,0.7",
    ]
    assert main(["runs", str(runs / "no-run")]) == 2
    assert "must hold run folders" in capsys.readouterr().err
