"""How long recipes take on a processor with AVX2 alone, beside this one and beside what their pages say.

AVX2 alone is imitated by `ATEN_CPU_CAPABILITY=avx2` and `ONEDNN_MAX_CPU_ISA=AVX2`. Of each recipe, `unmask plan` times
a few batches in a process of its own, in turn with and without; the recipe's steps times the median batch's processor
time, on one thread, is the whole run on one core. Processor time hardly depends on what else the machine does.

    python benchmarks/scale/instructions.py [RECIPE ...] [--batches 20]

The exit code is 1 if a run takes more than twice the minutes that its page states.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile

STATED = {
    "vision/mae-digits": 5,
    "audio/audio-mae-synth": 3,
    "text/mlm-pydoc": 3,
    "graph/graphmae-imports": 3,
    "pointcloud/point-mae-solids": 3,
}
"""Minutes on two cores, as README.md and the recipes say."""
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
FACTOR = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(STATED), help="default: those whose minutes are stated")
    parser.add_argument("--batches", type=int, default=20, help="to time, of each recipe in each setting")
    given = parser.parse_args()
    print("| recipe | steps | precision, here | minutes, here | precision, AVX2 | minutes, AVX2 | stated |")
    print("|---|---|---|---|---|---|---|")
    slow = []
    for recipe in given.recipes:
        here, there = (planned(recipe, given.batches, environment) for environment in ({}, AVX2))
        stated = STATED.get(recipe)
        cells = [recipe, f"{here['steps']:,}"]
        for one in (here, there):
            cells += [one["precision"], f"{minutes(one):.2g}"]
        print(f"| {' | '.join(cells)} | {'' if stated is None else stated} |", flush=True)
        if stated is not None and minutes(there) > FACTOR * stated:
            slow.append(recipe)
    print("Minutes of processor time on one thread, without validation and pictures.")
    if slow:
        sys.exit(f"More than {FACTOR:g} times what is stated: {', '.join(slow)}.")


def planned(recipe: str, batches: int, environment: dict[str, str]) -> dict:
    """What `unmask plan` says of a recipe."""
    command = [sys.executable, "-m", "unmask", "plan", recipe, "--json", "--batches", str(batches)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"`{' '.join(command)}` failed:\n{done.stderr}")
    return json.loads(done.stdout)


def minutes(plan: dict) -> float:
    """Of the whole run."""
    return plan["processor_seconds_per_batch"] * plan["batch"]["accumulated"] * plan["steps"] / 60


if __name__ == "__main__":
    main()
