"""What `unmask fit` writes into its run folder beside checkpoints: ``config.yaml``, ``data.json``, ``metrics.csv``."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from unmask.data import MaskedDataModule
from unmask.support.atomic import naming, remove_parts, written_whole
from unmask.support.errors import UserError

_OWN = ("config.yaml", "data.json", "metrics.csv", "environment.json", "health.txt", "compile.txt", "hpc_ckpt_*.ckpt")
"""Files that a run writes into its folder itself."""


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
        with naming(self.path), self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)
        self.num_rows += 1

    @rank_zero_only
    def start(self, num_rows: int) -> None:
        """Keep what was logged before a checkpoint: the first ``num_rows``."""
        rows = self._rows()[:num_rows]
        self._columns = list(rows[0]) if rows else []
        self.num_rows = len(rows)
        self.path.unlink(missing_ok=True)
        if rows:
            self._write(rows)

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        try:
            with self.path.open(newline="", encoding="utf-8") as file:  # a kill may have left half a row at the end
                reader = csv.DictReader(file)
                rows = list(reader)
            if reader.fieldnames and "step" not in reader.fieldnames:
                raise ValueError("it has no column `step`")
        except (csv.Error, ValueError) as error:
            raise UserError(f"`{self.path}` is not what a run writes: {error}; move it away to go on.") from error
        return [row for row in rows if (row.get("step") or "").isdigit() and None not in (*row, *row.values())]

    def _write(self, rows: list[dict[str, str]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(self.path, sync=False) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


class RunFolder(L.Callback):
    """Writes ``config.yaml``, which each checkpoint holds too, and lets ``metrics.csv`` go on from a checkpoint.

    ``data.json`` has what was found in the data, in sentences, and the names of classes.

    Args:
        folder: the run folder.
        config: the text of ``config.yaml``.
    """

    def __init__(self, folder: Path, config: str) -> None:
        self.folder, self.config = folder, config
        self._num_rows = 0
        self._due: dict[str, Any] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:  # no earlier: a run that is refused leaves the folder as it was
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in _OWN:  # other commands may be writing others there
                remove_parts(self.folder, name)
            for folder in {self.folder / "checkpoints", self.folder / "pictures", *_checkpoint_folders(trainer)}:
                if folder.absolute().is_relative_to(self.folder.absolute()):
                    remove_parts(folder, "*.ckpt" if folder == self.folder else "*")
            with written_whole(self.folder / "config.yaml") as part:
                part.write_text(self.config, "utf-8")
            data = getattr(trainer, "datamodule", None)
            if isinstance(data, MaskedDataModule):
                about = {"found": [line.strip() for line in data.found().splitlines()], "classes": list(data.classes)}
                with written_whole(self.folder / "data.json") as part:
                    part.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for logger in _metrics_files(trainer):
            logger.start(self._num_rows)
            if self._due is not None:
                logger.log_metrics({key: value for key, value in self._due.items() if key != "step"}, self._due["step"])

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["metrics_rows"] = max((logger.num_rows for logger in _metrics_files(trainer)), default=0)
        checkpoint["metrics_due"] = _due(trainer)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        num_rows, due = checkpoint.get("metrics_rows", 0), checkpoint.get("metrics_due")
        if (
            not isinstance(num_rows, int)
            or not isinstance(due, dict | None)
            or not isinstance((due or {"step": 0}).get("step"), int)
        ):
            raise UserError("The checkpoint cannot be resumed: what it says of `metrics.csv` is not what a run writes.")
        self._num_rows, self._due = num_rows, due


def _due(trainer: L.Trainer) -> dict[str, Any] | None:
    """The row that Lightning logs next, of a batch or an epoch whose hooks have yet to end; None: it logs none."""
    loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
    batches: Any = loop.batch_progress.current
    epochs: Any = trainer.fit_loop.epoch_progress.current
    step = loop._batches_that_stepped
    if epochs.processed > epochs.completed:
        step -= 1  # as Lightning counts there
    elif batches.processed == batches.completed or loop._should_accumulate() or not connector.should_update_logs:
        return None
    metrics = convert_tensors_to_scalars(connector.metrics["log"])
    return {**metrics, "epoch": trainer.current_epoch, "step": step} if metrics else None


def _checkpoint_folders(trainer: L.Trainer) -> list[Path]:
    folders = [getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks]
    return [Path(folder) for folder in folders if folder]


def _metrics_files(trainer: L.Trainer) -> list[MetricsFile]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
