"""A step that is not finite is kept before weights change, taken again as it was, and its first module is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from unmask.cli import main
from unmask.tools.replay import replay
from unmask.tools.replay.watch import counted, ranged

FIT = ["fit", "--config", "toy.yaml", "--out", "run", "--trainer.max_steps", "12"]
KEPT = Path("run/not-finite")


class Late(nn.Module):
    """Does something odd from its fifth pass of training on, in front of which is a dropout: its count is a buffer."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += self.training
        x = self.dropout(x) * self.scale
        return self.odd(x) if self.count >= 5 else x


class Overflows(Late):
    def odd(self, x):
        return x * 1e4 * 1e4  # beyond fp16, not beyond bfloat16


class Root(Late):
    def odd(self, x):
        return (x - x.detach()).abs().sqrt() + x  # finite, its gradient is not


def put(monkeypatch: pytest.MonkeyPatch, layer: type[nn.Module]) -> None:
    """A layer behind the encoder's blocks."""
    toy_modality = import_module("toy_modality")

    init, forward = toy_modality.Mixer.__init__, toy_modality.Mixer.forward

    def with_layer(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.late = layer()

    def through_it(self, *args, **kwargs):
        latent = forward(self, *args, **kwargs)
        return replace(latent, values=self.late(latent.values))

    monkeypatch.setattr(toy_modality.Mixer, "__init__", with_layer)
    monkeypatch.setattr(toy_modality.Mixer, "forward", through_it)


def told(capsys) -> str:
    capsys.readouterr()
    assert main(["replay", "run"]) == 0
    return capsys.readouterr().out


def test_a_sample_with_nan_is_kept_and_named(toys, spoil, capsys):
    spoil(bad=11, epoch=1)
    assert main(FIT) == 1
    assert "`unmask replay run` takes that step again" in capsys.readouterr().err
    (folder,) = KEPT.iterdir()
    about = json.loads((folder / "about.json").read_text())
    assert (about["epoch"], about["odd"], about["seed"], about["what"]) == (1, [11], 3, "loss")
    assert folder.name == f"step-{about['step']}" and about["index"][about["index"].index(11)] == 11
    state = torch.load(folder / "state.pt", weights_only=True)  # as the step found them
    assert all(one.isfinite().all() for one in state["state_dict"].values())
    assert {int(slot["step"]) for slot in state["optimizer_states"][0]["state"].values()} == {about["step"] - 1}
    out = told(capsys)
    assert "The batch itself holds values that are not finite: samples 11." in out
    assert "First module in forward order whose output is not finite: `tokenizer` (Rows)" in out


def test_a_rate_too_high_names_the_layer_that_overflowed(toys, capsys):
    assert main([*FIT, "--model.optim.base_lr", "1e30"]) == 1
    out = told(capsys)
    assert "samples" in out and "First module in forward order" in out and "Its input: float32" in out
    (one,) = replay(Path("run"))
    assert one.watch.forward.module.startswith(("encoder.", "predictor."))
    assert one.watch.forward.what == "output" or one.watch.origin


@pytest.mark.parametrize(
    ("precision", "odd"), [("16-true", True), pytest.param("bf16-true", False, marks=pytest.mark.slow)]
)
def test_a_layer_that_overflows_in_fp16_alone_is_named(precision, odd, toys, monkeypatch, capsys):
    put(monkeypatch, Overflows)
    code = main([*FIT, "--trainer.precision", precision, "--trainer.max_steps", "5"])
    assert code == int(odd)
    if odd:
        out = told(capsys)
        assert "in 16-true on cpu: loss nan; in the run, on cpu: nan" in out
        assert (
            "whose output is not finite: `encoder.late` (Overflows): " in out and "Its input: float16 4x3x8 in [" in out
        )
        (one,) = replay(Path("run"))
        assert one.about["step"] == 5 and one.watch.forward.what == "output"


def test_a_gradient_that_is_not_finite_is_followed_backwards(toys, monkeypatch, capsys):
    put(monkeypatch, Root)
    assert main(FIT) == 1
    assert "Step 5: the gradient is not finite" in capsys.readouterr().err
    (one,) = replay(Path("run"))
    assert one.again and one.gradients_finite is False and one.watch.forward is None
    assert f"{one.loss:.8g}" == one.about["loss"]  # the same masks and dropout
    assert (one.watch.backward.module, one.watch.backward.parameter) == ("encoder.late", "encoder.late.scale")
    assert "First module in backward order: `encoder.late` (Root)" in told(capsys)


@pytest.mark.slow
def test_what_does_not_happen_again_is_said(toys, monkeypatch, capsys):
    put(monkeypatch, Root)
    assert main(FIT) == 1
    monkeypatch.setattr(Root, "odd", lambda self, x: x)
    assert "It did not happen again: loss and gradients are finite." in told(capsys)


def test_a_step_is_left_out_as_if_it_had_not_been(toys, spoil, monkeypatch, capsys):
    """No moment, no buffer, no teacher moves; the counts of steps go on."""
    from unmask.targets.ema_teacher import EMATeacher

    followed, follow = [], EMATeacher.update
    monkeypatch.setattr(EMATeacher, "update", lambda self, *given: followed.append(1) or follow(self, *given))
    spoil(bad=11, epoch=0)
    skip = [*FIT, "--config", "taught.yaml", "--not_finite", "skip", "--trainer.max_steps", "12"]
    assert main(skip) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 3 and "(3 by now)" in lines[-1] and "sample 11" in lines[0]  # once an epoch
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 12 and len(followed) == 9
    assert {int(slot["step"]) for slot in saved["optimizer_states"][0]["state"].values()} == {9}
    assert all(one.isfinite().all() for one in saved["state_dict"].values())
    assert saved["callbacks"]["FiniteGuard"] == {
        "skipped": 3,
        "in_a_row": saved["callbacks"]["FiniteGuard"]["in_a_row"],
    }
    assert len(list(KEPT.iterdir())) == 3
    assert main([*skip[:-1], "16", "--ckpt_path", "last"]) == 0
    assert "(4 by now)" in (err := capsys.readouterr().err) and "holds 3 steps" in err
    assert len(list(KEPT.iterdir())) == 3


@pytest.mark.slow
def test_buffers_of_a_step_left_out_are_as_before_it(toys, monkeypatch, capsys):
    put(monkeypatch, Root)
    assert main([*FIT, "--not_finite", "skip"]) == 0  # each step from the fifth on is the fifth pass again
    capsys.readouterr()
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert saved["state_dict"]["encoder.late.count"] == 4
    assert main([*FIT[:-1], "20", "--not_finite", "skip", "--ckpt_path", "last"]) == 1
    assert "as in the 9 steps before it, so the run stops" in capsys.readouterr().err


@pytest.mark.slow
def test_of_accumulated_batches_the_odd_one_is_kept(toys, spoil, capsys):
    spoil(bad=11, epoch=1)
    assert main([*FIT, "--trainer.accumulate_grad_batches", "2"]) == 1
    (one,) = replay(Path("run"))
    assert one.odd == [11] and one.again and len(one.about["index"]) == 4


def test_mistakes_are_refused_in_a_line(toys, spoil, capsys):
    assert main([*FIT, "--not_finite", "ignore"]) == 2
    assert "`not_finite` must be `stop` or `skip`, but is 'ignore'" in capsys.readouterr().err
    assert main(["replay", "toy"]) == 2
    assert "`toy` holds no step that was not finite" in capsys.readouterr().err
    assert main(["replay", "tor"]) == 2
    assert "There is no run `tor`; nearest: " in capsys.readouterr().err
    spoil(bad=11, epoch=0)
    assert main(FIT) == 1
    (folder,) = KEPT.iterdir()
    assert main(["replay", "run", "--step", "99"]) == 2
    assert "`--step` must be one that was kept" in capsys.readouterr().err
    (folder / "about.json").write_text("[1]")
    assert main(["replay", "run"]) == 2
    assert "is not what a run writes" in capsys.readouterr().err


def test_a_mask_of_attention_is_no_odd_value():
    mask = torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])
    assert "infinite" not in ranged(mask)
    assert "1 infinite" in ranged(mask + 1) and counted(mask) == "1 infinite of 4 values"


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["stop", "skip"])
def test_processes_decide_alike(choice, toys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fake_spoilt", raising=False)
    data = tmp_path / "fake_spoilt.py"
    data.write_text(
        "import toy_modality\n\n\nclass Spoilt(toy_modality.Numbers):\n    def __getitem__(self, i):\n"
        "        sample = super().__getitem__(i)\n"
        "        return {**sample, 'x': sample['x'] * float('nan')} if i == 11 else sample\n"
    )
    words = [*FIT, "--data", "fake_spoilt.Spoilt", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    words += ["--not_finite", choice, "--trainer.limit_val_batches", "0"]
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "unmask", *words]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=300)
    assert done.returncode == int(choice == "stop"), done.stdout + done.stderr
    assert "sample 11 of the training data" in done.stderr
    parts = sorted(path.name for path in KEPT.iterdir())
    assert len(parts) == (2 if choice == "stop" else 6) and parts[0].endswith("-rank-0")
    first = replay(Path("run"))
    assert [one.about["rank"] for one in first] == [0, 1]
    assert sum(one.again for one in first) == 1 and next(one for one in first if one.again).odd == [11]
    if choice == "skip":
        saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
        left = saved["callbacks"]["FiniteGuard"]["skipped"]
        assert saved["global_step"] == 12 and left == 6  # of two steps an epoch, one
        assert {int(slot["step"]) for slot in saved["optimizer_states"][0]["state"].values()} == {12 - left}
