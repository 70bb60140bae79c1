"""Losses of the first 20 steps on 1, 2 and 4 processes, under DDP and FSDP2, at one global batch: how far they differ.

Runs on CPUs, where processes talk over gloo. Set OMP_NUM_THREADS=1, or they fight for cores.

    python benchmarks/scale/processes.py [--only vision text] [--docs docs/scale.md]

Prints a table, and writes it between two markers of a page where ``--docs`` names one, row by row. The exit code
is 1 if any loss is off by more than 1e-5 of itself.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import torch

from unmask.testing import ranks

GLOBAL, STEPS, ALLOWED = 8, 20, 1e-5
BEGIN, END = "<!-- losses: written by benchmarks/scale/processes.py -->", "<!-- /losses -->"

RUNS = {
    "vision": ["vision/mae-digits"],
    "teacher": ["vision/ijepa-digits", "--model.mask", "random", "--model.mask.init_args.ratio", "0.5"],
    "audio": ["audio/audio-mae-synth", "--data.num_sounds", "120"],
    "text": [
        "text/mlm-files", "--data.paths", "text", "--data.vocab_size", "100", "--data.max_length", "18",
        "--data.num_workers", "0", "--model.size", "tiny", "--model.vocab_size", "100", "--model.max_length", "18",
        "--model.dropout", "0", "--model.optim.base_lr", "1e-3", "--model.optim.warmup_steps", "0",
    ],
    "graph": ["graph.yaml"],
    "pointcloud": ["pointcloud/point-mae-solids"],
    "multimodal": ["multimodal/flip-digits"],
}  # fmt: skip
"""Recipes by a word, as arguments of ``unmask fit --config``."""

LABELS = {"graph": "`graph.graphmae on rings`", "teacher": "`vision/ijepa-digits`, random masks"}
"""What tells more in a table than a recipe's name. I-JEPA's own masks are cut to the smallest of a process's batch."""

GRAPH = """
model:
  class_path: graph.graphmae
  init_args:
    encoder:
      class_path: graph.gin
      init_args: {num_features: 6, width: 16, norm: batch, dropout: 0.0}
    predictor:
      class_path: graph.gin-decoder
      init_args: {encoder_width: 16, target_width: 6, norm: batch, dropout: 0.0}
data:
  class_path: graph.files
  init_args: {paths: graphs.pt}
"""

ALIKE = [
    "--trainer.max_steps", str(STEPS), "--trainer.log_every_n_steps", "1", "--trainer.limit_val_batches", "1",
    "--trainer.precision", "32-true", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
    "--model.optim.scale_lr", "false", "--data.val_batch_size", str(GLOBAL), "--trainer.num_sanity_val_steps", "0",
]  # fmt: skip


def spread(strategy: str, processes: int) -> list[str]:
    """Options for ``processes`` that share the global batch."""
    options = ["--data.batch_size", str(GLOBAL // processes)]
    return [*options, "--trainer.strategy", strategy] if processes > 1 else options


def command(name: str, words: list[str], check_every: int = STEPS) -> list[str]:
    """The words of a run.

    Args:
        name: of the folder that it writes to.
        words: what follows ``--config``.
        check_every: batches from one validation to the next.
    """
    checked = ["--trainer.val_check_interval", str(check_every), "--trainer.check_val_every_n_epoch", "null"]
    return ["fit", "--config", *words, *ALIKE, *checked, "--out", name]


def losses(folder: Path, name: str, words: list[str], processes: int = 1) -> torch.Tensor:
    """Losses of the steps of a run by so many processes, in a folder that `prepare` has filled."""
    said = folder / f"{name}.txt"
    if ranks.run(processes, command(name, words), folder, said):
        raise RuntimeError(f"{name}\n{said.read_text()}")
    return logged(folder / name)["train/loss"]


def logged(run: Path) -> dict[str, torch.Tensor]:
    """What a run has logged, step by step."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        what: torch.tensor([float(row[what]) for row in rows if row.get(what)], dtype=torch.float64)
        for what in ("train/loss", "val/loss")
    }


def prepare(folder: Path) -> None:
    """Texts of 16 words that are a token each, and rings of 12 nodes: as many answers of each sample."""
    generator = torch.Generator().manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    (folder / "text").mkdir()
    drawn = torch.randint(26, (400, 16), generator=generator)
    lines = [" ".join(letters[number] for number in row) for row in drawn.tolist()]
    (folder / "text" / "letters.txt").write_text("\n".join(lines) + "\n")
    ring = torch.stack([torch.arange(12), torch.arange(1, 13) % 12])
    edges = torch.cat([ring, ring.flip(0)], dim=1)
    graphs = [{"x": torch.rand(12, 6, generator=generator), "edge_index": edges} for _ in range(120)]
    torch.save(graphs, folder / "graphs.pt")
    (folder / "graph.yaml").write_text(GRAPH)


def write(page: Path, lines: list[str]) -> None:
    """Puts a table between the markers of a page; rows of recipes that were not run stay as they are."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {line.split("|")[1]: line for line in [*old.splitlines()[3:], *lines[2:]] if line.startswith("|")}
    table = "\n".join([*lines[:2], *rows.values()])
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--docs", type=Path, help="a page to write the table into")
    given = parser.parse_args()

    columns = [("ddp", 2), ("ddp", 4), ("fsdp2", 2), ("fsdp2", 4)]
    lines = [
        "| Recipe | First loss | Last loss | DDP, 2 | DDP, 4 | FSDP2, 2 | FSDP2, 4 |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for word in given.only:
            alone = losses(folder, f"{word}-alone", [*RUNS[word], *spread("", 1)])
            off = []
            for strategy, processes in columns:
                words = [*RUNS[word], *spread(strategy, processes)]
                found = losses(folder, f"{word}-{strategy}-{processes}", words, processes)
                off.append(float(((found - alone) / alone).abs().max()))
            worst = max(worst, *off)
            cells = [
                LABELS.get(word, f"`{RUNS[word][0]}`"),
                f"{alone[0]:.4f}",
                f"{alone[-1]:.4f}",
                *(f"{one:.1e}" for one in off),
            ]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
            if given.docs:
                write(given.docs, lines)
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
