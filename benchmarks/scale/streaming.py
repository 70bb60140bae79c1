"""How fast images come from shards, against the same images from a folder.

JPEG files of 500 x 375 pixels are made, and written to shards as ``unmask shard`` does. Both data modules then give
batches as a run asks for them (read, decoded, cropped to 112 pixels, flipped, stacked), in turns of one process, so
that a slow minute slows both. Wall time and the process's own processor time are told, as ratios of medians. Files are
in the system's cache for both.

    python benchmarks/scale/streaming.py [--images 1200] [--rounds 15]

The exit code is 1 where shards give less than 0.9 of the folder's images per second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from unmask.data.shards import write_shards
from unmask_vision.data import ImageFolderData, ImageShardsData

LEAST, BATCH = 0.9, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=15, help="batches of each")
    parser.add_argument("--shard_mb", type=float, default=4.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        own, shards = Path(folder, "images"), Path(folder, "shards")
        made(own, given.images)
        options: dict[str, Any] = {"image_size": 112, "batch_size": BATCH, "num_workers": 0}
        from_folder = ImageFolderData(str(own), labels=None, **options)
        index = write_shards(shards, from_folder.shard_plan(True), int(given.shard_mb * 10**6), lambda *_: None)
        assert index is not None
        from_shards = ImageShardsData(str(shards), window=4, **options)
        found = measured({"folder": from_folder, "shards": from_shards}, given.rounds)
        print(f"{given.images:,} images, {len(index.parts['train'])} shards to train on, window 4\n")
    print("| images from | wall ms per image | processor ms per image |\n|---|---|---|")
    medians = {name: [1000 * statistics.median(one) / BATCH for one in zip(*times, strict=True)]
               for name, times in found.items()}  # fmt: skip
    for name, (wall, own_time) in medians.items():
        print(f"| {name} | {wall:.2f} | {own_time:.2f} |")
    ratios = [one / two for one, two in zip(medians["folder"], medians["shards"], strict=True)]
    print(
        f"\nThroughput of shards against the folder: {ratios[0]:.3f} by wall time, {ratios[1]:.3f} by processor time."
    )
    sys.exit(int(ratios[1] < LEAST))


def made(folder: Path, count: int) -> None:
    """Photograph-like JPEG files: smooth colours with some noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:06d}.jpg", quality=90)


def measured(modules: dict[str, Any], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of wall and processor time of each batch, after two that warm up."""
    passes = {name: batches(module) for name, module in modules.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
    for turn in range(rounds + 2):
        order = list(passes) if turn % 2 else list(passes)[::-1]
        for name in order:
            wall, own = time.perf_counter(), time.process_time()
            next(passes[name])
            if turn > 1:
                times[name].append((time.perf_counter() - wall, time.process_time() - own))
    return times


def batches(module: Any) -> Iterator[Any]:
    """One epoch after the other."""
    loader = module.train_dataloader()
    while True:
        yield from loader


if __name__ == "__main__":
    main()
