"""The loggers of a run: its own ``metrics.csv`` first, then the user's, or else TensorBoard."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from unmask.runs.records import MetricsFile


def loggers(given: Any, folder: Path, writes: bool) -> Any:
    """What the trainer takes as its ``logger``.

    Args:
        given: ``trainer.logger`` of the config: loggers or one, False for none, or None or True for the default:
            TensorBoard, where it is installed.
        folder: the run folder.
        writes: whether the run writes ``metrics.csv``.

    Raises:
        ValueError: a logger that would write over ``metrics.csv``.
    """
    if given is False or given == []:
        return False
    if given is None or given is True:
        own: list[Logger] = []
        if writes and util.find_spec("tensorboard"):
            own = [TensorBoardLogger(str(folder), name="", version="tensorboard")]
    else:
        own = [given] if isinstance(given, Logger) else list(given)
    if not writes:
        return own or False
    file = MetricsFile(folder)
    for logger in own:
        if isinstance(logger, CSVLogger) and Path(logger.log_dir).resolve() == folder.resolve():
            raise ValueError(
                f"`trainer.logger.save_dir` must not be the run folder when `name` and `version` are empty: "
                f"`{file.path}` is the run's own."
            )
    return [file, *own]
