"""The scripts of docs/examples/launch, started on this machine: torchrun, SLURM by its variables, Ray Train."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parent.parent / "docs" / "examples" / "launch"
RECIPE = ["--config", "vision/mae-digits", "--data.batch_size", "16", "--trainer.log_every_n_steps", "1"]
CPU = ["--trainer.accelerator", "cpu", "--trainer.limit_val_batches", "1", "--trainer.enable_progress_bar", "false"]
SCONTROL = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/requeued"
"""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts processes in a folder of its own, and ends those that are left over."""
    monkeypatch.chdir(tmp_path)
    running = []

    def start(*words, **environment):
        there = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        modules = os.pathsep.join(one for one in sys.path if one)
        environment = there | {"OMP_NUM_THREADS": "1", "PATH": path, "PYTHONPATH": modules} | environment
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        running.append(subprocess.Popen([str(word) for word in words], env=environment, cwd=tmp_path, **pipes))
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()


def torchrun(*words):
    """The script's own line, with this interpreter's torchrun."""
    text = (SCRIPTS / "torchrun.sh").read_text()
    assert "exec torchrun" in text
    text = text.replace("exec torchrun", f"exec {sys.executable} -m torch.distributed.run")
    Path("torchrun.sh").write_text(text)
    return ["sh", "torchrun.sh", *words]


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def ended(process, code=0, seconds=900) -> str:
    said, _ = process.communicate(timeout=seconds)
    assert process.returncode == code, said
    return said


def logged_steps() -> list[int]:
    with Path("run/metrics.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]]


def weights(path: Path) -> dict:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.slow
def test_torchrun_makes_one_run_that_goes_on(started):
    words = torchrun(*RECIPE, *CPU, "--trainer.precision", "auto", "--out", "run", "--ckpt_path", "last")
    said = ended(started(*words, "--trainer.max_steps", "3", PORT=free_port()))
    for once in ("Run folder: run", "1,297 images to train on", "Precision: ", "No checkpoint in run/checkpoints yet"):
        assert said.count(once) == 1, said
    assert {path.name for path in Path().iterdir()} == {"run", "torchrun.sh"}
    entry = json.loads(Path("run/environment.json").read_text())[-1]
    assert (entry["num_devices"], entry["last_step"], entry["ended"]) == (2, 3, "finished")
    said = ended(started(*words, "--trainer.max_steps", "5", PORT=free_port()))
    assert logged_steps() == [0, 1, 2, 3, 4]
    assert "No checkpoint" not in said

    refused = ended(started(*words, "--trainer.devices", "3", PORT=free_port()), code=1)  # torchrun's own code
    assert "`--trainer.devices` must be the number of processes that were started on a node, 2" in refused


@pytest.mark.slow
def test_two_nodes_of_one_process_equal_two_processes_of_one(started):
    words = [*RECIPE, *CPU, "--trainer.max_steps", "3"]
    ended(started(*torchrun(*words, "--out", "one"), PORT=free_port()))
    port = free_port()
    both = [
        started(*torchrun(*words, "--out", "two"), NODES="2", NODE=str(node), PROCESSES="1", PORT=port)
        for node in (0, 1)
    ]
    said = [ended(process) for process in both]
    assert sum(one.count("Run folder: two") for one in said) == 1
    alone, apart = (weights(Path(name, "checkpoints", "last.ckpt")) for name in ("one", "two"))
    assert all(torch.equal(alone[name], apart[name]) for name in alone)


@pytest.mark.slow
def test_a_run_under_torchrun_is_not_joined_by_another(started):
    long = torchrun(*RECIPE, *CPU, "--out", "run", "--trainer.max_steps", "100000")
    first = started(*long, PORT=free_port())
    _wait_for(Path("run/metrics.csv"))
    words = torchrun(*RECIPE, *CPU, "--trainer.max_steps", "2", "--out", "run")
    assert "Run folder: run-2" in ended(started(*words, PORT=free_port()))
    more = [*words, "--trainer.max_steps", "3", "--ckpt_path", "run-2/checkpoints/last.ckpt"]
    assert "Run folder: run-3" in ended(started(*more, PORT=free_port()))
    assert Path("run-3/checkpoints/last.ckpt").is_file() and not Path("run-4").exists()
    first.send_signal(signal.SIGTERM)
    said, _ = first.communicate(timeout=120)
    assert first.returncode != 0
    assert Path("run/checkpoints/last.ckpt").is_file(), said


def tasks(started, *words, **environment):
    """What srun does for each of two tasks on one node."""
    common = {
        "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "mae", "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1",
        "MASTER_PORT": free_port(), **environment,
    }  # fmt: skip
    command = [sys.executable, "-m", "unmask", "fit", *words]
    return [started(*command, **common, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)) for rank in (0, 1)]


@pytest.mark.slow
def test_slurm_saves_requeues_and_goes_on(started):
    script = (SCRIPTS / "slurm.sbatch").read_text()
    assert "--signal=SIGUSR1@90" in script and "srun unmask fit" in script and "--ckpt_path last" in script
    tools = Path("tools").absolute()
    tools.mkdir()
    (tools / "scontrol").write_text(SCONTROL)
    (tools / "scontrol").chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    words = [*RECIPE, *CPU, "--trainer.max_steps", "60"]
    whole = [ended(process) for process in tasks(started, *words, "--out", "whole")]
    assert sum(said.count("Run folder: whole") for said in whole) == 1

    job = tasks(started, *words, "--out", "run", "--ckpt_path", "last", PATH=path)
    _wait_for(Path("run/metrics.csv"))
    for process in job:
        process.send_signal(signal.SIGUSR1)
    _wait_for(tools / "requeued")
    assert (tools / "requeued").read_text() == "requeue 4711\n"
    for process in job:
        process.send_signal(signal.SIGTERM)
    said = [ended(process, code=143) for process in job]
    assert sum(one.count("SLURM ends this job soon") for one in said) == 1
    kept = [path for path in Path("run").rglob("*.ckpt") if path.parent.name == "run"]
    assert [path.name for path in kept] == ["hpc_ckpt_1.ckpt"]
    steps = torch.load(kept[0], weights_only=True)["global_step"]
    assert 0 < steps <= torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] < 60

    job = tasks(started, *words, "--out", "run", "--ckpt_path", "last", PATH=path)
    said = [ended(process) for process in job]
    assert "Run folder: run (" in said[0] + said[1]
    alone, stopped = (weights(Path(name, "checkpoints", "last.ckpt")) for name in ("whole", "run"))
    assert all(torch.equal(alone[name], stopped[name]) for name in alone)


@pytest.mark.slow
def test_slurms_checkpoint_counts_where_nothing_newer_was_saved(started):
    """The job was killed before SIGTERM could save."""
    words = [*RECIPE, *CPU, "--trainer.max_steps", "4", "--out", "run"]
    [ended(process) for process in tasks(started, *words)]
    Path("run/checkpoints/last.ckpt").rename("run/hpc_ckpt_3.ckpt")
    more = [*RECIPE, *CPU, "--trainer.max_steps", "6", "--out", "run", "--ckpt_path", "last"]
    [ended(process) for process in tasks(started, *more)]
    assert logged_steps() == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
def test_slurm_without_the_tasks_of_a_node_is_refused(started):
    process = tasks(started, *RECIPE, *CPU, "--out", "run", SLURM_NTASKS_PER_NODE="3")[0]
    process_of_one = started(
        sys.executable, "-m", "unmask", "fit", *RECIPE, *CPU, SLURM_NTASKS="2", SLURM_STEP_ID="0", SLURM_PROCID="0"
    )
    assert "SLURM must be told `--ntasks-per-node`" in ended(process_of_one, code=2)
    process.kill()


@pytest.mark.slow
def test_ray_trains_a_recipe_that_commands_read(started):
    pytest.importorskip("ray.train")
    words = [sys.executable, SCRIPTS / "ray_train.py", "--out", "run", "--workers", "2", "--max_steps", "4"]
    ended(started(*words, RAY_USAGE_STATS_ENABLED="0", RAY_memory_monitor_refresh_ms="0"))
    checkpoint = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    done = started(sys.executable, "-m", "unmask", "embed", "run", "--split", "val")
    assert "500 vectors" in ended(done)


def _wait_for(path: Path, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.1)
