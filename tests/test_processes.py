"""One run on one process, two, four, or with accumulated gradients: the same losses at the same global batch.

Exact for batches whose samples ask for as many answers each; otherwise each process averages over what it asks for.
Methods with batch norm (Point-MAE's patches) are left out: torch synchronises its statistics on GPUs only, so on CPUs
each process norms its own part of the batch.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

GLOBAL, STEPS = 8, 10
SYNTH = ["--data.num_sounds", "120"]
RUNS = {
    "vision": ["vision/mae-digits"],
    "audio": ["audio/audio-mae-synth", *SYNTH],
    "text": [
        "text/mlm-files", "--data.paths", "text", "--data.vocab_size", "100", "--data.max_length", "18",
        "--data.num_workers", "0", "--model.size", "tiny", "--model.vocab_size", "100", "--model.max_length", "18",
        "--model.dropout", "0", "--model.optim.scale_lr", "false", "--model.optim.base_lr", "1e-3",
        "--model.optim.warmup_steps", "0",
    ],
    "graph": ["graph.yaml"],
    "multimodal": ["multimodal/flip-digits"],
}  # fmt: skip
GRAPH = """
model:
  class_path: graph.graphmae
  init_args:
    encoder:
      class_path: graph.gin
      init_args: {num_features: 6, width: 16, norm: layer, dropout: 0.0}
    predictor:
      class_path: graph.gin-decoder
      init_args: {encoder_width: 16, target_width: 6, norm: layer, dropout: 0.0}
data:
  class_path: graph.files
  init_args: {paths: graphs.pt}
"""
SPREAD = {
    "two": ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", str(GLOBAL // 2)],
    "four": ["--trainer.devices", "4", "--trainer.strategy", "ddp", "--data.batch_size", str(GLOBAL // 4)],
    "accumulated": ["--trainer.accumulate_grad_batches", "2", "--data.batch_size", str(GLOBAL // 2)],
}
ALIKE = [
    "--trainer.max_steps", str(STEPS), "--trainer.log_every_n_steps", "1", "--trainer.limit_val_batches", "1",
    "--trainer.precision", "32-true", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
    "--model.optim.scale_lr", "false", "--data.val_batch_size", str(GLOBAL), "--trainer.num_sanity_val_steps", "0",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("modality", RUNS)
def test_losses_do_not_depend_on_the_number_of_processes(modality, tmp_path):
    _same_lengths(tmp_path)
    alone = _losses(tmp_path, "one", [*RUNS[modality], "--data.batch_size", str(GLOBAL)])
    assert len(alone["train/loss"]) == STEPS
    for name, options in SPREAD.items():
        losses = _losses(tmp_path, name, [*RUNS[modality], *options])
        if name == "accumulated" and modality == "multimodal":
            continue  # a contrast sees half a batch at a time
        # A step logs the loss of its last part alone, so accumulation is seen in what comes after the last step.
        what = "val/loss" if name == "accumulated" else "train/loss"
        assert len(losses[what]) == len(alone[what]) > 0
        torch.testing.assert_close(
            losses[what], alone[what], rtol=1e-5, atol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


def _losses(folder: Path, name: str, words: list[str]) -> dict[str, torch.Tensor]:
    each = 2 * STEPS if name == "accumulated" else STEPS
    checked = ["--trainer.val_check_interval", str(each), "--trainer.check_val_every_n_epoch", "null"]
    command = [sys.executable, "-m", "unmask", "fit", "--config", *words, *ALIKE, *checked, "--out", name]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = list(csv.DictReader((folder / name / "metrics.csv").open()))
    return {
        what: torch.tensor([float(row[what]) for row in rows if row.get(what)], dtype=torch.float64)
        for what in ("train/loss", "val/loss")
    }


def _same_lengths(folder: Path) -> None:
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
