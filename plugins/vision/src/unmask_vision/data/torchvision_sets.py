"""torchvision's data sets by class name, and MNIST-like IDX files wherever they lie."""

from __future__ import annotations

import gzip
import inspect
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from unmask.api import inside, nearest
from unmask.data import Findings, MaskedDataModule, Splits, find_files, held_out
from unmask_vision.data.augment import CenterCrop, Transformed, augmentation, check_side
from unmask_vision.data.digits import Images
from unmask_vision.data.looks import NUM_LOOKED, Looks, spread, told
from unmask_vision.data.reading import check_image, from_pil

IDX_SETS = ("MNIST", "FashionMNIST", "KMNIST")
IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class TorchvisionData(MaskedDataModule):
    """Images ``[C, H, W]`` uint8, or float32 where they are finer, with integer labels where the data set has some.

    MNIST, FashionMNIST and KMNIST are also found as IDX files, gzipped or not, that lie in ``root``
    itself. Data sets that know no test part (ImageFolder) are split once, by ``val_ratio``.

    Args:
        name: a class of torchvision.datasets, such as CIFAR10 or FashionMNIST.
        root: where its files are.
        download: fetch missing files into ``root``.
        image_size: side of the square images that the model sees, in pixels; None: as they are.
        channels: 1, 2 (grey, alpha), 3 or 4 (RGB, alpha); None: as the first image has.
        batch_size: training images per device and step.
        split: part to pre-train on, for classes with a ``split`` argument (STL10:
            ``train+unlabeled``); others have ``train``.
        val_split: part to validate and score on, likewise.
        val_ratio: share to hold out of a data set without parts, in (0, 1).
        augment: ``none``, ``crop-flip``, or a callable on samples.
        num_workers: loading processes per device; None: by the number of images.
        val_batch_size: images per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range, an unknown name, missing or damaged files.
    """

    sample_name: ClassVar[str] = "images"

    def __init__(
        self,
        name: str,
        root: str,
        download: bool = False,
        image_size: int | None = None,
        channels: int | None = None,
        split: str = "train",
        val_split: str = "test",
        val_ratio: float = 0.05,
        augment: Literal["none", "crop-flip"] | Callable[[dict[str, Any]], dict[str, Any]] = "none",
        **shared: Any,
    ) -> None:
        if image_size is not None:
            check_side("image_size", image_size)
        if channels not in (None, 1, 2, 3, 4):
            raise ValueError(f"`channels` must be 1, 2, 3, 4 or None, but is {channels}.")
        inside("(0, 1)", val_ratio=val_ratio)
        super().__init__(augment=augmentation(augment, image_size), **shared)
        self.set_name = name
        self.root = Path(root).expanduser()
        self.download = download
        self.image_size = image_size
        self.channels = channels
        self.split = split
        self.val_split = val_split
        self.val_ratio = val_ratio
        self.looks = Looks()
        self._classes: list[str] = []
        self._about = ""

    def prepare_data(self) -> None:
        if self.download and not _has_idx(self.set_name, self.root):
            self._parts(_class(self.set_name), download=True)

    @property
    def classes(self) -> Sequence[str]:
        """Words that labels stand for, where torchvision knows them and images have labels."""
        return self._classes if self.splits.probe_train is not None else ()

    def found(self) -> str:
        return told(super().found(), self.looks, self.classes, self._about)

    def load(self) -> Splits:
        self.looks = Looks()
        cls = _class(self.set_name)
        parts: tuple[Dataset, Dataset]
        if _has_idx(self.set_name, self.root):
            parts = _read_idx(self.root, "train"), _read_idx(self.root, "test")
            self._classes = _words(cls)
        else:
            parts = self._parts(cls, download=False)
            self._classes = _words(parts[0].dataset if isinstance(parts[0], Subset) else parts[0])
        if self.channels is None and not isinstance(parts[0], Images):
            first = parts[0][0][0]
            self.channels = {"1": 1, "L": 1, "LA": 2, "RGBA": 4}.get(getattr(first, "mode", "RGB"), 3)
        train, val = (Labelled(part, self.channels) for part in parts)
        plain: list[Dataset] = [train, val]
        if self.split != "train" and "split" in inspect.signature(cls).parameters:
            plain[0] = Labelled(self._part(cls, "train", download=False), self.channels)  # the rest has no labels
        labelled = all("label" in part[0] for part in plain)
        self._about = "No labels, for the data set gives no class numbers." if not labelled else "Labels have no words."
        self._about = "" if labelled and self._classes else self._about
        for rows in (train, val):
            for number in spread(len(rows), NUM_LOOKED):
                self.looks.see(rows[number]["image"])
        if self.image_size is not None:
            plain = [Transformed(part, CenterCrop(self.image_size)) for part in plain]
        return Splits(train, plain[1], *(plain if labelled else ()))

    def _parts(self, cls: type, download: bool) -> tuple[Dataset, Dataset]:
        if {"train", "split"} & set(inspect.signature(cls).parameters):
            return self._part(cls, self.split, download), self._part(cls, self.val_split, download)
        whole = self._part(cls, "train", download)
        train, val = held_out(len(whole), self.val_ratio)  # type: ignore[arg-type]
        return Subset(whole, train), Subset(whole, val)

    def _part(self, cls: type, part: str, download: bool) -> Dataset:
        names = inspect.signature(cls).parameters
        options: dict[str, Any] = {"root": self.root} if "root" in names else {}
        options |= {"train": part == "train"} if "train" in names else {}
        options |= {"split": part} if "split" in names else {}
        options |= {"download": True} if download and "download" in names else {}
        if cls is ImageFolder:  # people's own files, in which there is much that torchvision says nothing of
            return VisibleFolder(self.root, self.looks.findings)
        try:
            return cls(**options)
        except (RuntimeError, OSError) as error:
            reason = str(error).split("\n")[0].split(". You can")[0].split(" You can")[0].rstrip(".")
            missing = ""
            if self.set_name in IDX_SETS:
                missing = f" ({', '.join(n for pair in IDX_FILES.values() for n in pair)}, each plain or .gz)"
            hint = " Set `download` to True to fetch them." if "download" in names and not download else ""
            raise ValueError(
                f"`root` must hold the files of {self.set_name}{missing}, but {self.root} does not: {reason}.{hint}"
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


class Labelled(Dataset):
    """A torchvision data set's (image, label) pairs as samples, with labels that are integers.

    Args:
        dataset: pairs, or samples already.
        channels: channels to convert to.
    """

    def __init__(self, dataset: Dataset, channels: int | None) -> None:
        self.dataset = dataset
        self.channels = channels

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.dataset[index]
        image, label = (item["image"], item["label"]) if isinstance(item, dict) else (item[0], item[1])
        if isinstance(image, torch.Tensor) and self.channels in (None, len(image)):
            sample = {"image": image}
        else:
            picture = Image.fromarray(image[0].numpy()) if isinstance(image, torch.Tensor) else image
            sample = {"image": from_pil(picture, self.channels or 3)}
        return sample | ({"label": int(label)} if isinstance(label, int | np.integer) else {})


def _load(path: str) -> Image.Image:
    """As torchvision's own, which would cut what is finer than 8 bits."""
    with Image.open(path) as image:
        if check_image(Path(path)).fine:
            raise ValueError(f"{path} is finer than 8 bits, which `ImageFolder` cannot read; take `vision.folder`.")
        return image.convert("RGB")


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


def _read_idx(root: Path, part: str) -> Images:
    """Images ``[N, 1, H, W]`` uint8 and labels ``[N]``."""
    images, labels = (torch.from_numpy(_idx_array(_idx_path(root, name))) for name in IDX_FILES[part])  # type: ignore[arg-type]
    if len(images) != len(labels) or images.ndim != 3:
        raise ValueError(f"`root` must hold as many labels as images, but {root} has {len(labels)} for {len(images)}.")
    return Images(images[:, None], labels.long())


def _idx_array(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an IDX file: a magic number, big-endian lengths, values."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
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
