"""Sounds as clips: checked, at one rate, in memory where they fit, and cut to windows of one length."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from unmask.api import IGNORED
from unmask.data import FILLED, UNREADABLE, Item, Unreadable
from unmask_audio.data.reading import Header, Wave, read_header, read_wave
from unmask_audio.data.report import CHANNELS, CLIPPED, CUT, LOUD, SHORT, SILENT, AudioReport

STORED_BYTES = 2**30
"""Sounds that need no more than this are kept in memory; others are read when asked for."""
SILENT_PEAK = 1e-4
"""Below it a sound is silent: -80 dB."""
CLIPPED_PEAK, CLIPPED_RATIO = 0.999, 1e-3
"""A sound is clipped where this share of its samples is this loud."""
LOUD_PEAK = 10.0
"""Above it, 20 dB beyond full scale, samples are hardly in [-1, 1]."""


class Clip(NamedTuple):
    """One sound that can be used; ``num_samples`` at the rate wanted; ``wave`` where it is kept in memory."""

    item: Item
    header: Header
    num_samples: int
    wave: np.ndarray | None = None


class Clips:
    """Sounds to cut windows from.

    Args:
        clips: the sounds, at least one.
        sample_rate: in Hz.
        num_samples: of a window.

    Attributes:
        padded: samples have ``length``, for some, of this part or another, are shorter than a window.
    """

    def __init__(self, clips: Sequence[Clip], sample_rate: int, num_samples: int) -> None:
        self.clips = clips
        self.sample_rate = sample_rate
        self.num_samples = num_samples
        self.padded = any(clip.num_samples < num_samples for clip in clips)
        self._told: set[int] = set()

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def items(self) -> list[Item]:
        return [clip.item for clip in self.clips]

    def windows(self, place: int) -> list[int]:
        """Where windows begin that cover a clip: evenly spread, all of them full, or one where it is shorter."""
        spare = self.spare(place)
        count = math.ceil(self.clips[place].num_samples / self.num_samples)
        return [round(spare * number / (count - 1)) for number in range(count)] if spare else [0]

    def spare(self, place: int) -> int:
        """The last place at which a window can begin."""
        return max(self.clips[place].num_samples - self.num_samples, 0)

    def sample(self, place: int, start: int) -> dict[str, Any]:
        """``wave`` ``[num_samples]``, filled up with zeros, and ``length`` where any is shorter; ``label``, ``name``,
        groups.

        Where a file turns out to be damaged there, its beginning stands in, and else the next sound, which is told, as
        are samples that are not finite.
        """
        for one, first in ((place, start), (place, 0), *(((place + i) % len(self), 0) for i in range(1, len(self)))):
            clip = self.clips[one]
            try:
                wave, num_odd = self._read(clip, first)
            except (Unreadable, OSError) as error:
                self._tell(one, f"is damaged ({error}); another stretch of sound stands in")
                continue
            if not len(wave):
                self._tell(one, "is damaged (it ends before its header says); another stretch of sound stands in")
                continue
            if num_odd:
                self._tell(one, "has samples that are not finite, which became 0")
            full = torch.zeros(self.num_samples)
            full[: len(wave)] = torch.from_numpy(wave)
            sample: dict[str, Any] = {"wave": full, **clip.item.groups, "name": clip.item.name}
            sample["label"] = IGNORED if clip.item.label is None else clip.item.label
            return sample | ({"length": len(wave)} if self.padded else {})
        raise ValueError(f"None of the {len(self)} sounds can be read any more.")

    def _read(self, clip: Clip, start: int) -> Wave:
        if clip.wave is not None:
            return Wave(clip.wave[start : start + self.num_samples])
        return read_wave(clip.item.read, clip.header, self.sample_rate, start, self.num_samples)

    def _tell(self, place: int, what: str) -> None:
        if place not in self._told:
            self._told.add(place)
            warnings.warn(f"{self.clips[place].item.name} {what}.", stacklevel=2)


def collect(
    items: Iterable[Item], sample_rate: int, min_samples: int, report: AudioReport, stored: bool | None = None
) -> list[Clip]:
    """Looks at sounds; those that cannot be used are left out, counted and named.

    Args:
        items: give their files, or `Made`. Of those that lie in shards, the headers are known.
        sample_rate: at which they are wanted, in Hz.
        min_samples: of a sound that is used, at that rate.
        report: what is found is added to it.
        stored: read all of them into memory; None: where they fit into `STORED_BYTES`, and lie in no shards.
    """
    clips = [clip for one in items if (clip := _looked_at(one, sample_rate, min_samples, report)) is not None]
    if stored is None:
        in_shards = any(clip.item.facts for clip in clips)
        stored = not in_shards and 4 * sum(clip.num_samples for clip in clips) <= STORED_BYTES
    if stored:
        read = (_read(clip, sample_rate, min_samples, report) for clip in clips)
        clips = [clip for clip in read if clip is not None]
    report.checked &= stored
    report.sample_rate = sample_rate
    for clip in clips:
        report.seconds += clip.num_samples / sample_rate
        report.rates[clip.header.sample_rate] += 1
        if clip.header.channels > 2:
            report.findings.note(CHANNELS, f"{clip.item.name} ({clip.header.channels})")
        report.findings.note(CUT, clip.item.name, int(clip.header.cut and not stored))
    return clips


def _looked_at(one: Item, sample_rate: int, min_samples: int, report: AudioReport) -> Clip | None:
    """By its header alone."""
    try:
        header = Header(**one.facts) if one.facts else read_header(one.read)
    except (Unreadable, OSError) as error:
        report.findings.note(UNREADABLE, f"{one.name} ({error})")
        return None
    num_samples = math.ceil(header.num_samples * sample_rate / header.sample_rate)
    if num_samples < min_samples:
        report.findings.note(SHORT, f"{one.name} ({_samples(header.num_samples)})")
        return None
    return Clip(one, header, num_samples)


def _read(clip: Clip, sample_rate: int, min_samples: int, report: AudioReport) -> Clip | None:
    """With its wave, every sample of which was looked at."""
    name = clip.item.name
    try:
        wave, num_odd = read_wave(clip.item.read, clip.header, sample_rate)
    except (Unreadable, OSError) as error:
        report.findings.note(UNREADABLE, f"{name} ({error})")
        return None
    if len(wave) < min_samples:
        report.findings.note(SHORT, f"{name} ({_samples(len(wave))} of it can be read)")
        return None
    if len(wave) < clip.num_samples or clip.header.cut:
        report.findings.note(CUT, name)
    if num_odd:
        report.findings.note(FILLED, f"{name} ({_samples(num_odd)})")
    loudness = np.abs(wave)
    if loudness.max() < SILENT_PEAK:
        report.findings.note(SILENT, name)
    elif loudness.max() > LOUD_PEAK:
        report.findings.note(LOUD, name)
    elif (loudness >= CLIPPED_PEAK).mean() >= CLIPPED_RATIO:
        report.findings.note(CLIPPED, name)
    return clip._replace(wave=wave, num_samples=len(wave))


def _samples(count: int) -> str:
    return f"{count:,} sample{'s' * (count != 1)}"
