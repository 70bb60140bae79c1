"""Audio data: sounds of any kind in, windows of one length and rate out, whatever the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset

from unmask.api import at_least
from unmask.data import UNREADABLE, Item, Packed, Sample, Source, SourceDataModule, Splits
from unmask_audio.data.augment import Augment, Name, augmentation
from unmask_audio.data.clips import Clips, collect
from unmask_audio.data.reading import Made, Segment, as_wav, read_header, read_wave
from unmask_audio.data.report import SHORT, AudioReport


class AudioData(SourceDataModule):
    """Mono waves of a source whose items give sound files, their contents, or `Made`.

    A batch has ``wave`` ``[B, S]`` float32 with S the samples of ``seconds``, ``index`` ``[B]``, ``name`` (B words, as
    the source calls sounds) and ``piece`` ``[B]``, a window's number in its sound; where sounds have a class, ``label``
    ``[B]``; and where any sound is shorter than a window, ``length`` ``[B]``: how many samples of
    each wave are its own, before zeros.

    Every window of every sound is a sample: they are spread evenly so that all are full and cover it. In training a
    window is taken from anywhere in its sound, anew each time. Sounds are read into memory where they need at most
    1 GB, and every sample is looked at; else files are read when they are asked for. What is odd is handled as
    `AudioReport` says, counted and named, and shown once before training. What is held out and which labels count
    is said in `SourceDataModule`.

    Args:
        source: where the sounds come from.
        sample_rate: of the waves, in Hz; sounds of other rates are resampled.
        seconds: length of a window, above 0. 10 in Audio-MAE.
        min_seconds: sounds shorter than this are left out; above 0, at most ``seconds``.
        augment: among ``roll`` (turned around in time) and ``gain`` (up to 6 dB louder or quieter), in their order; or
            a callable on samples. Of training samples only.
        val_ratio: share of sounds held out, in [0, 1), where the source knows no such part.
        batch_size: windows per device and step.
        num_workers: loading processes per device; None: by the number of windows.
        val_batch_size: windows per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, no sound that can be used.
    """

    sample_name: ClassVar[str] = "windows"
    item: ClassVar[str] = "sound"
    facts = {"num_samples": (int,), "sample_rate": (int,), "channels": (int,), "cut": (bool,)}
    item_name: ClassVar[str] = "sound"
    keys: ClassVar[tuple[str, ...]] = ("wave", "length", "label", "name", "piece", "index", "place")
    left_out: ClassVar[tuple[str, ...]] = (UNREADABLE, SHORT)
    report: AudioReport

    def __init__(
        self,
        source: Source,
        sample_rate: int = 16_000,
        seconds: float = 10.0,
        min_seconds: float = 0.1,
        augment: tuple[Name, ...] | Callable[[Sample], Sample] = (),
        val_ratio: float = 0.1,
        batch_size: int = 64,
        **shared: Any,
    ) -> None:
        super().__init__(
            source=source, report=AudioReport("sounds"), val_ratio=val_ratio, batch_size=batch_size, augment=None,
            **shared,
        )  # fmt: skip
        at_least(1, sample_rate=sample_rate)
        if not 0 < min_seconds <= seconds:
            raise ValueError(
                f"`min_seconds` must be above 0 and at most `seconds` {seconds:g}, but is {min_seconds:g}."
            )
        self.sample_rate = sample_rate
        self.num_samples = max(round(seconds * sample_rate), 1)
        self.min_samples = max(round(min_seconds * sample_rate), 1)
        self.augment = _Shifted(augmentation(augment))

    def collect(self, items: Iterable[Item]) -> Clips:
        clips = Clips(
            collect(items, self.sample_rate, self.min_samples, self.report), self.sample_rate, self.num_samples
        )
        self.report.longer += sum(clips.spare(place) > 0 for place in range(len(clips)))
        return clips

    def shard_content(self, content: Any, number: int) -> Packed:
        def begun() -> Any:
            if isinstance(content, BytesIO):
                content.seek(0)  # whoever read it before has left it somewhere else
            return content

        header = read_header(begun)
        read_wave(begun, header, header.sample_rate)  # damage is met here
        made = super().shard_content(as_wav(content) if isinstance(content, Made | Segment) else content, number)
        made = made._replace(ending="wav") if isinstance(content, Made | Segment) else made
        return made._replace(facts=header._asdict())

    def samples(self, kept: Clips, chosen: list[int], labelled: bool, trained: bool) -> Windows:
        return Windows(kept, chosen, labelled, placed=trained)

    def load(self) -> Splits:
        for part in self.parts:
            part.padded = any(one.padded for one in self.parts)
        assert isinstance(self.augment, _Shifted)
        self.augment.clips = self.parts[0]
        return super().load()


class Windows(Dataset):
    """The windows of chosen sounds, with their class where all of them have one.

    Args:
        clips: the sounds.
        chosen: which of them.
        labelled: give ``label``.
        placed: give ``place`` and ``start``, by which another window of the sound can be taken.
    """

    def __init__(self, clips: Clips, chosen: Sequence[int], labelled: bool, placed: bool = False) -> None:
        self.clips = clips
        self.windows = [(place, start) for place in chosen for start in clips.windows(place)]
        self.pieces = [piece for place in chosen for piece in range(len(clips.windows(place)))]
        self.labelled = labelled
        self.placed = placed

    @property
    def of(self) -> list[Item]:
        """The item of each sample."""
        return [self.clips.clips[place].item for place, _ in self.windows]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place, start = self.windows[index]
        sample = self.clips.sample(place, start) | {"piece": self.pieces[index]}
        if not self.labelled:
            del sample["label"]
        return sample | {"place": place} if self.placed else sample


class _Shifted:
    """A window from anywhere in its sound, where the sample tells which sound that is, then augmented."""

    def __init__(self, augmentations: Sequence[Augment]) -> None:
        self.augmentations = augmentations
        self.clips: Clips | None = None  # known once the data is loaded

    def __call__(self, sample: Sample) -> Sample:
        place = sample.pop("place", None)
        if place is not None and self.clips is not None:
            spare = self.clips.spare(place)
            if spare:
                again = self.clips.sample(place, int(torch.randint(spare + 1, ())))
                sample |= {name: value for name, value in again.items() if name in sample}
        for augment in self.augmentations:
            sample = augment(sample)
        return sample
