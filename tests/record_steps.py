"""What five optimiser steps of every method give: each loss, and a hash of the final weights.

A refactor leaves them equal bit for bit. Figures depend on the processor and on torch, so they are recorded and
compared on one machine::

    python tests/record_steps.py before.json            # at the old commit
    python tests/record_steps.py after.json before.json # at the new one: lists what differs, exit code 1

Every run is a recipe's own, with its data cut to what takes seconds. Methods come from the registry.
"""

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from method_recipes import first_stage_of, methods, recipe_of

STEPS = 5
LIMITS = ["--trainer.max_steps", str(STEPS), "--trainer.log_every_n_steps", "1", "--trainer.limit_val_batches", "0"]
LIMITS += ["--trainer.precision", "32-true", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
SYNTH = ["--data.num_sounds", "120", "--data.batch_size", "4", "--data.val_batch_size", "4"]
SOLIDS = ["--data.num_solids", "120", "--data.batch_size", "4", "--data.val_batch_size", "4"]
WORDS = ["--data.tokens_per_batch", "512"]
IMPORTS = ["--data", "graph.imports", "--model.num_features", "1000", "--data.num_words", "1000"]
FIRST = ["--trainer.max_steps", "3", *LIMITS[2:]]
DATA = {"audio": SYNTH, "pointcloud": SOLIDS, "text": WORDS}
MORE = {"audio.hubert": ["--model.num_clusters", "10"], "graph.graphmae2": IMPORTS, "graph.maskgae": IMPORTS}


def runs_of(method: str) -> list[list[str]]:
    """The commands of a method's run, of which the last one is recorded: its recipe, after that of its first stage."""
    data = DATA.get(method.partition(".")[0], [])
    own = [recipe_of(method), *data, *MORE.get(method, [])]
    first = first_stage_of(method)
    if first is None:
        return [own]
    word, recipe = first
    return [[recipe, *data, *FIRST, "--out", "first"], [*own, f"--model.{word}_run", "first"]]


RUNS = {method: runs_of(method) for method in methods()}


def main() -> int:
    after, *before = [Path(path) for path in sys.argv[1:]]
    found = {}
    for method in RUNS:
        found[method] = steps_of(method)
        print(method, found[method]["losses"][-1], found[method]["weights"][:12], flush=True)
        after.write_text(json.dumps(found, indent=1))
    expected = json.loads(before[0].read_text()) if before else found
    differing = [method for method in RUNS if expected.get(method) != found[method]]
    print("differ:" if differing else "all equal", *differing)
    return int(bool(differing))


def steps_of(method: str) -> dict[str, object]:
    """Losses of all steps and the hash of the final weights."""
    with tempfile.TemporaryDirectory() as folder:
        *first, last = RUNS[method]
        for recipe, *words in [*first, [*last, "--out", "run"]]:
            command = [sys.executable, "-m", "unmask", "fit", "--config", recipe, *LIMITS, *words]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{method}: {' '.join(command)}\n{done.stdout}{done.stderr}")
        run = Path(folder, "run")
        rows = list(csv.DictReader((run / "metrics.csv").open()))
        state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    losses = [row["train/loss"] for row in rows if row.get("train/loss")]
    assert len(losses) == STEPS, (method, losses)
    return {"losses": losses, "weights": digest(state)}


def digest(state: dict[str, torch.Tensor]) -> str:
    """Of all weights, by name."""
    whole = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        whole.update(f"{name} {value.dtype if isinstance(value, torch.Tensor) else type(value)}".encode())
        whole.update(value.contiguous().numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
    return whole.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
