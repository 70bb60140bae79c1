"""Any folder of image files, whatever their kinds, sizes and channels, damaged ones included."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch.utils.data import Dataset

from unmask.api import at_least, inside
from unmask.data import NUM_NAMED, Findings, MaskedDataModule, Splits, find_files, held_out
from unmask_vision.data.augment import CenterCrop, Transformed, augmentation, check_side
from unmask_vision.data.looks import COARSE, NUM_LOOKED, Looks, spread, told
from unmask_vision.data.reading import EXTENSIONS, Unreadable, check_image, read_image, to_float, to_uint8

BAD = "cannot be read and are left out"
BOTH = "are both trained and validated on"
FULL_CHECK_BYTES = 64 * 2**20
HEADER_CHECK_FILES = 50_000


class ImageFolderData(MaskedDataModule):
    """Images ``[channels, image_size, image_size]``, from a folder and all folders below it.

    How kinds of files become channels and values is said in `unmask_vision.data.reading`. Images
    are uint8, or float32 in [0, 1] when any of them is finer than 8 bits. Files that are left out, and
    images that are odd (values that are not finite, too near together, or outside [0, 1]; bits that
    cannot be read) are counted and named once, before training. For that, files are decoded in full
    when they hold at most 64 MB together, else the headers of the first 50,000 are read, and 64 of the
    images that are finer than 8 bits. What shows up only later is warned about: an unreadable file is
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
        val_folder: str | None = None,
        val_ratio: float = 0.05,
        labels: Literal["folder"] | None = "folder",
        augment: Literal["crop-flip", "none"] | Callable[[dict[str, Any]], dict[str, Any]] = "crop-flip",
        crop_scale: tuple[float, float] = (0.2, 1.0),
        flip: bool = True,
        on_unreadable: Literal["skip", "stop"] = "skip",
        extensions: tuple[str, ...] = EXTENSIONS,
        max_pixels: int = 200_000_000,
        **shared: Any,
    ) -> None:
        check_side("image_size", image_size)
        at_least(1, channels=channels, max_pixels=max_pixels)
        inside("(0, 1)", val_ratio=val_ratio)
        if labels not in ("folder", None):
            raise ValueError(f"`labels` must be 'folder' or None, but is {labels!r}.")
        if on_unreadable not in ("skip", "stop"):
            raise ValueError(f"`on_unreadable` must be 'skip' or 'stop', but is {on_unreadable!r}.")
        augmented = augmentation(augment, image_size, crop_scale, flip)
        super().__init__(augment=augmented, **shared)
        self.folder = folder
        self.image_size = image_size
        self.channels = channels
        self.val_folder = val_folder
        self.val_ratio = val_ratio
        self.labels = labels
        self.on_unreadable = on_unreadable
        self.extensions = extensions
        self.looks = Looks()
        self._classes: list[str] = []
        # The shorter side of the smallest crop is sqrt(0.75 * share) of the image's; twice leaves room.
        around = math.ceil(2 * image_size / math.sqrt(crop_scale[0]))
        self.read = partial(read_image, channels=channels, max_pixels=max_pixels, around=around)
        self.check = partial(check_image, channels=channels, max_pixels=max_pixels)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the folders that labels 0, 1, 2, ... stand for; empty where images have no labels."""
        return self._classes if self.splits.probe_train is not None else ()

    def found(self) -> str:
        return told(super().found(), self.looks, self.classes)

    def load(self) -> Splits:
        self.looks = Looks()
        root = Path(self.folder).expanduser()
        train, named = self._readable(root, "folder")
        if self.val_folder is not None:
            val_root = Path(self.val_folder).expanduser()
            val, val_named = self._readable(val_root, "val_folder")
            named |= val_named
            resolved = {path.resolve() for path in train}
            for path in val:
                if path.resolve() in resolved:
                    self.looks.findings.note(BOTH, str(path.relative_to(val_root)))
        else:
            val_root = root
            train, val = ([train[i] for i in places] for places in held_out(len(train), self.val_ratio))
            if train == val:  # a single image
                self.looks.findings.note(BOTH, train[0].name)

        words = [[_class(path, root) for path in train], [_class(path, val_root) for path in val]]
        labelled = self.labels is not None and self._all_in_classes([*train, *val], words)
        self._classes = sorted({*words[0], *words[1]}) if labelled else []
        ids = {word: i for i, word in enumerate(self._classes)}
        sets = [
            ImageFiles(
                paths,
                [ids[w] for w in own] if labelled else None,
                self.read,
                self.looks.fine,
                self.on_unreadable,
                named,
            )
            for paths, own in zip((train, val), words, strict=True)
        ]
        plain_train, plain_val = (Transformed(files, CenterCrop(self.image_size)) for files in sets)
        return Splits(sets[0], plain_val, *((plain_train, plain_val) if labelled else ()))

    def _readable(self, root: Path, option: str) -> tuple[list[Path], set[Path]]:
        """Files that look readable, in order, and those of them that are known to be odd."""
        findings, odd = self.looks.findings, set()
        paths = find_files(root, self.extensions, findings, "images", option)
        in_full = sum(path.stat().st_size for path in paths) <= FULL_CHECK_BYTES
        bad: dict[Path, str] = {}
        fine: list[Path] = []

        def look(path: Path, whole: bool, header: bool) -> None:
            own, name = Findings(), str(path.relative_to(root))
            try:
                if header:
                    height, width, is_fine = self.check(path, findings=None if whole else own, name=name)
                if whole:
                    self.looks.see(self.read(path, findings=own, name=name))
            except (Unreadable, OSError) as error:
                bad[path] = str(error)
                return
            if header:
                self.looks.sizes[height, width] += 1
                self.looks.fine |= is_fine
                fine.extend([path] * is_fine)
            findings.add(own)
            odd.update([path] * bool(own.odd))

        for path in paths if in_full else paths[:HEADER_CHECK_FILES]:
            look(path, whole=in_full, header=True)
        if not in_full:  # values of 8 bits are what they should be
            num_bytes = 0
            for number in spread(len(fine), NUM_LOOKED):
                if num_bytes < FULL_CHECK_BYTES:
                    num_bytes += fine[number].stat().st_size
                    look(fine[number], whole=True, header=False)
        for path, reason in bad.items():
            findings.note(BAD, f"{path.relative_to(root)} ({reason})")
        if bad and (self.on_unreadable == "stop" or len(bad) == len(paths)):
            what = f"{len(bad):,} of {len(paths):,} image files in {root} cannot be read: {findings.named(BAD)}."
            hint = " Remove them, or set `on_unreadable` to 'skip'." if self.on_unreadable == "stop" else ""
            raise ValueError(what + hint)
        return [path for path in paths if path not in bad], odd

    def _all_in_classes(self, paths: list[Path], words: list[list[str]]) -> bool:
        """Whether every image has a class; says where only some have, and where classes differ between the parts."""
        findings = self.looks.findings
        without = [path.name for path, word in zip(paths, itertools.chain(*words), strict=True) if not word]
        if len(without) < len(paths):
            for name in without:
                findings.note("lie in no folder of a class, so no image has a label", name)
        if self.val_folder is not None and not without:
            train, val = map(set, words)
            for option, own, other in (("folder", train, val), ("val_folder", val, train)):
                for word in sorted(own - other):
                    findings.note(f"classes are in `{option}` alone", word)
        return not without


class ImageFiles(Dataset):
    """Images of any size, with labels or without, read when asked for.

    Args:
        paths: the files.
        labels: their classes, or None.
        read: gives a path's image ``[C, H, W]`` or raises `Unreadable`; tells ``findings`` what is odd.
        fine: give float32 in [0, 1]; else uint8.
        on_unreadable: ``skip`` to the next file, or ``stop`` with a ValueError.
        known: files that have been told of as odd already.
    """

    def __init__(
        self,
        paths: list[Path],
        labels: list[int] | None,
        read: Callable[..., torch.Tensor],
        fine: bool,
        on_unreadable: str,
        known: Collection[Path] = (),
    ) -> None:
        self.paths = paths
        self.labels = labels
        self.read = read
        self.fine = fine
        self.on_unreadable = on_unreadable
        # shared by the loading processes, so that a file is named once and not by each of them
        self.told = torch.tensor([path in known for path in paths], dtype=torch.bool).share_memory_()
        self.num_met = torch.zeros((), dtype=torch.long).share_memory_()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        for place in (*range(index, len(self.paths)), *range(index)):
            findings = Findings()
            try:
                image = self.read(self.paths[place], findings=findings)
            except (Unreadable, OSError) as error:
                if self.on_unreadable == "stop":
                    raise ValueError(f"{self.paths[place]} cannot be read: {error}.") from error
                self._tell(place, f"{self.paths[place]} cannot be read ({error}); the next image stands in for it.")
                continue
            if image.is_floating_point() and not self.fine:
                findings.note(COARSE)
            for what in findings.odd:
                self._tell(place, f"{self.paths[place]} is one of the images that {what}.")
            image = to_float(image) if self.fine else to_uint8(image)
            return {"image": image} | ({"label": self.labels[place]} if self.labels is not None else {})
        raise ValueError(f"None of the {len(self.paths)} image files can be read any more.")

    def _tell(self, place: int, what: str) -> None:
        if self.told[place]:
            return
        self.told[place] = True
        self.num_met += 1
        number = int(self.num_met)
        if number <= NUM_NAMED or number & (number - 1) == 0:  # then only at powers of two
            warnings.warn(f"{what} Such files so far: {number}.", stacklevel=2)


def _class(path: Path, root: Path) -> str:
    """The first folder below ``root`` on the way to ``path``; empty when it lies in ``root`` itself."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""
