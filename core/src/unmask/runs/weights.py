"""Weights in files, read without running code: safetensors, and torch's files with ``weights_only``.

Nested dicts come out flat (``state_dict.encoder.norm.weight``), so that wrappers are but prefixes.
"""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unmask.data import check_archive
from unmask.runs.folders import ABOUT, is_sharded, the_one_before
from unmask.runs.inert import known, settings, stand_in
from unmask.runs.sharded import outline, read_sharded
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.training.compiled import plain_names

State = dict[str, Tensor]

_ASKED = re.compile(r"GLOBAL `?([\w.]+)")
"""In torch's message: the class or function that it does not allow."""

IN_FOLDERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""What a folder may hold its weights in, the first found counts."""


@dataclass(frozen=True)
class Weights:
    """What a file or folder holds.

    Args:
        file: where it was read.
        tensors: by dotted name, on the CPU.
        metadata: texts that a safetensors file carries.
        settings: numbers and texts that a checkpoint of torch holds beside its tensors, by dotted name.
    """

    file: Path
    tensors: State
    metadata: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def read_weights(path: Path) -> Weights:
    """Tensors of a safetensors file, a torch file, or a folder with one of `IN_FOLDERS`.

    Raises:
        UserError: there is none, it is cut off, or it holds code or no tensors.
    """
    if path.is_dir() and not is_sharded(path):
        path = _in_folder(path)
    if path.name.endswith(".index.json"):
        return _read_parts(path)
    if not is_sharded(path):
        check_file(path)
        if is_safetensors(path):
            return _read_safetensors(path)
    content = read_torch(path)
    tensors = plain_names(dict(_flat("", content)))
    if not tensors:
        raise UserError(f"`{path}` holds no tensors.")
    return Weights(path, tensors, settings=settings(content))


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote, as long as it is tensors, numbers, text, lists and dicts of them, and settings.

    A sharded checkpoint, which is a folder, is read as if it were one file.

    Settings are an ``argparse.Namespace`` and what else `unmask.runs.inert` lists; none of their code is run.

    The checksum of each record is compared first: torch itself skips them. That takes a second per 500 MB.

    Raises:
        UserError: there is no such file, it is cut off, damaged, no file of torch, or asks to run code.
    """
    if is_sharded(path):
        return read_sharded(path, _about(path))
    check_file(path)
    if is_safetensors(path):
        raise UserError(f"`{path}` holds bare weights, not a run; `unmask import {path}` makes a run of it.")
    try:
        check_archive(path)
    except ValueError as error:
        raise UserError(str(error)) from error
    except Exception:  # which the next look tells
        pass
    try:
        damaged = _damaged_record(path)
    except Exception:  # a broken file may fail in any way
        damaged = "its list of records cannot be read"
    if damaged:
        raise UserError(f"`{path}` is damaged: {damaged}{the_one_before(path)}.")
    try:
        with warnings.catch_warnings():  # torch warns of files that it is about to refuse
            warnings.simplefilter("ignore")
            return _load(path)
    except Exception as error:  # a broken file may fail in any way
        raise UserError(f"`{path}` {_reason(path, str(error))}.") from error


def read_outline(path: Path) -> Any:
    """As `read_torch`; of a sharded checkpoint, with weights that have shapes alone.

    Raises:
        UserError: as `read_torch`.
    """
    return outline(path, _about(path)) if is_sharded(path) else read_torch(path)


def _about(path: Path) -> dict[str, Any]:
    about = read_torch(path / ABOUT)
    if not isinstance(about, dict):
        raise UserError(f"`{path}` is damaged: its `{ABOUT}` is not what a run writes.")
    return about


def is_safetensors(path: Path) -> bool:
    """Whether a file says so in its name, or begins as one: a length of eight bytes, then JSON."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def check_file(path: Path) -> None:
    """Refuses what no weights can be read from.

    Raises:
        UserError: no file is there, or it is empty.
    """
    if path.is_dir():
        raise UserError(f"`{path}` is a folder, but a file of weights is expected.")
    if not path.is_file():
        there = [str(one) for one in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(str(path), there)
        raise UserError(f"There is no file `{path}`" + (f"; nearest: {quoted(near)}." if near else "."))
    if path.stat().st_size == 0:
        raise UserError(f"`{path}` is empty.")


def _damaged_record(path: Path) -> str | None:
    """What is wrong with a zip file whose records do not fit their checksums; None: nothing, or it is no zip file."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as records:
        name = records.testzip()
    return None if name is None else f"its record `{name}` does not fit its checksum"


def _in_folder(folder: Path) -> Path:
    for name in IN_FOLDERS:
        if (folder / name).is_file():
            return folder / name
    files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".pth", ".pt", ".ckpt"))
    if len(files) == 1:
        return files[0]
    if (folder / "config.yaml").is_file():
        raise UserError(f"`{folder}` is a run already; to take one of its checkpoints, give that file.")
    hint = f"; nearest: {quoted(map(str, files))}" if files else ""
    raise UserError(f"`{folder}` must hold one of {quoted(IN_FOLDERS)}, but has none{hint}.")


def _read_parts(index: Path) -> Weights:
    """Weights in several files, as large models of transformers are stored."""
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        files = [index.parent / Path(name).name for name in names]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"`{index}` must list its files under `weight_map`, but does not.") from error
    lists = [file.name for file in files if file.is_dir() or file.name.endswith(".index.json")]
    if lists:  # such as itself
        raise UserError(f"`{index}` must list files of weights under `weight_map`, but lists {quoted(lists)}.")
    parts = [read_weights(file) for file in files]
    return Weights(index, {name: tensor for part in parts for name, tensor in part.tensors.items()})


def _read_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Weights(path, plain_names(tensors), file.metadata() or {})
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        broken = "incomplete" in str(error) or "not fully covered" in str(error) or "InvalidOffset" in str(error)
        told = "is cut off" if broken else "is no safetensors file"
        raise UserError(f"`{path}` {told}: {' '.join(str(error).split())}.") from error


def _load(path: Path) -> Any:
    """The file's content, with a stand-in for each class that it names and that has one."""
    allowed = known()
    while True:
        try:
            with _allowing(allowed):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
        except Exception as error:
            asked = _ASKED.search(str(error))
            found = stand_in(asked[1]) if asked else None
            if found is None or found in allowed:
                raise
            allowed.append(found)


@contextmanager
def _allowing(allowed: list[Any]) -> Iterator[None]:
    """Torch's reader knows these, in place of what any library has told it to take under the same names."""
    told = torch.serialization.get_safe_globals()
    names = {_called(one) for one in allowed}
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([*(one for one in told if _called(one) not in names), *allowed])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(told)


def _called(one: Any) -> str:
    """The name that a file asks for this class by."""
    return one[1] if isinstance(one, tuple) else f"{one.__module__}.{one.__qualname__}"


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)


def _reason(path: Path, message: str) -> str:
    """Why torch did not read a file, in words of ours: its own are about its options."""
    with path.open("rb") as file:
        begins = file.read(6)
    if asked := _ASKED.search(message):
        return f"is refused, none of its code was run: it asks for `{asked[1]}`, but may hold tensors, numbers and text"
    if begins == b"\x93NUMPY":
        return "is an array of NumPy, not a file of weights"
    if "TorchScript" in message:
        return "is a TorchScript program, not a file of weights"
    if begins[:2] == b"PK" and not zipfile.is_zipfile(path):
        return "is cut off"
    if begins[:2] == b"PK":
        return "is a zip file, but not one of `torch.save`, or only a part of one"
    return "is not a file that `torch.save` or safetensors wrote"
