"""Samples per second on two processes against one, in turn in one run, and how much of it is waiting for data.

Each start trains a recipe for some steps with the same batch per process, on one thread each; the first steps are left
out. The median over starts counts. Where other programs keep the machine busy, what the clock says is left out. The
table goes between the markers of docs/scale.md.

    python benchmarks/scale/throughput.py [RECIPE ...] [--steps 30] [--starts 3] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch

PAGE = Path(__file__).parent.parent.parent / "docs" / "scale.md"
START, END = "<!-- throughput: by `python benchmarks/scale/throughput.py --write` -->", "<!-- /throughput -->"
RECIPES = ("vision/mae-digits", "text/mlm-pydoc", "audio/audio-mae-synth")
LEFT_OUT = 5
"""Steps at the beginning that are not counted."""


class Clock(L.Callback):
    """Writes what the steps of a process took to ``clock-RANK.json`` in the run folder."""

    def __init__(self) -> None:
        self.steps = 0
        self.samples = 0
        self.waited = self.begun = self.ended = self.worked = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if self.steps == LEFT_OUT:
            self.begun, self.worked = now, time.process_time()
        elif self.steps > LEFT_OUT:
            self.waited += now - self.ended

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self.ended = time.monotonic()
        self.steps += 1
        if self.steps > LEFT_OUT:
            self.samples += len(batch["index"])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seconds = self.ended - self.begun
        found = {
            "samples_per_s": self.samples / seconds,
            "waiting_ratio": self.waited / seconds,
            "samples_per_processor_s": self.samples / (time.process_time() - self.worked),
        }
        Path(trainer.default_root_dir, f"clock-{trainer.global_rank}.json").write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--steps", type=int, default=30, help="that are counted")
    parser.add_argument("--starts", type=int, default=3, help="of each number of processes, in turn")
    parser.add_argument("--write", action="store_true", help="into docs/scale.md")
    given = parser.parse_args()
    lines = [
        "| recipe | samples/s, 1 process | 2 processes | ratio | ratio per processor time | waiting for data, 1 | 2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe in given.recipes:
        found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
        for _ in range(given.starts):
            for number, starts in found.items():
                starts.append(run(recipe, number, given.steps))
        one, two = ({name: median(start[name] for start in starts) for name in starts[0]} for starts in found.values())
        ratios = [two[name] / one[name] for name in ("samples_per_s", "samples_per_processor_s")]
        cells = [recipe, f"{one['samples_per_s']:.3g}", f"{two['samples_per_s']:.3g}", f"{ratios[0]:.2f}"]
        if busy():
            cells[1:] = ["busy"] * 3
        cells += [f"{ratios[1]:.2f}"] + [f"{x['waiting_ratio']:.0%}" for x in (one, two)]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    lines += ["", f"{about(given.steps, given.starts)}"]
    print("\n".join(lines))
    if given.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{START}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


def run(recipe: str, number: int, steps: int) -> dict[str, float]:
    """Trains on so many processes; samples of all of them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "unmask", "fit", "--config", recipe, "--out", "run",
            "--trainer.accelerator", "cpu", "--trainer.devices", str(number), "--trainer.limit_val_batches", "0",
            "--trainer.max_steps", str(LEFT_OUT + steps), "--trainer.enable_progress_bar", "false",
            "--trainer.enable_checkpointing", "false", "--trainer.callbacks+=throughput.Clock",
        ]  # fmt: skip
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"`{' '.join(command)}` failed:\n{done.stderr}")
        clocks = [json.loads(path.read_text()) for path in Path(folder).glob("**/clock-*.json")]
    assert len(clocks) == number
    return {
        "samples_per_s": sum(one["samples_per_s"] for one in clocks),
        "waiting_ratio": sum(one["waiting_ratio"] for one in clocks) / number,
        "samples_per_processor_s": sum(one["samples_per_processor_s"] for one in clocks) / number,
    }


def busy() -> bool:
    """Whether more programs want to compute than two processes and a core's worth."""
    return os.getloadavg()[0] > 2 + (os.cpu_count() or 1) / 2


def about(steps: int, starts: int) -> str:
    """What the table is of."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return (
        f"{date.today()}, {cores} cores, torch {torch.__version__}, gloo, a load of {load:.0f} processes on the "
        f"machine; medians of {starts} starts of {steps} steps each. The ratio per processor time is what exchange "
        "costs: it hardly depends on what else the machine does."
    )


if __name__ == "__main__":
    main()
