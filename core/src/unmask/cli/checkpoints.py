"""Checkpoints of ``unmask fit``: each is written whole, beside its place, and the one before stays until then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.plugins.io import TorchCheckpointIO

from unmask.atomic import written_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's way to write checkpoints, but straight into a file beside the target, which is then renamed.

    Lightning writes to ``$TMPDIR`` and moves the file. On another file system that is a copy over the last checkpoint,
    and a kill leaves half of one. A path with a protocol, such as ``s3://``, is left to Lightning.

    Raises:
        OSError: the disk is full, or the like; names the checkpoint, whose last version stays as it was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as part, part.open("wb") as file:
            torch.save(checkpoint, file)


def with_whole_checkpoints(plugins: Any, strategy: Any) -> Any:
    """``plugins`` of a trainer and a `WholeCheckpoints`; those given alone where they or the strategy write checkpoints
    in a way of their own."""
    given = list(plugins) if isinstance(plugins, list | tuple) else [plugins] if plugins is not None else []
    own = getattr(strategy, "_checkpoint_io", None) is not None or "xla" in str(strategy)
    if own or any(isinstance(plugin, CheckpointIO) for plugin in given):
        return plugins
    return [*given, WholeCheckpoints()]
