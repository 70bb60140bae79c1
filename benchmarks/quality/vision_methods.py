"""What every method on images learns on Fashion-MNIST in the same CPU time, beside raw pixels and untrained encoders.

    python benchmarks/quality/vision.py FOLDER --all [--seconds 300] [--seeds 0 1] [--methods vision.mae ...]
        [--out FILE]

Methods come from the registry. Each is set up by its recipe on the 8x8 digits, whose encoder (96 wide, 4 blocks) and
rates it keeps, enlarged to 28x28 pixels and 4x4 patches; `CHANGED` has what else a method needs. Each method and seed
trains in a process of its own for the same CPU seconds on one thread, in batches of 128, without a clipped gradient
where its recipe has none. Codes are the means over patches of what the method says is used afterwards.

Peers are MAEs of the same size on the same patches in a bare loop: transformers' `ViTMAEForPreTraining`, and that of
stable-pretraining where it is installed (it brings some thirty packages, so this project does not depend on it).

A line is written to ``--out`` as soon as a method and seed is done, and what is there is not run again, so a second
call goes on. The table is of all lines with these settings; one that failed says why, and is tried again.
`results/vision.jsonl` has the lines that were measured so far, on a machine that others used as well.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import yaml
from budget import Fitted, fitted
from fashion import SIDE, STORED, FashionData, flat, pixel_values
from settings import lines, prepare
from torch import nn

from unmask import MaskedModel
from unmask.cli.building import built
from unmask.cli.precision import settle
from unmask.plugins.registry import Component, components
from unmask.support.nearest import nearest, quoted
from unmask.tools.features.samples import batches
from unmask.tools.features.vectors import evaluating, vectors
from unmask.tools.health.measures import Spread, collapse
from unmask.tools.probe.columns import probe_columns

BATCH, PATCH, WIDTH, DEPTH, HEADS = 128, 4, 96, 4, 3
DECODER = (64, 2, 4)
"""Width, depth and heads of the peers' decoders: those of the recipes."""
RATIO, RATE, WARMUP, DECAY = 0.75, 2e-3, 200, 0.05
"""Of the peers and of `vision.mae`."""
LABELS, FEW, DRAWS = 5_000, 20, 5
"""Labels of the larger linear probe; labels per class of the smaller one, and how often they are drawn."""
JUDGED = 1_000
"""Test images whose codes tell a collapse."""

ENLARGED: dict[str, dict[int, int]] = {
    "image_size": {8: SIDE}, "size": {8: SIDE}, "patch_size": {2: PATCH}, "target_width": {4: PATCH**2},
}  # fmt: skip
"""Numbers of the recipes on digits, by their keys, and what stands for them here."""
CHANGED: dict[str, dict[str, Any]] = {
    "vision.mae": {"mask.init_args.ratio": RATIO},
}
"""Other settings of a method, by their keys below ``model.init_args``: a line where its recipe does not do."""
PEERS = ("transformers ViTMAE", "stable-pretraining MAE")
RAW = "raw pixels"


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="vision.py --all", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with train-images-idx3-ubyte.gz and the three others")
    parser.add_argument("--methods", nargs="+", help="registered names, or peers; default: all")
    parser.add_argument("--seconds", type=float, default=300, help="CPU seconds of training for each method and seed")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--stored", type=int, default=STORED, help="images that kNN stores")
    parser.add_argument("--out", type=Path, default=Path("vision-quality.jsonl"), help="a line per method and seed")
    parser.add_argument("--one", action="store_true", help="in this process: one method, one seed")
    given = parser.parse_args(words)
    every = [*recipes(), *PEERS]
    for name in given.methods or ():
        if name not in every:
            parser.error(f"there is no method {name!r}; nearest: {quoted(nearest(name, every) or every)}")
    if given.one:
        one(given)
        return

    key = {"seconds": given.seconds, "stored": given.stored}
    asked = [(method, seed) for seed in given.seeds for method in (RAW, *(given.methods or every))]
    for number, (method, seed) in enumerate(asked):
        done = [line for line in lines(given.out, key | {"method": method}) if "error" not in line]
        if any(line["seed"] == seed or method == RAW for line in done):
            continue
        print(f"[{number + 1}/{len(asked)}] {method}, seed {seed}", flush=True)
        if method == RAW:
            write(given.out, key | {"method": RAW, "seed": seed, "scores": probed({RAW: pixels(given)}, given, seed)})
            continue
        command = [sys.executable, __file__, str(given.folder), "--one", "--methods", method, "--seeds", str(seed)]
        command += ["--seconds", str(given.seconds), "--stored", str(given.stored), "--out", str(given.out)]
        ran = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if ran.returncode:
            why = (ran.stderr.strip().splitlines() or ["killed"])[-1]
            print(f"  failed: {why}", flush=True)
            write(given.out, key | {"method": method, "seed": seed, "error": why})
    print(table(lines(given.out, key), [RAW, *every]))


def recipes() -> dict[str, Component]:
    """The recipe on digits of each registered method on images."""
    found = {}
    for recipe in components():
        if recipe.family == "recipes" and recipe.name.startswith("vision/") and recipe.name.endswith("-digits"):
            method = yaml.safe_load(recipe.path().read_text(encoding="utf-8"))["model"]["class_path"]
            plain = f"vision/{method.partition('.')[2]}-digits"
            if method not in found or recipe.name == plain:
                found[method] = recipe
    return found


def one(given: argparse.Namespace) -> None:
    """Trains and probes one method, and writes its line."""
    prepare()
    torch.set_num_threads(1)
    [method], [seed] = given.methods, given.seeds
    L.seed_everything(seed, verbose=False)
    precision = settle("auto", "cpu")
    began = peak_mb()
    if method in PEERS:
        model, data = Peer(method), FashionData(str(given.folder), BATCH, given.stored)
        untrained = model.codes(data)
        told = model.fit(data, given.seconds, seed, precision)
        pretrained = model.codes(data)
    else:
        model, data, clip = ours(method, given)
        untrained = codes(model, data)
        told = fitted(model, data, given.seconds, seed, clip, precision)
        pretrained = codes(model, data)
    before, now = (Spread.of(torch.from_numpy(both[1][:JUDGED])) for both in (untrained, pretrained))
    line = {
        "seconds": given.seconds,
        "stored": given.stored,
        "method": method,
        "seed": seed,
        "steps": told.steps,
        "used_s": told.used_s,
        "loss": told.loss,
        "precision": precision,
        "memory_mb": peak_mb() - began,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "encoder_parameters": sum(p.numel() for p in model.encoder.parameters()),
        "rank": [before.centered_rank, now.centered_rank],
        "collapse": collapse(now, before),
        "processor": processor(),
        "scores": probed({"untrained": untrained, "pretrained": pretrained}, given, seed),
    }
    write(given.out, line)
    print(f"  {told.steps:,} steps in {told.used_s:.0f} s of CPU, loss {told.loss:.4f}", flush=True)


def ours(method: str, given: argparse.Namespace) -> tuple[MaskedModel, FashionData, float | None]:
    """A method set up by its recipe, the data with the recipe's augmentation, and the norm its gradient is cut to."""
    recipe = yaml.safe_load(recipes()[method].path().read_text(encoding="utf-8"))
    model = enlarged(recipe["model"])
    for path, value in CHANGED.get(method, {}).items():
        *keys, last = path.split(".")
        place = model["init_args"]
        for name in keys:
            place = place.setdefault(name, {})
        place[last] = value
    options = {"folder": str(given.folder), "batch_size": BATCH, "stored": given.stored}
    if augment := recipe["data"].get("init_args", {}).get("augment"):
        options["augment"] = enlarged(augment)
    config = {"model": model, "data": {"class_path": "fashion.FashionData", "init_args": options}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        made = built("bench", ["--config", str(file)])
    assert made is not None
    return *made, recipe["trainer"].get("gradient_clip_val")  # type: ignore[return-value]


def enlarged(setting: Any, key: str = "") -> Any:
    """A setting of digits for larger images."""
    if isinstance(setting, dict):
        return {name: enlarged(value, name) for name, value in setting.items()}
    if isinstance(setting, list):
        return [enlarged(value, key) for value in setting]
    return ENLARGED.get(key, {}).get(setting, setting) if type(setting) is int else setting


def codes(model: MaskedModel, data: FashionData) -> tuple[np.ndarray, np.ndarray]:
    """Mean codes with nothing hidden, of the images to fit on and of those to score on."""
    splits = (data.splits.probe_train, data.splits.probe_test)
    train, test = (vectors(model.embedder, batches(data, split, 500)).values for split in splits)
    return train, test


def pixels(given: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    splits = FashionData(str(given.folder), BATCH, given.stored).splits
    return flat(splits.probe_train), flat(splits.probe_test)  # type: ignore[arg-type]


def probed(columns: dict[str, tuple[np.ndarray, np.ndarray]], given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Accuracy of each probe, by column."""
    splits = FashionData(str(given.folder), BATCH, given.stored).splits
    labels = [part.labels.numpy() for part in (splits.probe_train, splits.probe_test)]  # type: ignore[union-attr]
    found = probe_columns(
        columns, *labels, probes=("knn", "linear"), labels_per_class=(FEW,), num_draws=DRAWS, max_labels=LABELS,
        seed=seed,
    )  # fmt: skip
    rows = [row for row in found.rows if row.measure.name == "accuracy"]
    return {row.label(): {name: cell.mean for name, cell in row.cells.items()} for row in rows}


class Peer(nn.Module):
    """An MAE of another library in a bare loop over images in memory."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.loss, self.encoder, self.coded = transformers_mae() if name == PEERS[0] else stable_mae()

    def fit(self, data: FashionData, budget_s: float, seed: int, precision: str) -> Fitted:
        """AdamW, warm-up, and a cosine over the share of CPU time that is used."""
        images: Any = data.splits.train.images  # type: ignore[attr-defined]
        generator, rows, steps, value = torch.Generator().manual_seed(seed), iter(()), 0, None
        groups: list[dict[str, Any]] = [{"params": [], "weight_decay": DECAY}, {"params": [], "weight_decay": 0.0}]
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups[parameter.ndim <= 1]["params"].append(parameter)
        optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
        self.train()
        began = time.process_time()
        while (used := time.process_time() - began) < budget_s:
            warm = min(max(steps / WARMUP, 10 * used / budget_s), 1)  # a short run has a short warm-up, as ours
            rate = RATE * warm * 0.5 * (1 + np.cos(np.pi * used / budget_s))
            for group in optimizer.param_groups:
                group["lr"] = rate
            index = next(rows, None)
            if index is None or len(index) < BATCH:
                rows = iter(torch.randperm(len(images), generator=generator).split(BATCH))
                index = next(rows)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision.startswith("bf16")):
                value = self.loss(pixel_values(images[index]))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            steps += 1
        assert value is not None
        return Fitted(steps, time.process_time() - began, value.item())

    @torch.no_grad()
    def codes(self, data: FashionData) -> tuple[np.ndarray, np.ndarray]:
        """Mean codes of all patches, of the images to fit on and of those to score on."""
        with evaluating(self):
            train, test = (
                torch.cat([self.coded(pixel_values(batch["image"])) for batch in batches(data, split, 500)])
                for split in (data.splits.probe_train, data.splits.probe_test)
            )
        return train.float().numpy(), test.float().numpy()


Images = torch.Tensor


def transformers_mae() -> tuple[nn.Module, nn.Module, Callable[[Images], Images]]:
    """Loss, encoder and mean codes; its position tables, which a config leaves at zero, are filled as in the paper."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    from unmask.nn import sincos
    from unmask.structures import Grid

    width, depth, heads = DECODER
    config = ViTMAEConfig(
        image_size=SIDE, patch_size=PATCH, num_channels=1, hidden_size=WIDTH, num_hidden_layers=DEPTH,
        num_attention_heads=HEADS, intermediate_size=4 * WIDTH, layer_norm_eps=1e-6, mask_ratio=RATIO,
        decoder_hidden_size=width, decoder_num_hidden_layers=depth, decoder_num_attention_heads=heads,
        decoder_intermediate_size=4 * width, norm_pix_loss=False,
    )  # fmt: skip
    model = ViTMAEForPreTraining(config)
    rows = SIDE // PATCH
    for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        with torch.no_grad():
            positions[0, 1:] = sincos(Grid((rows, rows)), rows * rows, positions.shape[-1])

    def coded(images: Images) -> Images:
        model.config.mask_ratio = model.vit.embeddings.config.mask_ratio = 0.0
        order = torch.arange(rows * rows).expand(len(images), -1).float()
        found = model.vit(images, noise=order).last_hidden_state[:, 1:].mean(1)
        model.config.mask_ratio = model.vit.embeddings.config.mask_ratio = RATIO
        return found

    return Called(model, lambda images: model(images).loss), model.vit, coded


def stable_mae() -> tuple[nn.Module, nn.Module, Callable[[Images], Images]]:
    """The same of stable-pretraining's."""
    import timm

    try:
        from stable_pretraining.methods import MAE
    except ImportError as error:
        raise SystemExit(f"stable-pretraining is not installed, or lacks a package: {error}") from error
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=SIDE, patch_size=PATCH, in_chans=1, embed_dim=WIDTH, depth=DEPTH,
        num_heads=HEADS, num_classes=0,
    )  # fmt: skip
    width, depth, heads = DECODER
    model = MAE(vit, width, depth, heads, mask_ratio=RATIO, norm_pix_loss=False)

    def coded(images: Images) -> Images:
        return model.encoder(images).encoded[:, model.encoder.num_prefix_tokens :].mean(1)

    return Called(model, lambda images: model(images).loss), model.encoder, coded


class Called(nn.Module):
    """A module whose call is a function of it."""

    def __init__(self, model: nn.Module, call: Callable[[Images], Images]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, images: Images) -> Images:
        return self.call(images)


def table(found: list[dict[str, Any]], order: list[str]) -> str:
    """A line per method: means over its seeds, best first by the linear probe."""
    raw = next((line["scores"] for line in found if line["method"] == RAW and "scores" in line), {})
    told, failed = [], {}
    for method in order:
        own = [line for line in found if line["method"] == method]
        runs = {line["seed"]: line for line in own if "scores" in line}
        if method != RAW and runs:
            told.append((method, list(runs.values())))
        elif own and method != RAW:
            failed[method] = own[-1]["error"]
    if not told:
        return "\n".join(f"{method}: {why}" for method, why in failed.items())
    probes = list(told[0][1][0]["scores"])
    last = probes[-1]
    told.sort(key=lambda one: -mean_of(one[1], lambda line: line["scores"][last]["pretrained"]))
    head = ["method", *(f"{name}: raw / untrained / pretrained" for name in probes), "seeds", "steps", "CPU s"]
    head += ["ms a step", "MB", "encoder's M", "rank", "collapse"]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for method, runs in told:
        cells = [method]
        for name in probes:
            scores = [100 * line["scores"][name]["pretrained"] for line in runs]
            spread = f" ± {(max(scores) - min(scores)) / 2:.1f}" if len(scores) > 1 else ""
            untrained = 100 * mean_of(runs, lambda line, name=name: line["scores"][name]["untrained"])
            first = f"{100 * raw[name][RAW]:.1f}" if name in raw else "?"
            cells.append(f"{first} / {untrained:.1f} / {np.mean(scores):.1f}{spread}")
        cells += [str(len(runs)), f"{mean_of(runs, lambda line: line['steps']):,.0f}"]
        cells += [f"{mean_of(runs, lambda line: line['used_s']):.0f}"]
        cells += [f"{1000 * mean_of(runs, lambda line: line['used_s'] / line['steps']):.0f}"]
        cells += [f"{mean_of(runs, lambda line: line['memory_mb']):.0f}"]
        cells += [f"{mean_of(runs, lambda line: line['encoder_parameters']) / 1e6:.2f}"]
        cells += [" to ".join(f"{mean_of(runs, lambda line, at=at: line['rank'][at]):.0f}" for at in (0, 1))]
        cells.append(", ".join(sorted({line["collapse"] for line in runs if line["collapse"]})) or "none")
        rows.append("| " + " | ".join(cells) + " |")
    rows += [f"\nFailed: {method}: {why}" for method, why in failed.items()]
    return "\n".join(rows)


def mean_of(runs: list[dict[str, Any]], read: Callable[[dict[str, Any]], float]) -> float:
    return float(np.mean([read(copy.copy(line)) for line in runs]))


def write(out: Path, line: dict[str, Any]) -> None:
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def peak_mb() -> float:
    """The most memory that this process has had, in millions of bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def processor() -> str:
    """Its name, where the system tells."""
    info = Path("/proc/cpuinfo")
    named = [row for row in info.read_text().splitlines() if row.startswith("model name")] if info.is_file() else []
    return named[0].partition(": ")[2] if named else f"{os.uname().machine}"


if __name__ == "__main__":
    main(sys.argv[1:])
