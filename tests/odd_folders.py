"""People's folders with something odd in them, for each modality, and how they are read: docs/own-data.md has what is
said of them, tests/test_own_data.py sees that it is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Modality(NamedTuple):
    """How one modality writes a file, and reads a folder.

    Args:
        ending: of its files.
        write: a good file.
        odd: a file with values that are not finite; of text and graphs, with something missing.
        read: the data module of a folder and options.
        table: a table of files has labels; else rows of a table are samples themselves.
    """

    ending: str
    write: Callable[[Path, int], None]
    odd: Callable[[Path], None]
    read: Callable[..., Any]
    table: bool = True


def _rng(number: int) -> np.random.Generator:
    return np.random.default_rng(number)


def _image(file: Path, number: int) -> None:
    from PIL import Image

    Image.fromarray(_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(file, format="png")


def _odd_image(file: Path) -> None:
    pixels = _rng(0).random((3, 16, 16)).astype(np.float32)
    pixels[0, 3, 3] = np.nan
    np.save(file.with_suffix(".npy"), pixels)


def _images(folder: Path, **options: Any) -> Any:
    from unmask_vision.data import ImageFolderData

    return ImageFolderData(str(folder), image_size=16, batch_size=2, num_workers=0, **options)


def _sound(file: Path, number: int) -> None:
    import soundfile

    soundfile.write(file, 0.1 * _rng(number).standard_normal(1600), 8000, format="wav")


def _odd_sound(file: Path) -> None:
    import soundfile

    wave = 0.1 * _rng(0).standard_normal(1600)
    wave[7] = np.nan
    soundfile.write(file, wave, 8000, format="wav", subtype="FLOAT")


def _sounds(folder: Path, **options: Any) -> Any:
    from unmask_audio.data import AudioFilesData

    return AudioFilesData(str(folder), sample_rate=8000, seconds=0.1, batch_size=2, num_workers=0, **options)


def _text(file: Path, number: int) -> None:
    words = ["the", "a", "cat", "dog", "reads", "writes", "long", "letter", "book", "in", "near", "house", "river"]
    file.write_text(" ".join(_rng(number).choice(words, 40)) + "\n", "utf-8")


def _odd_text(file: Path) -> None:
    file.write_text(" \n\n", "utf-8")


def _texts(folder: Path, **options: Any) -> Any:
    from unmask_text.data import TextFilesData

    own = {"vocab_size": 120, "cache_folder": str(folder.parent / "cache"), "batch_size": 2, "num_workers": 0}
    return TextFilesData(str(folder), **(own | options))


def _graph(file: Path, number: int) -> None:
    import torch

    x = torch.from_numpy(_rng(number).normal(size=(6, 4)).astype(np.float32))
    nodes = torch.arange(6)
    torch.save([{"x": x, "edge_index": torch.stack([nodes, (nodes + 1) % 6]), "y": number % 2}], file)


def _odd_graph(file: Path) -> None:
    import torch

    x = torch.full((6, 4), torch.nan)
    torch.save([{"x": x, "edge_index": torch.tensor([[0, 1], [1, 2]]), "y": 0}], file)


def _graphs(folder: Path, **options: Any) -> Any:
    from unmask_graph.data import GraphFilesData

    return GraphFilesData(str(folder), batch_size=2, **options)


def _cloud(file: Path, number: int) -> None:
    np.savetxt(file, _rng(number).normal(size=(40, 3)))


def _odd_cloud(file: Path) -> None:
    points = _rng(0).normal(size=(40, 3))
    points[3, 1] = np.nan
    np.savetxt(file, points)


def _clouds(folder: Path, **options: Any) -> Any:
    from unmask_pointcloud.data import PointCloudFilesData

    return PointCloudFilesData(str(folder), num_points=16, stored_points=40, batch_size=2, num_workers=0, **options)


MODALITIES = {
    "images": Modality(".png", _image, _odd_image, _images),
    "sounds": Modality(".wav", _sound, _odd_sound, _sounds),
    "texts": Modality(".txt", _text, _odd_text, _texts, table=False),
    "graphs": Modality(".pt", _graph, _odd_graph, _graphs, table=False),
    "point clouds": Modality(".xyz", _cloud, _odd_cloud, _clouds),
}


def good(folder: Path, own: Modality, count: int = 6, classes: bool = False) -> list[Path]:
    """So many good files, in two folders where there are classes."""
    files = []
    for number in range(count):
        file = folder / ("ab"[number % 2] if classes else "") / f"f{number}{own.ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        own.write(file, number)
        files.append(file)
    return files


def traps(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder, own)
    (folder / ".cache").mkdir()
    own.write(folder / ".cache" / f"g{own.ending}", 7)
    own.write(folder / f".h{own.ending}", 8)
    (folder / "notes.doc").write_text("mine")
    return {}


def loop(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder / "in", own)
    os.symlink("..", folder / "in" / "up")
    return {}


def link(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder.parent / "elsewhere", own, 4)
    good(folder, own, 2)
    os.symlink(folder.parent / "elsewhere", folder / "more")
    return {}


def capitals(folder: Path, own: Modality) -> dict[str, Any]:
    for file in good(folder, own):
        file.rename(file.with_suffix(own.ending.upper()))
    return {}


def damaged(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder, own)
    (folder / f"bad{own.ending}").write_bytes(b"\x00\x01 no such file \xff\xfe" * 9)
    return {}


def empty(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder, own)
    (folder / f"bad{own.ending}").touch()
    return {}


def pipe(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder, own)
    os.mkfifo(folder / f"bad{own.ending}")
    return {}


def not_finite(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder, own)
    own.odd(folder / f"odd{own.ending}")
    return {}


def folders(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder, own, classes=True)
    return {} if own.table else {"labels": "folder"} if own.ending == ".txt" else {}


def _table(folder: Path, own: Modality, labels: list[str], **options: Any) -> dict[str, Any]:
    files = good(folder, own, len(labels))
    table = folder.parent / "labels.csv"
    lines = ["file;label", *(f"{file.name};{word}" for file, word in zip(files, labels, strict=True))]
    table.write_text("\n".join(lines) + "\n", "utf-8")
    return {"labels": "table", "table": str(table), **options}


def table(folder: Path, own: Modality) -> dict[str, Any]:
    return _table(folder, own, ["cat", "dog", "", "cat", "dog", "cat"])


def several(folder: Path, own: Modality) -> dict[str, Any]:
    return _table(folder, own, ["cat,loud", "dog", "", "loud", "dog,loud", "cat"], label_kind="multi-label")


def several_unasked(folder: Path, own: Modality) -> dict[str, Any]:
    return _table(folder, own, ["cat,loud", "dog", "", "loud", "dog,loud", "cat"])


def numbers(folder: Path, own: Modality) -> dict[str, Any]:
    return _table(folder, own, ["0.5", "1.5", "", "2", "0.1", "9"], label_kind="number")


def nothing_held_out(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder, own)
    return {"val_ratio": 0}


def one(folder: Path, own: Modality) -> dict[str, Any]:
    good(folder, own, 1)
    return {}


def none(folder: Path, own: Modality) -> dict[str, Any]:
    folder.mkdir()
    (folder / "notes.doc").write_text("mine")
    return {}


KINDS: dict[str, Callable[[Path, Modality], dict[str, Any]]] = {
    "hidden files and folders, other endings": traps,
    "a link to the folder above": loop,
    "a link to a folder elsewhere": link,
    "endings in capitals": capitals,
    "a damaged file": damaged,
    "an empty file": empty,
    "a pipe": pipe,
    "values that are not finite; of text, nothing but blanks": not_finite,
    "a folder for each class": folders,
    "a table of labels with semicolons and an empty label": table,
    "several labels in a cell, `label_kind: multi-label`": several,
    "several labels in a cell, not asked for": several_unasked,
    "numbers as labels, `label_kind: number`": numbers,
    "`val_ratio: 0`": nothing_held_out,
    "a single file": one,
    "no file that can be used": none,
}
OF_FILES = {table, several, several_unasked, numbers}
"""Kinds with a table that tells of files."""


def concerns(kind: str, modality: str) -> bool:
    """Whether a kind says anything of a modality: rows of texts' and graphs' tables are samples, not files."""
    return MODALITIES[modality].table or KINDS[kind] not in OF_FILES


def said(kind: str, modality: str, parent: Path) -> tuple[bool, str]:
    """Whether such a folder is read, and what is said of it."""
    folder, own = parent / "folder", MODALITIES[modality]
    folder.mkdir(parents=True, exist_ok=True) if kind != "no file that can be used" else None
    options = KINDS[kind](folder, own)
    try:
        return True, own.read(folder, **options).found()
    except ValueError as error:
        return False, str(error)
