"""The strategy ``fsdp2``: Lightning's for sharded models, with every process one that sees data of its own.

Lightning's own takes all processes of a machine for one that cuts its tensors, which no model here asks for. Its
checkpoints are written in place, and read by running what they hold. Those here are written whole or not at all, and
read as data.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from unmask.runs.folders import ABOUT, is_sharded
from unmask.runs.sharded import (
    FILES,
    LIST,
    OPTIMIZER,
    WEIGHTS,
    Planner,
    Reader,
    by_name,
    check_files,
    checksum,
    read_list,
)
from unmask.runs.weights import read_torch
from unmask.support.atomic import PART, naming, remove, take_place, to_disk
from unmask.training.compiled import names_for

WORD = "fsdp2"


class Sharded(ModelParallelStrategy):
    """Shares a `MaskedModel` out over all processes, see `unmask.training.sharding`.

    Args:
        save_distributed_checkpoint: whether checkpoints are folders, to which each process writes its part; False: one
            process gathers them and writes one file.
        process_group_backend: of `torch.distributed`; None: ``nccl`` on GPUs, ``gloo`` on CPUs.
        timeout: how long a process waits for another.
    """

    def __init__(
        self,
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = default_pg_timeout,
    ) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=save_distributed_checkpoint,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )

    def setup_environment(self) -> None:
        # Lightning's default is one group of data for each machine.
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Writes beside the target, which is replaced once everything is on the disk.

        Raises:
            OSError: the disk is full, or the like; names the checkpoint, whose last version stays as it was.
        """
        if not self._save_distributed_checkpoint or storage_options is not None or "://" in str(filepath):
            super().save_checkpoint(checkpoint, filepath, storage_options)
            return
        path, token = self.broadcast((Path(filepath), secrets.token_hex(4)))
        part = path.with_name(f"{path.name}.{token}{PART}")
        state = {WEIGHTS: checkpoint.pop(WEIGHTS)}
        state |= {f"{OPTIMIZER}{i}": one for i, one in enumerate(checkpoint.pop("optimizer_states", []))}
        with naming(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                dcp.save(state, storage_writer=dcp.FileSystemWriter(part))
                self._finish(checkpoint, part, path)
            except BaseException:
                if self.is_global_zero:
                    remove(part)
                raise

    def _finish(self, checkpoint: dict[str, Any], part: Path, path: Path) -> None:
        """Notes the checksums of all files, and puts the folder where it belongs."""
        own = {file.name: checksum(file) for file in part.glob(f"__{self.global_rank}_*.distcp")}
        noted: list[Any] = [None] * self.world_size
        dist.all_gather_object(noted, own)
        failed: list[Any] = [None]
        if self.is_global_zero:
            try:
                files = {LIST: checksum(part / LIST)} | {name: one for each in noted for name, one in each.items()}
                torch.save(checkpoint | {FILES: files}, part / ABOUT)
                to_disk(part / ABOUT)
                to_disk(part)
                take_place(part, path)
                to_disk(path.parent)
            except Exception as error:  # the others wait for it
                failed = [error]
        dist.broadcast_object_list(failed, 0)
        if failed[0] is not None:
            raise failed[0]

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Loads weights and moments, of a folder or a file that any number of processes wrote; returns the rest.

        Raises:
            UserError: it is damaged, or asks to run code.
        """
        path = Path(self.broadcast(checkpoint_path))
        if is_sharded(path):
            return self._from_folder(path)
        checkpoint = read_torch(path)
        model = self.lightning_module
        assert model is not None
        weights = names_for(model.state_dict(), checkpoint.pop(WEIGHTS))
        whole = StateDictOptions(full_state_dict=True, strict=model.strict_loading)
        set_model_state_dict(model, weights, options=whole)
        name_of = {parameter: name for name, parameter in model.named_parameters()}
        for optimizer, state in zip(self.optimizers, checkpoint.get("optimizer_states", []), strict=False):
            names = [name_of[parameter] for group in optimizer.param_groups for parameter in group["params"]]
            set_optimizer_state_dict(model, optimizer, by_name(state, names), options=whole)
        return checkpoint

    def _from_folder(self, path: Path) -> dict[str, Any]:
        about: dict[str, Any] = read_torch(path / ABOUT)
        index = read_list(path)
        files = [LIST, *sorted({place.relative_path for place in index.storage_data.values()})]
        check_files(path, about, files[self.global_rank :: self.world_size])
        model = self.lightning_module
        assert model is not None
        state: dict[str, Any] = {WEIGHTS: get_model_state_dict(model)}
        for i, optimizer in enumerate(self.optimizers):
            state[f"{OPTIMIZER}{i}"] = get_optimizer_state_dict(model, optimizer)
        dcp.load(state, storage_reader=Reader(path, index), planner=Planner())
        set_model_state_dict(model, state[WEIGHTS], options=StateDictOptions(strict=model.strict_loading))
        for i, optimizer in enumerate(self.optimizers):
            set_optimizer_state_dict(model, optimizer, state[f"{OPTIMIZER}{i}"])
        return about

    def remove_checkpoint(self, filepath: Any) -> None:
        """Deletes a checkpoint; a folder that is half deleted is not left under its name."""
        if not self.is_global_zero:
            return
        if is_sharded(Path(filepath)):
            with suppress(FileNotFoundError):
                remove(Path(filepath))
        else:
            super().remove_checkpoint(filepath)


def like(strategy: Any) -> Any:
    """`Sharded` for its word and for Lightning's strategy without sizes of its own; anything else as it is.

    Raises:
        ValueError: Lightning's strategy with tensors that are to be cut, which no model here does.
    """
    if strategy == WORD:
        return Sharded()
    if type(strategy) is not ModelParallelStrategy:
        return strategy
    size = strategy._tensor_parallel_size
    if size not in ("auto", 1):
        raise ValueError(
            f"`trainer.strategy`: `tensor_parallel_size` must be 1, as no model here cuts its tensors, but is {size}."
        )
    return Sharded(strategy._save_distributed_checkpoint, strategy._process_group_backend, strategy._timeout)
