"""A model that one process may not hold, with its optimiser, trains where four share it out.

A `vision.mae` of some 50 million parameters is trained on digits for a few steps under ``ulimit -v``, by one process
and by four under FSDP2. The limit leaves a process, beside what a tiny model takes in the same place, room for 2.5
times the weights in float32, where weights, gradients and both moments of AdamW need 4 times.

    python benchmarks/scale/larger.py [--width 768] [--depth 7]

The exit code is 0 if one process fails for lack of memory and four come to the end. Linux only.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

from unmask.testing import ranks

ROOM, STEPS, PROCESSES = 2.5, 3, 4
NO_LIMIT = 1 << 46
ALLOCATION = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
"""What lets a process give memory back once it is free, which glibc reads when it starts."""
LACK = re.compile(r"can't allocate memory|Cannot allocate memory|MemoryError|std::bad_alloc", re.IGNORECASE)


def words(width: int, depth: int, processes: int, out: str) -> list[str]:
    """The words of a run of a ViT of this size."""
    encoder = {
        "class_path": "vision.vit", "init_args.name": "vit_tiny_patch16_224", "init_args.image_size": "8",
        "init_args.patch_size": "2", "init_args.channels": "1", "init_args.positions": "sincos",
        "init_args.options": f"{{embed_dim: {width}, depth: {depth}, num_heads: 4}}",
    }  # fmt: skip
    model = [word for key, value in encoder.items() for word in (f"--model.encoder.{key}", value)]
    trainer = {"max_steps": STEPS, "log_every_n_steps": 1, "limit_val_batches": 0, "num_sanity_val_steps": 0}
    model += [word for key, value in trainer.items() for word in (f"--trainer.{key}", str(value))]
    model += ["--model.predictor.init_args.encoder_width", str(width), "--trainer.enable_progress_bar", "false"]
    model += ["--trainer.precision", "32-true", "--data.batch_size", str(8 // processes), "--data.num_workers", "0"]
    model += ["--trainer.strategy", "fsdp2"] if processes > 1 else []
    return ["fit", "--config", "vision/mae-digits", *model, "--out", out]


def peaks(text: str) -> list[int]:
    """Bytes that each process of a run had at most."""
    return [int(found.replace(",", "")) for found in re.findall(r"Peak address space: ([\d,]+)", text)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--depth", type=int, default=7)
    given = parser.parse_args()

    if any(os.environ.get(name) != value for name, value in ALLOCATION.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ALLOCATION)
    codes: dict[int, int] = {}
    lacks: dict[int, bool] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for processes in (1, PROCESSES):
            tiny = folder / f"tiny-{processes}.txt"
            if ranks.run(processes, words(96, 2, processes, tiny.stem), folder, tiny, NO_LIMIT):
                raise RuntimeError(tiny.read_text())
            base = max(peaks(tiny.read_text()))
            weights = 4 * 12 * given.width**2 * given.depth  # bytes of the blocks in float32
            limit = base + int(ROOM * weights)
            said = folder / f"large-{processes}.txt"
            codes[processes] = ranks.run(
                processes, words(given.width, given.depth, processes, said.stem), folder, said, limit
            )
            text = said.read_text()
            lacks[processes] = bool(LACK.search(text))
            ended = "trained" if codes[processes] == 0 else "lacked memory" if lacks[processes] else f"failed:\n{text}"
            count = re.search(r"\(([\d,]+) trainable", text)
            print(
                f"{processes} process{'es' * (processes > 1)}: {count[1] if count else '?'} parameters, limit "
                f"{limit / 1e6:,.0f} MB each, of which {base / 1e6:,.0f} MB are taken by a tiny model; most had "
                f"{max(peaks(text), default=0) / 1e6:,.0f} MB: {ended}",
                flush=True,
            )
    return int(codes[PROCESSES] != 0 or codes[1] == 0 or not lacks[1])


if __name__ == "__main__":
    sys.exit(main())
