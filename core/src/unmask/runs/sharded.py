"""Sharded checkpoints, which are folders: a file of each process, a list of what lies where, and all that is no weight.

Written by torch's distributed checkpoints, read by them once the list is known to be harmless: it is a pickle, which
torch would run. Any number of processes can read what any other number wrote.
"""

from __future__ import annotations

import io
import math
import warnings
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner

from unmask.data.pickles import read_pickle
from unmask.support.errors import UserError

LIST = ".metadata"
"""torch's list of what lies where."""
FILES = "files"
"""Entry of what is no weight: length and CRC-32 of every other file of the folder."""
WEIGHTS = "state_dict"
OPTIMIZER = "optimizer_"
_CHUNK = 1 << 22


class Reader(dcp.FileSystemReader):
    """torch's reader with a list that was read as data alone.

    Args:
        path: the folder.
        index: of that folder, from `read_list`.
    """

    def __init__(self, path: Path, index: metadata.Metadata) -> None:
        super().__init__(path)
        self.index = index

    def read_metadata(self, *args: Any, **kwargs: Any) -> metadata.Metadata:
        if self.index.storage_meta is None:
            self.index.storage_meta = metadata.StorageMeta()
        self.index.storage_meta.load_id = self.load_id
        return self.index


class Planner(DefaultLoadPlanner):
    """torch's planner, which reads what is no tensor without running code."""

    def load_bytes(self, read_item: Any, value: io.BytesIO) -> None:
        super().load_bytes(read_item, _as_data(value))


def read_list(path: Path) -> metadata.Metadata:
    """What lies where in a sharded checkpoint, checked against the files that are there.

    Raises:
        UserError: it is damaged, asks to run code, names files outside of the folder, or more than they can hold.
    """
    try:
        index = read_pickle(path / LIST, also=_known())
        files = {one.name: one.stat().st_size for one in path.iterdir() if one.is_file()}
        problem = _problem(index, files)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"`{path}` is of no use: {str(error).rstrip('.')}.") from error
    if problem:
        raise UserError(f"`{path}` is damaged: {problem}.")
    assert isinstance(index, metadata.Metadata)
    return index


def check_files(path: Path, about: Mapping[str, Any], names: Iterable[str] | None = None) -> None:
    """Compares files with the checksums that were noted when they were written; that takes a second per GB.

    Args:
        path: the folder.
        about: what it holds beside weights. One that Lightning wrote has no checksums.
        names: files to look at; None: all.

    Raises:
        UserError: a file is missing or is another one.
    """
    noted = about.get(FILES)
    if not isinstance(noted, Mapping):
        return
    for name in sorted(noted) if names is None else names:
        if Path(name).name != name or not (path / name).is_file():
            raise UserError(f"`{path}` is damaged: its file `{name}` is missing.")
        if list(noted[name]) != checksum(path / name):
            raise UserError(f"`{path}` is damaged: its file `{name}` does not fit its checksum.")


def checksum(file: Path) -> list[int]:
    """Length and CRC-32 of a file."""
    length = crc = 0
    with file.open("rb") as stream:
        while part := stream.read(_CHUNK):
            length, crc = length + len(part), zlib.crc32(part, crc)
    return [length, crc]


def read_sharded(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The whole of a sharded checkpoint on one process, laid out as a checkpoint in one file.

    Args:
        path: the folder.
        about: what it holds beside weights.

    Raises:
        UserError: it is damaged, or asks to run code.
    """
    check_files(path, about)
    index = read_list(path)
    flat: dict[str, Any] = {
        name: torch.empty(one.size, dtype=one.properties.dtype)
        if isinstance(one, metadata.TensorStorageMetadata)
        else None
        for name, one in index.state_dict_metadata.items()
    }
    try:
        with warnings.catch_warnings():  # torch says that there is one process
            warnings.simplefilter("ignore")
            dcp.load(flat, storage_reader=Reader(path, index), planner=Planner(), no_dist=True)
        whole = _nested(flat, index.planner_data or {})
        states = [_by_number(whole[name]) for name in sorted(whole) if name.startswith(OPTIMIZER)]
    except Exception as error:  # a broken file may fail in any way
        raise UserError(f"`{path}` is damaged: {' '.join(str(error).split())[:160].rstrip('.')}.") from error
    return about | {WEIGHTS: whole.get(WEIGHTS, {}), "optimizer_states": states}


def outline(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """As `read_sharded`, but with weights that have shapes alone, and no states of an optimiser but their number."""
    index = read_list(path)
    weights = {
        name.removeprefix(f"{WEIGHTS}."): torch.empty(one.size, dtype=one.properties.dtype, device="meta")
        for name, one in index.state_dict_metadata.items()
        if name.startswith(f"{WEIGHTS}.") and isinstance(one, metadata.TensorStorageMetadata)
    }
    numbers = {name.partition(".")[0] for name in index.state_dict_metadata if name.startswith(OPTIMIZER)}
    return about | {WEIGHTS: weights, "optimizer_states": [{}] * len(numbers)}


def by_name(state: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """A state of an optimiser with parameters by name in place of numbers.

    Args:
        state: as `torch.optim.Optimizer.state_dict` has it.
        names: of the parameters, in the order of their groups.
    """
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    names_of = dict(zip(numbers, names, strict=True))
    groups = [{**group, "params": [names_of[number] for number in group["params"]]} for group in state["param_groups"]]
    return {"state": {names_of[number]: one for number, one in state["state"].items()}, "param_groups": groups}


def _by_number(state: Mapping[str, Any]) -> dict[str, Any]:
    """The other way round."""
    names = [name for group in state["param_groups"] for name in group["params"]]
    numbers = {name: number for number, name in enumerate(names)}
    groups = [{**group, "params": [numbers[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {numbers[name]: one for name, one in state["state"].items()}, "param_groups": groups}


def _as_data(value: io.BytesIO) -> io.BytesIO:
    """The same bytes, once torch has read them as data alone; it raises for anything else."""
    torch.load(value, map_location="cpu", weights_only=True)
    value.seek(0)
    return value


def _known() -> dict[tuple[str, str], Any]:
    """What torch's list may name beside plain data."""
    kinds = ["Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "TensorProperties"]
    kinds += ["MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING"]
    found: dict[tuple[str, str], Any] = {(metadata.__name__, name): getattr(metadata, name) for name in kinds}
    found[filesystem.__name__, "_StorageInfo"] = filesystem._StorageInfo
    found["torch", "Size"] = torch.Size
    found["torch.serialization", "_get_layout"] = torch.serialization._get_layout
    found["pathlib", "PosixPath"], found["pathlib", "WindowsPath"] = PurePosixPath, PureWindowsPath
    return found | {("torch", name): one for name, one in vars(torch).items() if isinstance(one, torch.dtype)}


def _problem(index: Any, files: Mapping[str, int]) -> str | None:
    """What is wrong with a list; None: nothing."""
    if not isinstance(index, metadata.Metadata) or not isinstance(index.storage_data, dict):
        return f"its `{LIST}` is not what torch writes"
    total = 0
    for name, one in index.state_dict_metadata.items():
        if not isinstance(name, str):
            return f"its `{LIST}` is not what torch writes"
        if not isinstance(one, metadata.TensorStorageMetadata):
            continue
        sizes = [*one.size, *(size for chunk in one.chunks for size in (*chunk.sizes, *chunk.offsets))]
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            return f"the shape of its `{name}` is not one"
        total += math.prod(one.size) * one.properties.dtype.itemsize
    if total > sum(files.values()):
        return f"its files are too short for the {total:,} bytes of its weights"
    for place in index.storage_data.values():
        file, begin, length = place.relative_path, place.offset, place.length
        if not isinstance(file, str) or file not in files:
            return f"its file `{file}` is missing"
        if not (begin >= 0 and length >= 0 and begin + length <= files[file]):
            return f"its file `{file}` is cut off"
        if getattr(place, "transform_descriptors", None):
            return f"its file `{file}` was written through a filter, which cannot be read here"
    return None


def _nested(flat: Mapping[str, Any], paths: Mapping[str, Any]) -> dict[str, Any]:
    """Entries at the places that they had before they were written in one row."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *way, last = paths.get(name, (name,))
        here = found
        for step in way:
            here = here.setdefault(step, {})
        here[last] = value
    return {name: _with_lists(one) for name, one in found.items()}


def _with_lists(value: Any) -> Any:
    """Dicts by position as the lists that they were."""
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(one) for key, one in value.items()}
    positions = bool(inner) and all(isinstance(key, int) for key in inner)
    return [inner[key] for key in sorted(inner)] if positions else inner
