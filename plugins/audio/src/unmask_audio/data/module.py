"""Audio data modules: sounds of any kind in, windows of one length and rate out, whatever the source."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch.utils.data import Dataset

from unmask.api import at_least, inside, track
from unmask.data import MaskedDataModule, Sample, Splits, held_out
from unmask_audio.data.augment import Augment, Name, augmentation
from unmask_audio.data.clips import Clips, Recording, collect
from unmask_audio.data.report import SHORT, UNPROBED, UNREADABLE, UNSEEN, Report

OWN_KEYS = ("wave", "length", "label", "index", "place")
"""Keys of a sample that a group may not have."""


class Sources(NamedTuple):
    """What a data module reads.

    Args:
        train: sounds to train on.
        val: sounds to validate and score on; None: a fixed random part of ``train``.
        classes: names of labels.
    """

    train: Sequence[Recording]
    val: Sequence[Recording] | None
    classes: list[str]


class AudioData(MaskedDataModule):
    """Mono waves; a subclass says where they come from (`sources`).

    A batch has ``wave`` ``[B, S]`` float32 with S the samples of ``seconds``, ``index`` ``[B]``; where sounds have a
    class, ``label`` ``[B]``; and where any sound is shorter than a window, ``length`` ``[B]``: how many samples of
    each wave are its own, before zeros.

    Every window of every sound is a sample: they are spread evenly so that all are full and cover it. In training a
    window is taken from anywhere in its sound, anew each time. Sounds are read into memory where they need at most
    1 GB, and every sample is looked at; else files are read when they are asked for. What is odd is handled as
    `Report` says, counted and named, and shown once before training. Sounds are held out whole. Labels that are all
    of one class are left out, for they tell nothing; probes see the sounds that have one.

    Args:
        sample_rate: of the waves, in Hz; sounds of other rates are resampled.
        seconds: length of a window, above 0. 10 in Audio-MAE.
        min_seconds: sounds shorter than this are left out; above 0, at most ``seconds``.
        augment: among ``roll`` (turned around in time) and ``gain`` (up to 6 dB louder or quieter), in their order; or
            a callable on samples. Of training samples only.
        val_ratio: share of sounds held out, in (0, 1), where the source knows no such part.
        batch_size: windows per device and step.
        num_workers: loading processes per device; None: by the number of windows.
        val_batch_size: windows per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, no sound that can be used.
    """

    sample_name: ClassVar[str] = "windows"

    def __init__(
        self,
        sample_rate: int = 16_000,
        seconds: float = 10.0,
        min_seconds: float = 0.1,
        augment: tuple[Name, ...] | Callable[[Sample], Sample] = (),
        val_ratio: float = 0.1,
        batch_size: int = 64,
        **shared: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, augment=None, **shared)
        at_least(1, sample_rate=sample_rate)
        if not 0 < min_seconds <= seconds:
            raise ValueError(
                f"`min_seconds` must be above 0 and at most `seconds` {seconds:g}, but is {min_seconds:g}."
            )
        inside("(0, 1)", val_ratio=val_ratio)
        self.sample_rate = sample_rate
        self.num_samples = max(round(seconds * sample_rate), 1)
        self.min_samples = max(round(min_seconds * sample_rate), 1)
        self.augment = _Shifted(augmentation(augment))
        self.val_ratio = val_ratio
        self.report = Report()

    @abstractmethod
    def sources(self) -> Sources:
        """What is to be read; called once, on every device's process."""

    @cached_property
    def classes(self) -> list[str]:
        """Names of the labels; empty: there are none."""
        return self._read[2]

    @cached_property
    def _read(self) -> tuple[Clips, Clips | None, list[str]]:
        """Sounds to train on, those to validate on, and names of classes."""
        train, val, classes = self.sources()
        parts = []
        for part in (train, val):
            if part is None:
                continue
            found = collect(track(part, "reading sounds"), self.sample_rate, self.min_samples, self.report)
            if not found:
                odd = self.report.findings
                told = "; ".join(odd.named(what) for what in (UNREADABLE, SHORT) if odd.count(what))
                raise ValueError(f"The data must have a sound that can be used, but has none{told and ': ' + told}.")
            parts.append(found)
        taken = {name for part in parts for clip in part for name in clip.recording.group} & set(OWN_KEYS)
        if taken:
            own = ", ".join(map(repr, OWN_KEYS))
            raise ValueError(f"What sounds are grouped by must not be called {own}, but one is {min(taken)!r}.")
        padded = any(clip.num_samples < self.num_samples for part in parts for clip in part)
        made = [Clips(part, self.sample_rate, self.num_samples, padded) for part in parts]
        by_part = [{clip.recording.label for clip in part} - {None} for part in parts]
        given = set().union(*by_part)
        self.report.num_classes = len(given)
        if len(parts) > 1 and by_part[0]:
            for clip in parts[1]:
                unseen = clip.recording.label not in by_part[0] | {None}
                self.report.findings.note(UNSEEN, clip.recording.name, int(unseen))
        return made[0], made[1] if len(made) > 1 else None, classes if len(given) > 1 else []

    def found(self) -> str:
        counts = super().found()  # loads the data, which fills the report
        return f"{self.report}\n  {counts}"

    def load(self) -> Splits:
        clips, val_clips, classes = self._read
        if val_clips is None:
            if len(clips) < 2:
                raise ValueError("The data must have at least 2 sounds, to train and to validate on, but has 1.")
            train, val = held_out(len(clips), self.val_ratio)
            val_clips = clips
        else:
            train, val = list(range(len(clips))), list(range(len(val_clips)))
        assert isinstance(self.augment, _Shifted)
        self.augment.clips = clips
        with_class = [
            [place for place in chosen if part.clips[place].recording.label is not None]
            for part, chosen in ((clips, train), (val_clips, val))
        ]
        probed = bool(classes) and all(with_class)
        for name, part in zip(("to train on", "to validate on"), with_class, strict=True):
            self.report.findings.note(UNPROBED, name, int(bool(classes) and not part))
        labelled = probed and with_class == [train, val]
        splits = Splits(Windows(clips, train, labelled, placed=True), Windows(val_clips, val, labelled))
        if not probed:
            return splits
        return splits._replace(
            probe_train=Windows(clips, with_class[0], True), probe_test=Windows(val_clips, with_class[1], True)
        )


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
        self.labelled = labelled
        self.placed = placed

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place, start = self.windows[index]
        sample = self.clips.sample(place, start)
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
