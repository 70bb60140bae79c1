"""What `unmask fit` writes into its run folder beside checkpoints: ``config.yaml`` and ``metrics.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only


class MetricsFile(Logger):
    """``metrics.csv``: one row per logged step, written at once; a resumed run carries it on.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.num_rows = 0
        self._columns: list[str] = []

    # Empty, so that Lightning takes `save_dir` itself as the folder for checkpoints and config.
    name = ""
    version = ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        """The file's path: there is no other handle."""
        return self.path

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's ``config.yaml`` has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row; a column not seen before rewrites the file with a longer header."""
        row = {"step": step, **metrics}
        if new := [column for column in row if column not in self._columns]:
            rows = self._rows()
            self._columns += new
            self._write(rows)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)
        self.num_rows += 1

    @rank_zero_only
    def start(self, num_rows: int, step: int) -> None:
        """Keep what was logged before a checkpoint: the first ``num_rows``, and rows before ``step``."""
        rows = self._rows()
        rows = rows[:num_rows] + [row for row in rows[num_rows:] if int(row["step"]) < step]
        self._columns = list(rows[0]) if rows else []
        self.num_rows = len(rows)
        self.path.unlink(missing_ok=True)
        if rows:
            self._write(rows)

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:  # a kill may have left half a row at the end
            return [row for row in csv.DictReader(file) if row["step"].isdigit() and None not in row.values()]

    def _write(self, rows: list[dict[str, str]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


class RunFolder(L.Callback):
    """Writes ``config.yaml``, and lets ``metrics.csv`` go on from a checkpoint where it was.

    Args:
        folder: the run folder.
        config: the text of ``config.yaml``.
    """

    def __init__(self, folder: Path, config: str) -> None:
        self.folder, self.config = folder, config
        self._num_rows = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "config.yaml").write_text(self.config)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for logger in _metrics_files(trainer):
            logger.start(self._num_rows, trainer.global_step)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Resumed from the end of an epoch, Lightning counts its logged steps one too far.
        loop = trainer.fit_loop.epoch_loop
        loop._batches_that_stepped = min(loop._batches_that_stepped, trainer.global_step)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics_rows"] = max((logger.num_rows for logger in _metrics_files(trainer)), default=0)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._num_rows = checkpoint.get("metrics_rows", 0)


def _metrics_files(trainer: L.Trainer) -> list[MetricsFile]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
