"""torchvision's data sets by class name, and MNIST-like IDX files wherever they lie."""

from __future__ import annotations

import inspect
import os
import struct
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from unmask.api import nearest, track
from unmask.data import Findings, Found, Item, Sample, Source, find_files, open_gzip
from unmask_vision.data.augment import Size
from unmask_vision.data.module import ImageData
from unmask_vision.data.reading import check_image

IDX_SETS = ("MNIST", "FashionMNIST", "KMNIST")
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class TorchvisionData(ImageData):
    """Images ``[C, H, W]`` uint8, or float32 where they are finer, with integer labels where the data set has some.

    MNIST, FashionMNIST and KMNIST are also found as IDX files, gzipped or not, that lie in ``root``
    itself. Data sets that know no test part (ImageFolder) are split once, by ``val_ratio``.

    Args:
        name: a class of torchvision.datasets, such as CIFAR10 or FashionMNIST.
        root: where its files are.
        download: fetch missing files into ``root``.
        split: part to pre-train on, for classes with a ``split`` argument (STL10:
            ``train+unlabeled``); others have ``train``.
        val_split: part to validate and score on, for the same classes.

    Raises:
        ValueError: an unknown name, missing or damaged files; also as `ImageData`.

    Further arguments are those of `ImageData`.
    """

    def __init__(
        self,
        name: str,
        root: str,
        download: bool = False,
        image_size: Size | None = None,
        channels: int | None = None,
        split: str = "train",
        val_split: str = "test",
        augment: Literal["none", "crop-flip"] | Callable[[Sample], Sample] = "none",
        **shared: Any,
    ) -> None:
        if channels not in (None, 1, 2, 3, 4):
            raise ValueError(f"`channels` must be 1, 2, 3, 4 or None, but is {channels}.")
        source = TorchvisionSource(name, root, download, split, val_split)
        super().__init__(source=source, image_size=image_size, channels=channels, augment=augment, **shared)


@dataclass
class TorchvisionSource(Source):
    """That data set; the fields are options of `TorchvisionData`."""

    name: str
    root: str
    download: bool = False
    split: str = "train"
    val_split: str = "test"

    def __post_init__(self) -> None:
        self.folder = Path(self.root).expanduser()

    def prepare(self) -> None:
        if self.download and not _has_idx(self.name, self.folder):
            cls = _class(self.name)
            self._opened(cls, Findings(), download=True)
            self._probed(cls, Findings(), download=True)

    def read(self, findings: Findings) -> Found:
        cls = _class(self.name)
        if _has_idx(self.name, self.folder):
            parts, classes = [_read_idx(self.folder, part) for part in IDX_FILES], _words(cls)
        else:
            parts = self._opened(cls, findings, download=False)
            classes = _words(parts[0])
        items = [_items(part) for part in parts]
        fitted = self._probed(cls, findings, download=False)
        probe = None if fitted is None else _items(fitted)
        labelled = any(item.label is not None for item in probe or items[0])
        about = "Labels have no words." if labelled else "No labels, for the data set gives no class numbers."
        return Found.of(items, classes, "" if labelled and classes else about)._replace(probe=probe)

    def _opened(self, cls: type, findings: Findings, download: bool) -> list[Any]:
        """Pairs to train on, and to validate on where the data set knows such."""
        names = inspect.signature(cls).parameters
        parts = [self.split, self.val_split] if {"train", "split"} & set(names) else ["train"]
        return [self._part(cls, names, part, findings, download) for part in parts]

    def _probed(self, cls: type, findings: Findings, download: bool) -> Any:
        """The part that probes are fitted on, where another is trained on: STL10's `unlabeled` lacks labels."""
        names = inspect.signature(cls).parameters
        if self.split == "train" or "split" not in names:
            return None
        return self._part(cls, names, "train", findings, download)

    def _part(self, cls: type, names: Collection[str], part: str, findings: Findings, download: bool) -> Any:
        options: dict[str, Any] = {"root": self.folder} if "root" in names else {}
        options |= {"train": part == "train"} if "train" in names else {}
        options |= {"split": part} if "split" in names else {}
        options |= {"download": True} if download and "download" in names else {}
        if cls is ImageFolder:  # people's own files, in which there is much that torchvision says nothing of
            return VisibleFolder(self.folder, findings)
        try:
            return cls(**options)
        except (RuntimeError, OSError) as error:
            reason = str(error).split("\n")[0].split(". You can")[0].split(" You can")[0].rstrip(".")
            missing = ""
            if self.name in IDX_SETS:
                missing = f" ({', '.join(n for pair in IDX_FILES.values() for n in pair)}, each plain or .gz)"
            hint = " Set `download` to True to fetch them." if "download" in names and not download else ""
            raise ValueError(
                f"`root` must hold the files of {self.name}{missing}, but {self.folder} does not: {reason}.{hint}"
            ) from error


class VisibleFolder(ImageFolder):
    """torchvision's ImageFolder of the files that `find_files` finds: nothing hidden, no loops of links.

    Args:
        root: the folder.
        findings: is told of what is left out.
    """

    def __init__(self, root: Path, findings: Findings) -> None:
        self.findings = findings
        super().__init__(root, loader=_load)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        root = Path(directory)
        files = find_files(root, IMG_EXTENSIONS, self.findings, "images", "root")
        self.files = {path: path.relative_to(root).parts for path in files}
        for path, parts in self.files.items():
            if len(parts) == 1:
                self.findings.note("lie in no folder of a class and are left out", path.name)
        classes = sorted({parts[0] for parts in self.files.values() if len(parts) > 1})
        if not classes:
            raise ValueError(f"`root` must hold a folder of images for each class, but {root} holds images alone.")
        return classes, {word: number for number, word in enumerate(classes)}

    def make_dataset(self, directory: Any, class_to_idx: Any, *args: Any, **kwargs: Any) -> list[tuple[str, int]]:
        inside = [(str(path), class_to_idx[parts[0]]) for path, parts in self.files.items() if len(parts) > 1]
        return sorted(inside, key=lambda item: (item[1], *os.path.split(item[0])))  # torchvision's order


def _load(path: str) -> Image.Image:
    """As torchvision's own, which would cut what is finer than 8 bits."""
    if check_image(Path(path)).fine:  # also refuses what Pillow should not open
        raise ValueError(f"{path} is finer than 8 bits, which `ImageFolder` cannot read; take `vision.folder`.")
    with Image.open(path) as image:
        return image.convert("RGB")


def _items(pairs: Any) -> list[Item]:
    return [Item(f"image {n}", partial(_image, pairs, n), label) for n, label in enumerate(_labels(pairs))]


def _image(pairs: Any, place: int) -> Any:
    return pairs[place][0]


def _labels(pairs: Any) -> list[int | None]:
    """Class numbers, from where torchvision's data sets keep them, so that no image is decoded; else of each pair."""
    if not isinstance(pairs[0][1], int | np.integer):
        return [None] * len(pairs)
    checked = {place: _label(pairs[place][1]) for place in (0, len(pairs) // 2, len(pairs) - 1)}
    samples = [pair[1] for pair in getattr(pairs, "_samples", ())]
    for kept in (*(getattr(pairs, name, ()) for name in ("targets", "labels", "_labels", "y")), samples):
        labels = [_label(value) for value in (kept.tolist() if hasattr(kept, "tolist") else kept or ())]
        if len(labels) == len(pairs) and all(labels[place] == label for place, label in checked.items()):
            return labels
    return [_label(pairs[place][1]) for place in track(range(len(pairs)), "reading labels")]


def _label(value: Any) -> int | None:
    """-1 is what torchvision has for no class."""
    return int(value) if isinstance(value, int | np.integer) and value >= 0 else None


def _words(source: Any) -> list[str]:
    """Names of classes, where torchvision has them as words or tuples of words."""
    names = [", ".join(name) if isinstance(name, tuple) else name for name in getattr(source, "classes", None) or ()]
    return names if all(isinstance(name, str) for name in names) else []


def _class(name: str) -> type:
    from torchvision import datasets

    if name not in datasets.__all__:
        found = nearest(name, datasets.__all__, 3)
        hint = f" Nearest: {', '.join(found)}." if found else ""
        raise ValueError(f"`name` must be a class of torchvision.datasets, but is {name!r}.{hint}")
    return getattr(datasets, name)


def _idx_path(root: Path, name: str) -> Path | None:
    return next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)


def _has_idx(name: str, root: Path) -> bool:
    return name in IDX_SETS and all(_idx_path(root, n) is not None for pair in IDX_FILES.values() for n in pair)


def _read_idx(root: Path, part: str) -> list[tuple[Tensor, int]]:
    """Images ``[1, H, W]`` uint8 and labels."""
    images, labels = (torch.from_numpy(_idx_array(_idx_path(root, name))) for name in IDX_FILES[part])  # type: ignore[arg-type]
    if len(images) != len(labels) or images.ndim != 3:
        raise ValueError(f"`root` must hold as many labels as images, but {root} has {len(labels)} for {len(images)}.")
    return list(zip(images[:, None], labels.tolist(), strict=True))


def _idx_array(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an IDX file: a magic number, big-endian lengths, values."""
    try:
        with open_gzip(path, path.name) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}.") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is no IDX file of unsigned bytes.")
    start = 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start]) if len(data) >= start else (0,)
    values = np.frombuffer(data, np.uint8, offset=min(start, len(data)))
    if values.size != np.prod(shape) or values.size == 0:
        raise ValueError(f"{path} must hold {shape} values, but holds {values.size}: it is damaged.")
    return values.reshape(shape).copy()
