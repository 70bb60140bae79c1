"""Plans: their figures are those of the run that follows, and nothing is written or trained for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unmask.cli import main
from unmask.cli.plan import without
from unmask.tools.plan.plan import duration, keeping
from unmask.tools.plan.processes import processes_of

WITNESS = """
import json
from lightning.pytorch.callbacks import Callback

class Witness(Callback):
    "What a run is in fact: samples of each optimiser step on this process, and its learning rates."

    def on_train_start(self, trainer, pl_module):
        self.seen, self.samples, self.rates = 0, [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(max(group["lr"] for group in optimizer.param_groups))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen += len(batch["index"])
        if len(self.rates) > len(self.samples):
            self.samples.append(self.seen)
            self.seen = 0

    def on_train_end(self, trainer, pl_module):
        facts = {"samples": self.samples, "rates": self.rates, "steps": trainer.global_step,
                 "world": trainer.world_size, "epochs": trainer.current_epoch, "precision": str(trainer.precision),
                 "trained": sum(p.numel() for p in pl_module.parameters() if p.requires_grad)}
        with open(f"witness-{trainer.global_rank}.json", "w") as file:
            json.dump(facts, file)
"""
SCALED = [
    "--model.optim.scale_lr", "true", "--model.optim.base_lr", "0.01", "--model.optim.warmup_epochs", "1",
    "--trainer.max_steps", "-1", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu",
]  # fmt: skip


def plan(capsys, *words: str, command: str = "plan") -> dict:
    capsys.readouterr()
    assert main([command, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_figures_are_those_of_the_run(toys, witness, capsys, accumulated):
    words = ["--config", "toy.yaml", *SCALED, "--trainer.accumulate_grad_batches", str(accumulated)]
    planned = plan(capsys, *words)
    assert main(["fit", *words, "--trainer.callbacks+=plan_witness.Witness", "--out", "run"]) == 0
    _compare(planned, [json.loads(Path("witness-0.json").read_text())])


@pytest.mark.slow
@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_figures_are_those_of_a_run_on_two_processes(toys, witness, capsys, accumulated):
    words = ["--config", "toy.yaml", *SCALED, "--trainer.accumulate_grad_batches", str(accumulated)]
    words += ["--trainer.devices", "2"]
    planned = plan(capsys, *words)
    command = [sys.executable, "-m", "unmask", "fit", *words, "--trainer.callbacks+=plan_witness.Witness"]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run([*command, "--out", "run"], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    _compare(planned, [json.loads(Path(f"witness-{rank}.json").read_text()) for rank in (0, 1)])


def _compare(planned: dict, ranks: list[dict]) -> None:
    first = ranks[0]
    assert planned["processes"]["world"] == first["world"] == len(ranks)
    assert planned["steps"] == first["steps"]
    assert planned["epochs"] == first["epochs"] == 3
    assert planned["batch"]["effective"] == max(map(sum, zip(*(one["samples"] for one in ranks), strict=True)))
    assert planned["learning_rate"] == pytest.approx(max(first["rates"]), rel=1e-12)
    assert planned["learning_rate"] == pytest.approx(0.01 * planned["batch"]["effective"] / 256)
    assert planned["warmup_steps"] == first["rates"].index(max(first["rates"])) > 0
    assert planned["precision"] == first["precision"]
    assert planned["parameters"]["trained"] == first["trained"]


@pytest.fixture
def witness(toys, monkeypatch):
    (toys / "plan_witness.py").write_text(WITNESS)
    monkeypatch.syspath_prepend(str(toys))


def test_nothing_is_written_and_fit_plans_the_same(toys, capsys):
    before = {path: path.stat().st_mtime_ns for path in toys.rglob("*")}
    planned = plan(capsys, "toy.yaml", "--out", "somewhere")
    again = plan(capsys, "--plan", "--config", "toy.yaml", "--out", "somewhere", command="fit")
    assert {path: path.stat().st_mtime_ns for path in toys.rglob("*")} == before
    timed = ("seconds_per_step", "processor_seconds_per_batch", "waiting_ratio", "run_seconds")
    assert {k: v for k, v in planned.items() if k not in timed} == {k: v for k, v in again.items() if k not in timed}
    assert planned["timed_batches"] == 1  # of 4 batches, two warm up, and none follows the last
    assert planned["run_seconds"] == pytest.approx(4 * planned["seconds_per_step"])


def test_the_table_says_it_in_words(toys, capsys):
    assert main(["plan", "toy.yaml", "--data.batch_size", "2", "--trainer.devices", "2", "--batches", "0"]) == 0
    printed = capsys.readouterr().out
    assert "1 x 2 cpu, ddp" in printed
    assert "4 samples (2 x 2 processes x 1), as the recipe" in printed
    assert "0.01" in printed and "4 (1 epochs of 4 batches)" in printed
    assert "not measured" in printed


def test_memory_is_counted(toys, capsys):
    planned = plan(capsys, "toy.yaml")["memory_bytes"]
    bytes_trained = 4 * plan(capsys, "toy.yaml", "--batches", "0")["parameters"]["trained"]
    assert planned["weights"] == planned["gradients"] == bytes_trained
    assert 2 * bytes_trained <= planned["optimiser"] < 2.2 * bytes_trained  # two moments, and a count of steps each
    wider = plan(capsys, "toy.yaml", "--data.batch_size", "8")["memory_bytes"]
    assert wider["activations"] == pytest.approx(2 * planned["activations"], rel=0.2)
    taught = plan(capsys, "taught.yaml", "--batches", "0")
    assert taught["parameters"]["frozen"] > 0 and taught["memory_bytes"]["frozen weights and buffers"] > 0


def test_a_sharded_strategy_divides_what_it_cuts_up(toys, capsys):
    whole = plan(capsys, "toy.yaml", "--batches", "0")["memory_bytes"]
    words = ["--trainer.strategy", "fsdp", "--trainer.devices", "4", "--batches", "0"]
    cut = plan(capsys, "toy.yaml", *words)["memory_bytes"]
    assert {name: -(-size // 4) for name, size in whole.items()} == cut


def test_devices_of_a_cluster_are_planned_without_them(toys, capsys):
    if torch.cuda.is_available():
        pytest.skip("this machine has the devices")
    words = ["--trainer.accelerator", "gpu", "--trainer.devices", "8", "--trainer.num_nodes", "2"]
    planned = plan(capsys, "toy.yaml", *words, "--data.batch_size", "1", *SCALED[:4])
    assert planned["processes"] | {"world": 16, "here": False} == planned["processes"]
    assert planned["batch"]["effective"] == 16
    assert planned["recipe_effective_batch"] == 4  # which 16 processes cannot have
    assert planned["kept_by"] is None
    assert planned["batches_per_epoch"] == 1
    assert planned["learning_rate"] == pytest.approx(0.01 * 16 / 256)
    assert planned["measured_on"] == "cpu"
    assert any("has no cuda" in note for note in planned["notes"])


def test_what_keeps_the_recipes_effective_batch(toys, capsys):
    kept = plan(capsys, "toy.yaml", "--data.batch_size", "2", "--batches", "0")["kept_by"]
    assert kept == {"trainer.accumulate_grad_batches": 2, "data.batch_size": 2}
    options = [word for name, value in kept.items() for word in (f"--{name}", str(value))]
    again = plan(capsys, "toy.yaml", *options, "--batches", "0")
    assert again["batch"]["effective"] == again["recipe_effective_batch"] == 4


@pytest.mark.parametrize(
    ("effective", "size", "processes", "expected"),
    [
        (64, 64, 1, (1, 64)),
        (64, 16, 1, (4, 16)),
        (64, 64, 4, (1, 16)),
        (96, 36, 2, (2, 24)),  # 36 goes not, 24 is the largest that does
        (64, 8, 3, None),
        (2, 8, 4, None),
    ],
)
def test_accumulation_and_batch_make_up_the_effective_batch(effective, size, processes, expected):
    assert keeping(effective, size, processes) == expected
    assert expected is None or expected[0] * expected[1] * processes == effective


def test_options_are_left_out_with_their_values():
    words = ["--config=a", "--trainer.devices", "2", "--data.batch_size=4", "--model.x", "1"]
    assert without(("--trainer.devices", "--data.batch_size"), words) == ["--config=a", "--model.x", "1"]


@pytest.mark.parametrize(("devices", "count"), [("auto", 1), (-1, 1), (3, 3), ("2", 2), ([0, 1], 2), ("0,1,2", 3)])
def test_devices_are_counted_as_lightning_does(devices, count):
    assert processes_of("cpu", devices, 2, "auto").world == 2 * count


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["toy.yaml", "--ckpt_path", "last"], "`--ckpt_path` must be left out"),
        (["toy.yaml", "--trainer.devices", "two"], "`--trainer.devices` must be a number"),
        (["toy.yaml", "--trainer.strategy", "dpp"], "nearest: `ddp`"),
        (["toy.yaml", "--trainer.accelerator", "gpuu"], "nearest: `gpu`"),
        (["toy.yaml", "--batches", "-1"], "`--batches` must be at least 0"),
        ([], "needs a recipe"),
    ],
)
def test_mistakes_are_told(toys, capsys, words, told):
    assert main(["plan", *words]) == 2
    assert told in capsys.readouterr().err


def test_durations():
    assert [duration(s) for s in (0.5, 59, 3599, 4000, 200_000)] == [
        "0.5 s",
        "59 s",
        "1 h 0 min",
        "1 h 7 min",
        "2 d 7 h",
    ]
