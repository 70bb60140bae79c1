"""How MAE's linear probe grows with data, model and resolution: runs, a line in their logs, and where that leads.

    python benchmarks/scale/mae_sizes.py --out sizes.jsonl [--images 160 320 640] [--depths 2 4] [--sides 8 16]
        [--steps 1000] [--seeds 0]

On scikit-learn's digits, enlarged to the sides; every run of the grid has as many steps. Runs that ``--out`` has
already are not made again, so the study may be stopped and taken up. Accuracy is fitted as linear in the logs of the
number of images, of parameters and of pixels, and told for ten times the largest of each with a band of 95%. A line
has no ceiling: near 100% it promises too much. So Orhan 2023 (arXiv:2308.03712) extrapolates MAE on frames of long
egocentric videos, up to ViT-H and 5,000 hours; nothing here speaks of that scale.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from log_linear import LogLinear
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from unmask import seeds as keyed
from unmask.predictors import TransformerPredictor
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE

WIDTH, HEADS, BATCH, RATE, WARMUP = 96, 3, 64, 1e-3, 100
AXES = ("images", "parameters", "pixels")


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a file of runs, one a line; those there are kept")
    parser.add_argument("--images", type=int, nargs="+", default=[160, 320, 640, 1280], help="to pretrain on")
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 4, 8], help="blocks of the encoder")
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16], help="of images in pixels; patches have 2")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args(words)
    done = list(runs_in(given.out))
    for images, depth, side, seed in product(given.images, given.depths, given.sides, given.seeds):
        key = {"images": images, "depth": depth, "side": side, "seed": seed, "steps": given.steps}
        if any(all(run[name] == value for name, value in key.items()) for run in done):
            continue
        done.append({**key, **measured(**key)})
        with given.out.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(json.dumps(done[-1]), flush=True)
    told([run for run in done if run["steps"] == given.steps])


def runs_in(path: Path) -> Iterator[dict[str, Any]]:
    """The runs of a file; a last line that was cut off is left out, and cut off."""
    if not path.is_file():
        return
    whole = path.read_text().rpartition("\n")[0]
    path.write_text(f"{whole}\n" if whole else "")
    yield from map(json.loads, whole.splitlines())


def measured(images: int, depth: int, side: int, seed: int, steps: int) -> dict[str, float]:
    """One run: accuracy of a linear probe on all labels, %, and the sizes."""
    digits = load_digits()
    pixels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False)
    train, test = train_test_split(range(len(pixels)), test_size=500, stratify=digits.target, random_state=0)
    if images > len(train):
        raise SystemExit(f"`--images` must be at most {len(train)}, but is {images}.")
    torch.manual_seed(keyed.mix(seed, "model"))
    options = {"embed_dim": WIDTH, "depth": depth, "num_heads": HEADS}
    encoder = ViTEncoder("vit_tiny_patch16_224", side, 2, 1, positions="sincos", options=options)
    model = MAE(
        patch_size=2, channels=1, encoder=encoder, predictor=TransformerPredictor(WIDTH, 4, 64, 2, 4),
    ).train()  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.95), weight_decay=0.05)
    drawn = keyed.generator("cpu", seed, "batches")
    for step in range(steps):
        rate = min(step / WARMUP, 1) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate
        chosen = torch.randint(images, (BATCH,), generator=drawn).tolist()  # of the first images: subsets are nested
        optimizer.zero_grad()
        model.step({"image": pixels[[train[one] for one in chosen]]}, keyed.mix(seed, step)).loss.total.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        codes = [model.embed({"image": pixels[part]}).pool("mean").numpy() for part in (train, test)]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(codes[0], digits.target[train])
    return {
        "parameters": sum(one.numel() for one in encoder.parameters() if one.requires_grad),
        "pixels": side**2,
        "accuracy": 100 * float(probe.score(codes[1], digits.target[test])),
    }


def told(runs: list[dict[str, Any]]) -> None:
    """Prints the line, and where it leads. Axes that do not vary are left out."""
    axes = [name for name in AXES if len({run[name] for run in runs}) > 1]
    fit = LogLinear.of([[run[name] for name in axes] for run in runs], [run["accuracy"] for run in runs])
    print(f"{len(runs)} runs; accuracy = {fit.coefficients[0]:.2f} + ...")
    for name, slope, error in zip(axes, fit.coefficients[1:], fit.errors[1:], strict=True):
        print(f"  {slope:+.2f} ± {error:.2f} for ten times the {name}")
    for number, name in enumerate(axes):
        size = fit.biggest.copy()
        size[number] *= 10
        mean, half = fit.at(size)
        print(f"  ten times the largest number of {name}: {mean:.1f} ± {half:.1f} (95%)")


if __name__ == "__main__":
    main(sys.argv[1:])
