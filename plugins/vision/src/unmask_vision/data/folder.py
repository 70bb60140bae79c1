"""Any folder of image files, whatever their kinds, sizes and channels, damaged ones included."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch.utils.data import Dataset

from unmask.data import MaskedDataModule, Splits, held_out
from unmask.nearest import nearest
from unmask_vision.data.augment import CenterCrop, Transformed, augmentation
from unmask_vision.data.reading import EXTENSIONS, Unreadable, check_image, read_image, to_float, to_uint8

NUM_NAMED = 5
"""Unreadable files that a warning names; of the others it gives the number."""
FULL_CHECK_BYTES = 64 * 2**20
HEADER_CHECK_FILES = 50_000


class ImageFolderData(MaskedDataModule):
    """Images ``[channels, image_size, image_size]``, from a folder and all folders below it.

    How kinds of files become channels and values is said in `unmask_vision.data.reading`. Images
    are uint8, or float32 in [0, 1] when any of them is finer than 8 bits. Unreadable files are left
    out and named in one warning. Before training, files are decoded in full when they hold at most
    64 MB together, else the headers of the first 50,000 are read; what shows up only later is
    replaced by the next readable image, the same in every run.

    Args:
        folder: the folder.
        image_size: side of the square images that the model sees, in pixels.
        channels: their number of channels, at least 1.
        batch_size: training images per device and step.
        val_folder: another folder, for validation; None: a fixed random part of ``folder``.
        val_ratio: that part, in (0, 1).
        labels: ``folder``: the class is the first folder below ``folder``, when every image lies in
            one; None: no labels.
        augment: ``crop-flip`` (random resized crop, flip), ``none`` (centre crop), or a callable on
            samples, which must give images of one size.
        crop_scale: least and greatest share of the area that ``crop-flip`` crops, in (0, 1]. MAE's.
        flip: whether ``crop-flip`` mirrors half of the images left and right.
        on_unreadable: ``skip`` unreadable files, or ``stop`` with an error that names the first.
        extensions: endings of image files, in lower case; other files are ignored.
        max_pixels: images with more pixels (JPEG: after decoding at reduced size) are unreadable.
        num_workers: loading processes per device; None: by the number of images.
        val_batch_size: images per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, a missing or empty folder, one without
            any readable image, or an unreadable file when ``on_unreadable`` is ``stop``.
    """

    sample_name: ClassVar[str] = "images"

    def __init__(
        self,
        folder: str,
        image_size: int = 224,
        channels: int = 3,
        batch_size: int = 256,
        val_folder: str | None = None,
        val_ratio: float = 0.05,
        labels: Literal["folder"] | None = "folder",
        augment: Literal["crop-flip", "none"] | Callable[[dict[str, Any]], dict[str, Any]] = "crop-flip",
        crop_scale: tuple[float, float] = (0.2, 1.0),
        flip: bool = True,
        on_unreadable: Literal["skip", "stop"] = "skip",
        extensions: tuple[str, ...] = EXTENSIONS,
        max_pixels: int = 200_000_000,
        num_workers: int | None = None,
        val_batch_size: int | None = None,
        drop_last: bool = True,
    ) -> None:
        for name, value in (("image_size", image_size), ("channels", channels), ("max_pixels", max_pixels)):
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {value}.")
        if not 0 < val_ratio < 1:
            raise ValueError(f"`val_ratio` must be in (0, 1), but is {val_ratio}.")
        if labels not in ("folder", None):
            raise ValueError(f"`labels` must be 'folder' or None, but is {labels!r}.")
        if on_unreadable not in ("skip", "stop"):
            raise ValueError(f"`on_unreadable` must be 'skip' or 'stop', but is {on_unreadable!r}.")
        augmented = augmentation(augment, image_size, crop_scale, flip)
        super().__init__(batch_size, num_workers, val_batch_size, augmented, drop_last)
        self.folder = folder
        self.image_size = image_size
        self.val_folder = val_folder
        self.val_ratio = val_ratio
        self.labels = labels
        self.on_unreadable = on_unreadable
        self.extensions = extensions
        # The shorter side of the smallest crop is sqrt(0.75 * share) of the image's; twice leaves room.
        around = math.ceil(2 * image_size / math.sqrt(crop_scale[0]))
        self.read = partial(read_image, channels=channels, max_pixels=max_pixels, around=around)
        self.check = partial(check_image, channels=channels, max_pixels=max_pixels)

    def load(self) -> Splits:
        root = Path(self.folder).expanduser()
        train, fine = self._readable(root)
        if self.val_folder is not None:
            val_root = Path(self.val_folder).expanduser()
            val, val_fine = self._readable(val_root)
            fine = fine or val_fine
        else:
            val_root = root
            train, val = ([train[i] for i in places] for places in held_out(len(train), self.val_ratio))

        words = [[_class(path, root) for path in train], [_class(path, val_root) for path in val]]
        named = self.labels is not None and all(map(all, words))
        ids = {word: i for i, word in enumerate(sorted({*words[0], *words[1]}))}
        sets = [
            ImageFiles(paths, [ids[w] for w in own] if named else None, self.read, fine, self.on_unreadable)
            for paths, own in zip((train, val), words, strict=True)
        ]
        plain_train, plain_val = (Transformed(files, CenterCrop(self.image_size)) for files in sets)
        return Splits(sets[0], plain_val, *((plain_train, plain_val) if named else ()))

    def _readable(self, root: Path) -> tuple[list[Path], bool]:
        """Files that look readable, in order, and whether any holds values finer than 8 bits."""
        paths, num_ignored = find_images(root, self.extensions)
        in_full = sum(path.stat().st_size for path in paths) <= FULL_CHECK_BYTES
        checked = paths if in_full else paths[:HEADER_CHECK_FILES]

        def look(path: Path) -> bool | str:
            try:
                return self.check(path) or (in_full and self.read(path).is_floating_point())
            except (Unreadable, OSError) as error:
                return str(error)

        looks = [look(path) for path in checked]
        bad = {path: reason for path, reason in zip(checked, looks, strict=True) if isinstance(reason, str)}
        if bad:
            told = _named(f"{path.relative_to(root)} ({reason})" for path, reason in bad.items())
            told = f"{len(bad)} of {len(paths)} image files in {root} cannot be read: {told}."
            if self.on_unreadable == "stop":
                raise ValueError(f"{told} Remove them, or set `on_unreadable` to 'skip'.")
            if len(bad) == len(paths):
                raise ValueError(told)
            also = f" {num_ignored} files with other endings are ignored." if num_ignored else ""
            warnings.warn(f"{told} They are left out.{also}", stacklevel=2)
        return [path for path in paths if path not in bad], any(fine is True for fine in looks)


class ImageFiles(Dataset):
    """Images of any size, with labels or without, read when asked for.

    Args:
        paths: the files.
        labels: their classes, or None.
        read: gives a file's image ``[C, H, W]`` or raises `Unreadable`.
        fine: give float32 in [0, 1]; else uint8.
        on_unreadable: ``skip`` to the next file, or ``stop`` with a ValueError.
    """

    def __init__(
        self,
        paths: list[Path],
        labels: list[int] | None,
        read: Callable[[Path], torch.Tensor],
        fine: bool,
        on_unreadable: str,
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.read = read
        self.convert = to_float if fine else to_uint8
        self.on_unreadable = on_unreadable
        # shared by the loading processes, so that a file is named once and not by each of them
        self.bad = torch.zeros(len(paths), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        for place in (*range(index, len(self.paths)), *range(index)):
            try:
                image = self.convert(self.read(self.paths[place]))
            except (Unreadable, OSError) as error:
                self._tell(place, error)
                continue
            return {"image": image} | ({"label": self.labels[place]} if self.labels is not None else {})
        raise ValueError(f"None of the {len(self.paths)} image files can be read any more.")

    def _tell(self, place: int, error: Exception) -> None:
        if self.on_unreadable == "stop":
            raise ValueError(f"{self.paths[place]} cannot be read: {error}.") from error
        if self.bad[place]:
            return
        self.bad[place] = True
        number = int(self.bad.sum())
        if number <= NUM_NAMED or number & (number - 1) == 0:  # then only at powers of two
            warnings.warn(
                f"{self.paths[place]} cannot be read ({error}); the next image stands in for it. "
                f"Such files so far: {number}.",
                stacklevel=2,
            )


def find_images(root: Path, extensions: Iterable[str] = EXTENSIONS) -> tuple[list[Path], int]:
    """Image files below ``root``, sorted, and the number of other files.

    Raises:
        ValueError: no such folder, or no image in it.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        parent = root.absolute().parent
        siblings = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
        found = nearest(root.name, siblings, 1)
        hint = f" Nearest: {root.parent / found[0]}." if found else ""
        raise ValueError(f"`folder` must be a folder of images, but {root} {what}.{hint}")
    endings = {ending.lower() for ending in extensions}
    files = sorted(Path(top) / name for top, _, names in os.walk(root, followlinks=True) for name in names)
    images = [path for path in files if path.suffix.lower() in endings]
    if not images:
        held = f"{len(files)} other files" if files else "nothing"
        raise ValueError(f"`folder` must hold images ({', '.join(sorted(endings))}), but {root} holds {held}.")
    return images, len(files) - len(images)


def _class(path: Path, root: Path) -> str:
    """The first folder below ``root`` on the way to ``path``; empty when it lies in ``root`` itself."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _named(items: Iterable[str]) -> str:
    words = list(items)
    more = f" and {len(words) - NUM_NAMED} more" if len(words) > NUM_NAMED else ""
    return ", ".join(words[:NUM_NAMED]) + more
