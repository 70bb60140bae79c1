"""Checkpoints of a run: one writer, one reader. Which one is newest says `unmask.runs.folders`.

Each is written whole, beside its place, and the one before stays until then. Reading runs no code of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.plugins.io import TorchCheckpointIO

from unmask.model import MaskedModel
from unmask.runs.folders import is_sharded, the_one_before
from unmask.runs.match import must_fit
from unmask.runs.weights import read_outline, read_torch
from unmask.support.atomic import written_whole
from unmask.support.errors import UserError
from unmask.support.nearest import quoted
from unmask.training.compiled import names_for, plain_names


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Writes ``content`` to ``path``, whole or not at all; its folder is made.

    Raises:
        OSError: the disk is full, or the like; names the checkpoint, whose last version stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part, part.open("wb") as file:
        torch.save(content, file)


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
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """As Lightning does, and also what several processes wrote, which is a folder."""
        if is_sharded(Path(path)):
            return read_torch(Path(path))
        return super().load_checkpoint(path, map_location, weights_only)


def with_whole_checkpoints(plugins: Any, strategy: Any) -> Any:
    """``plugins`` of a trainer and a `WholeCheckpoints`; those given alone where they or the strategy write checkpoints
    in a way of their own."""
    given = list(plugins) if isinstance(plugins, list | tuple) else [plugins] if plugins is not None else []
    own = getattr(strategy, "_checkpoint_io", None) is not None or "xla" in str(strategy)
    if own or any(isinstance(plugin, CheckpointIO) for plugin in given):
        return plugins
    return [*given, WholeCheckpoints()]


def read_checkpoint(path: Path, *keys: str) -> dict[str, Any]:
    """Weights and counters, without running any code that the file may hold.

    Args:
        path: a file that Lightning wrote.
        keys: entries that it must have; none: those of a run of a `MaskedModel`.

    Raises:
        UserError: the file is empty, cut off, damaged, asks to run code, is no checkpoint of ``unmask fit``, or holds
            weights that are not finite.
    """
    checkpoint = read_torch(path)
    _must_have(path, checkpoint, keys or ("state_dict", "seed", "global_step"))
    return checkpoint | {"state_dict": plain_names(checkpoint["state_dict"])}


def check_resumable(model: L.LightningModule, path: Path, training: bool, checkpoint: Any = None) -> None:
    """Refuses a checkpoint that Lightning could not load into ``model``, before it tries.

    Args:
        model: as configured.
        path: the checkpoint.
        training: whether the run is to go on, with the optimiser's state, or is only looked at.
        checkpoint: what the file holds; None: it is read.

    Raises:
        UserError: it cannot be read, lacks something, or holds weights of another model.
    """
    keys = ["state_dict", *(["seed"] if isinstance(model, MaskedModel) else [])]
    keys += ["optimizer_states", "lr_schedulers"] if training else []
    checkpoint = read_outline(path) if checkpoint is None else checkpoint
    _must_have(path, checkpoint, [*keys, "pytorch-lightning_version"])
    for key in ("seed", "global_step", "epoch"):
        if key in checkpoint:
            whole_number(path, checkpoint, key)
    if model.strict_loading:
        must_fit(model, names_for(model.state_dict(), checkpoint["state_dict"]), f"`{path}`", "the config")


def whole_number(file: Path, checkpoint: dict[str, Any], key: str) -> int:
    """An entry of a checkpoint that must be a whole number."""
    value = checkpoint[key]
    if not isinstance(value, int):
        raise UserError(f"`{file}` must have a whole number as `{key}`, but has {value!r:.50}.")
    return value


def _must_have(path: Path, checkpoint: Any, keys: Sequence[str]) -> None:
    lacking = [key for key in keys if not isinstance(checkpoint, dict) or key not in checkpoint]
    if isinstance(checkpoint, dict) and "finetune" in checkpoint and lacking:
        raise UserError(
            f"`{path}` must be a checkpoint of `unmask fit`, but is one of `unmask finetune`, which "
            "`unmask apply` reads, and `unmask.tools.finetune.load` in Python."
        )
    if lacking:
        raise UserError(
            f"`{path}` must be a checkpoint of `unmask fit`, but has no {quoted(lacking)}; `unmask import` reads bare "
            "weights."
        )
    if not isinstance(checkpoint.get("agreed", {}), dict):
        raise UserError(f"`{path}` must hold what agreements keep under `agreed`, by name, but does not.")
    if not isinstance(checkpoint["state_dict"], dict):
        raise UserError(f"`{path}` must hold weights by name under `state_dict`, but does not.")
    finite = torch.isfinite if "seed" in keys else _is_number  # models of others may have infinite constants
    held = checkpoint["state_dict"].items()
    tensors = {name: x for name, x in held if isinstance(x, torch.Tensor) and not x.is_meta}  # an outline has no values
    if odd := [name for name, x in tensors.items() if x.is_floating_point() and not bool(finite(x).all())]:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise UserError(f"`{path}` is of no use: its `{odd[0]}`{more} is not finite{the_one_before(path)}.")


def _is_number(tensor: torch.Tensor) -> torch.Tensor:
    return ~tensor.isnan()
