"""Image data: images of any kind in, images of one size out, whatever the source."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask.api import at_least, track
from unmask.data import (
    NUM_NAMED,
    SEEN,
    UNREADABLE,
    Findings,
    Item,
    Packed,
    Sample,
    ShardError,
    Source,
    SourceDataModule,
    Unreadable,
    packed,
)
from unmask_vision.data.augment import CenterCrop, Size, Transformed, augmentation, sides
from unmask_vision.data.looks import COARSE, NUM_LOOKED, Looks, spread
from unmask_vision.data.pixels import to_float, to_uint8
from unmask_vision.data.reading import Frame, check_image, num_channels, num_frames, read_image
from unmask_vision.data.scale import KINDS, BandStats, Numbers, Scale, read_stats, scale_between, scale_of

FULL_CHECK_BYTES = 64 * 2**20
HEADER_CHECK_FILES = 50_000
NUM_MEASURED = 256
"""Images that a scale is measured on, where no file of measurements is given."""


class ImageData(SourceDataModule):
    """Images ``[channels, height, width]`` of a source whose items give files, their contents, or images.

    How kinds of files become channels and values is said in `unmask_vision.data.reading`. Images are uint8, or
    float32 in [0, 1] when any of them is finer than 8 bits or has a scale. Images that cannot be read are left out, and
    those that are odd (values that are not finite, too near together, or outside [0, 1]; bits that cannot be read) are
    counted and named once, before training. For that, files are decoded in full when they hold at most 64 MB together,
    else the headers of the first 50,000 are read, and 64 of the images that are finer than 8 bits; of other sources,
    64 images of each part. What shows up only later is warned about: an unreadable image is replaced by the next one,
    the same in every run. What is held out and which labels count is said in `SourceDataModule`.

    Args:
        source: where the images come from.
        image_size: of the images that the model sees, in pixels: the side of squares, or (height, width); None: images
            of one size, as they are.
        channels: their number of channels, at least 1; None: as the first image has.
        augment: ``crop-flip`` (random resized crop, flip), ``none`` (centre crop), or a callable on samples, which
            must give images of one size.
        crop_scale: least and greatest share of the area that ``crop-flip`` crops, in (0, 1]. MAE's.
        flip: whether ``crop-flip`` mirrors half of the images left and right.
        scale: how numbers become values in [0, 1]: by their ``type``, a ``range``, ``percentiles`` or ``mean-std`` of
            each channel, as `unmask_vision.data.scale` says.
        scale_range: of ``range``: the numbers that become 0 and 1, or such a pair for each channel.
        stats: of ``percentiles`` and ``mean-std``: a file that ``unmask vision-stats`` has written; None: 256 images of
            those to train on are measured.
        nodata: the number that stands for no data, besides NaN and what a TIFF says itself; such places become 0.
        frames: of animations and files of several pages: the ``first``, or ``all``, each as an image.
        val_ratio: share of images held out, in [0, 1), where the source knows no such part.
        batch_size: training images per device and step.
        num_workers: loading processes per device; None: by the number of images.
        val_batch_size: images per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, no image that can be used.
    """

    sample_name: ClassVar[str] = "images"
    item: ClassVar[str] = "image"
    facts = {"height": (int,), "width": (int,), "fine": (bool,)}
    item_name: ClassVar[str] = "single image"
    keys: ClassVar[tuple[str, ...]] = ("image", "label", "index", "name")
    report: Looks

    on_unreadable: Literal["skip", "stop"] = "skip"
    max_pixels: int = 200_000_000
    around: int | None = None
    """As `read_image` has it."""

    def __init__(
        self,
        source: Source,
        image_size: Size | None = 224,
        channels: int | None = 3,
        augment: Literal["crop-flip", "none"] | Callable[[Sample], Sample] = "crop-flip",
        crop_scale: tuple[float, float] = (0.2, 1.0),
        flip: bool = True,
        val_ratio: float = 0.05,
        scale: Literal["type", "range", "percentiles", "mean-std"] = "type",
        scale_range: tuple[float, float] | list[tuple[float, float]] | None = None,
        stats: str | None = None,
        nodata: float | None = None,
        frames: Literal["first", "all"] = "first",
        **shared: Any,
    ) -> None:
        if image_size is not None:
            sides("image_size", image_size)
        if channels is not None:
            at_least(1, channels=channels)
        augmented = augmentation(augment, image_size, crop_scale, flip)
        super().__init__(source=source, report=Looks("images"), val_ratio=val_ratio, augment=augmented, **shared)
        if scale not in KINDS:
            raise ValueError(f"`scale` must be one of {', '.join(map(repr, KINDS))}, but is {scale!r}.")
        if (scale == "range") != (scale_range is not None):
            raise ValueError(
                f"`scale_range` must be given exactly where `scale` is 'range', but `scale` is {scale!r} and "
                f"`scale_range` {scale_range}."
            )
        if stats is not None and scale not in ("percentiles", "mean-std"):
            raise ValueError(f"`stats` must be left out where `scale` is {scale!r}; nearest: 'percentiles'.")
        if frames not in ("first", "all"):
            raise ValueError(f"`frames` must be 'first' or 'all', but is {frames!r}.")
        self.image_size = image_size
        self.channels = channels
        self.scale = scale
        self.stats = stats
        self.frames = frames
        self._images: list[Images] = []
        self.numbers = Numbers(None if scale_range is None else scale_between(scale_range), nodata)

    @property
    def read(self) -> Callable[..., Tensor]:
        """Gives the image ``[channels, H, W]`` of what an item gives."""
        assert self.channels is not None  # known since the first image was read
        return partial(
            read_image, channels=self.channels, max_pixels=self.max_pixels, around=self.around, numbers=self.numbers
        )

    def measure(self, items: Sequence[Item], most: int) -> dict[str, Any]:
        """Measures of each channel, in the files' own units, as `BandStats` gives them; unreadable images are left out.

        Args:
            items: the images.
            most: how many of them, spread evenly.

        Raises:
            ValueError: none can be read, or a channel is without any data.
        """
        chosen = spread(items, most)
        found, numbers = BandStats(len(chosen)), self.numbers._replace(raw=True)
        for item in track(chosen, "measuring images"):
            try:
                found.see(self.read(item.read(), numbers=numbers, around=None))
            except (Unreadable, OSError):
                continue
        return found.result()

    def given_scale(self) -> Scale | None:
        """The scale that options give, or that was settled; None: by type, or to be measured.

        Raises:
            ValueError: ``stats`` is no file of measures, or of another number of channels.
        """
        if self.numbers.scale is not None or self.stats is None:
            return self.numbers.scale
        return scale_of(self.scale, read_stats(Path(self.stats).expanduser(), self.channels or 0, self.scale))

    def settle(self, scale: Scale | None) -> None:
        """Takes that scale from here on, such as the one that a model was trained with.

        Raises:
            ValueError: it is of another number of channels.
        """
        if scale is not None and self.channels is not None and len(scale.low) not in (1, self.channels):
            raise ValueError(
                f"`scale_range` must have one pair, or one for each of the {self.channels} channels, but has "
                f"{len(scale.low)}."
            )
        self.numbers = self.numbers._replace(scale=scale)
        self.report.scale = scale
        self.report.fine |= scale is not None
        for images in self._images:
            images.read, images.fine = self.read, self.report.fine

    def collect(self, items: Iterable[Item]) -> Kept:
        every = list(items) if self.frames == "first" else list(_frames(items))
        if self.channels is None and every:
            self.channels = num_channels(every[0].read())
        scale = self.given_scale()
        if scale is None and self.scale in ("percentiles", "mean-std"):
            scale = scale_of(self.scale, self.measure(every, NUM_MEASURED))
        self.settle(scale)
        findings = self.report.findings
        files = {number: item.content for number, item in enumerate(every) if isinstance(item.content, Path)}
        others = [number for number, item in enumerate(every) if number not in files and not item.facts]
        num_bytes = {number: path.stat().st_size for number, path in files.items()}
        in_full = sum(num_bytes.values()) <= FULL_CHECK_BYTES
        bad: dict[int, str] = {}
        fine: list[int] = []
        odd: set[str] = set()

        def look(number: int, whole: bool, header: bool) -> None:
            own, name = Findings(), every[number].name
            try:
                content = every[number].read()
                if header:
                    told = None if whole else own
                    height, width, is_fine = check_image(content, self.channels or 0, self.max_pixels, told, name)
                if whole:
                    image = self.read(content, findings=own, name=name)
                    self.report.see(image)
            except (Unreadable, OSError) as error:
                bad[number] = str(error)
                return
            if header:
                self.report.sizes[height, width] += 1
                self.report.fine |= is_fine
                fine.extend([number] * is_fine)
            elif number not in files:
                self.report.sizes[image.shape[1], image.shape[2]] += 1
            findings.add(own)
            odd.update([name] * bool(own.odd))

        for item in every:
            if facts := item.facts:
                self.report.sizes[facts["height"], facts["width"]] += 1
                self.report.fine |= facts["fine"]
        for number in list(files)[: None if in_full else HEADER_CHECK_FILES]:
            look(number, whole=in_full, header=True)
        looked_at = 0
        for number in [] if in_full else spread(fine, NUM_LOOKED):  # values of 8 bits are what they should be
            if looked_at < FULL_CHECK_BYTES:
                looked_at += num_bytes[number]
                look(number, whole=True, header=False)
        for number in spread(others, NUM_LOOKED):
            look(number, whole=True, header=False)
        for number, reason in bad.items():
            findings.note(UNREADABLE, f"{every[number].name} ({reason})")
        if bad and self.on_unreadable == "stop":
            raise ValueError(
                f"{len(bad):,} of {len(every):,} images cannot be read: {findings.named(UNREADABLE)}. Remove them, or "
                "set `on_unreadable` to 'skip'."
            )
        return Kept([item for number, item in enumerate(every) if number not in bad], odd)

    def shard_content(self, content: Any, number: int) -> Packed:
        if self.frames == "all":
            raise ShardError("`frames` must be 'first' where images are written to shards, but is 'all'.")
        image = self.read(content, around=None) if self.channels is not None else None  # damage is met here
        made = packed(content)
        if made is None:  # opened by PIL; PNG where it keeps all that there is
            file = _png(content)
            made = packed(self.read(content)) if file is None else Packed(file, "png")
        assert made is not None
        if isinstance(content, Path | BytesIO):
            height, width, fine = check_image(content, self.channels or 0, self.max_pixels)
        else:
            image = self.read(content) if image is None else image
            height, width, fine = image.shape[1], image.shape[2], image.is_floating_point()
        return made._replace(facts={"height": height, "width": width, "fine": fine})

    def samples(self, kept: Kept, chosen: list[int], labelled: bool, trained: bool) -> Dataset:
        items = [kept.items[place] for place in chosen]
        images = Images(items, labelled, self.read, self.report.fine, self.on_unreadable, kept.odd)
        self._images.append(images)
        return images if trained or self.image_size is None else Transformed(images, CenterCrop(self.image_size))

    def alone(self, kept: Kept) -> None:
        self.report.findings.note(SEEN, kept.items[0].name)


def _png(image: Any) -> bytes | None:
    """The file of an image that PIL has opened; None: of a kind that PNG changes."""
    if image.mode not in ("1", "L", "LA", "RGB", "RGBA", "P"):
        return None
    held = BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def _frames(items: Iterable[Item]) -> Iterator[Item]:
    """Each frame or page of a file as an item of its own."""
    for item in items:
        count = num_frames(item.content) if isinstance(item.content, Path) else 1
        if count == 1:
            yield item
        for number in range(count) if count > 1 else ():
            yield item._replace(name=f"{item.name} [{number}]", content=Frame(item.content, number))


class Kept(NamedTuple):
    """The images of a part that can be used, and the names of those that were told of as odd."""

    items: list[Item]
    odd: set[str]


class Images(Dataset):
    """Images of any size, with labels or without, read when asked for.

    Args:
        items: give the images.
        labelled: give ``label``.
        read: gives the image ``[C, H, W]`` or raises `Unreadable`; tells ``findings`` what is odd.
        fine: give float32 in [0, 1]; else uint8.
        on_unreadable: ``skip`` to the next image, or ``stop`` with a ValueError.
        known: names of images that have been told of as odd already.
    """

    def __init__(
        self,
        items: Sequence[Item],
        labelled: bool,
        read: Callable[..., Tensor],
        fine: bool,
        on_unreadable: str = "skip",
        known: Collection[str] = (),
    ) -> None:
        self.items = items
        self.labelled = labelled
        self.read = read
        self.fine = fine
        self.on_unreadable = on_unreadable
        # shared by the loading processes, so that an image is named once and not by each of them
        self.told = torch.tensor([item.name in known for item in items], dtype=torch.bool).share_memory_()
        self.num_met = torch.zeros((), dtype=torch.long).share_memory_()

    @property
    def of(self) -> Sequence[Item]:
        """The item of each sample."""
        return self.items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self.items) <= index < len(self.items):  # so that a loop over it ends
            raise IndexError(f"`index` must be below {len(self.items)}, but is {index}.")
        index %= len(self.items)
        for place in (*range(index, len(self.items)), *range(index)):
            item, findings = self.items[place], Findings()
            try:
                image = self.read(item.read(), findings=findings)
            except (Unreadable, OSError) as error:
                if self.on_unreadable == "stop":
                    raise ValueError(f"{item.name} cannot be read: {error}.") from error
                self._tell(place, f"{item.name} cannot be read ({error}); the next image stands in for it.")
                continue
            if image.is_floating_point() and not self.fine:
                findings.note(COARSE)
            for what in findings.odd:
                self._tell(place, f"{item.name} is one of the images that {what}.")
            sample = {"image": to_float(image) if self.fine else to_uint8(image), "name": item.name, **item.groups}
            return sample | ({"label": _label(item.label)} if self.labelled else {})
        raise ValueError(f"None of the {len(self.items)} images can be read any more.")

    def _tell(self, place: int, what: str) -> None:
        if self.told[place]:
            return
        self.told[place] = True
        self.num_met += 1
        number = int(self.num_met)
        if number <= NUM_NAMED or number & (number - 1) == 0:  # then only at powers of two
            warnings.warn(f"{what} Such images so far: {number}.", stacklevel=2)


def _label(given: Any) -> Any:
    """A class as a number, other labels as tensors of int64 or float32."""
    if isinstance(given, int):
        return given
    label = torch.tensor(given)
    return label if label.is_floating_point() else label.long()
