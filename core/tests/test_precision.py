"""`--trainer.precision auto`: what it becomes, that it is said, and that it is stored."""

from __future__ import annotations

import pytest
import torch
import yaml

from unmask.cli import main, precision

RUN = ["fit", "--config", "toy.yaml", "--out", "run", "--trainer.max_steps", "2"]


@pytest.mark.parametrize(("factor", "chosen"), [(0.6, "bf16-mixed"), (18.0, "32-true")])
def test_auto_is_the_quicker_and_is_stored(toys, monkeypatch, capsys, factor, chosen):
    monkeypatch.setattr(precision, "_trial", lambda: factor)
    assert main([*RUN, "--trainer.precision", "auto"]) == 0
    assert f"Precision: {chosen} (`auto`:" in capsys.readouterr().out
    assert yaml.safe_load((toys / "run" / "config.yaml").read_text())["trainer"]["precision"] == chosen


def test_the_trial_compares_products():
    factor = precision._trial()
    assert 0.01 < factor < 1000
    assert torch.get_num_threads() >= 1


def test_slow_choices_are_said(monkeypatch, capsys):
    monkeypatch.setattr(precision, "_trial", lambda: 58.0)
    assert precision.settle("bf16-mixed", "cpu") == "bf16-mixed"
    assert "58 times as long" in capsys.readouterr().out
    assert precision.settle("16-mixed", "cpu") == "16-mixed"
    assert "bf16-mixed for 16-mixed on a CPU" in capsys.readouterr().out
    assert precision.settle("32-true", "cpu") == "32-true"
    assert not capsys.readouterr().out


def test_processes_that_a_run_starts_take_its_choice(monkeypatch, capsys):
    monkeypatch.setattr(precision, "_trial", lambda: 0.5)
    monkeypatch.setenv(precision.CHOSEN, "32-true")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert precision.settle("auto", "cpu") == "32-true"
    monkeypatch.delenv("LOCAL_RANK")
    assert precision.settle("auto", "cpu") == "bf16-mixed"


def test_an_unknown_precision_is_answered_in_a_line(toys, capsys):
    assert main([*RUN, "--trainer.precision", "auot"]) == 2
    assert "nearest: `auto`" in capsys.readouterr().err
