"""Sounds that are made by rule: synthetic notes, chords, percussion and vowels that need no download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from unmask.data import Findings, Found, Item, Source
from unmask_audio.data.module import AudioData
from unmask_audio.data.reading import Made

FORMANTS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240)}
"""Resonances of men's vowels in Hz (Peterson and Barney 1952, table II)."""
BELL = (1.0, 2.0, 2.4, 3.0, 4.5, 5.33, 6.0)
"""Partials of a bell, as multiples of its strike note."""
NOISE_DB = (-60.0, -35.0)
"""Level of the noise behind a sound, against its peak."""


class SynthData(AudioData):
    """Sounds of twelve kinds in equal numbers, of random pitch, start, length and level, over a little noise.

    ``label`` is the kind (`KINDS`). They are synthetic: good for trying out, not for comparing methods.

    Args:
        num_sounds: of all kinds together, at least 24.
        seed: of the sounds.

    Raises:
        ValueError: a value outside its range.

    Further arguments are those of `AudioData`; a sound is as long as a window.
    """

    def __init__(
        self,
        num_sounds: int = 1200,
        seed: int = 0,
        sample_rate: int = 16_000,
        seconds: float = 1.0,
        val_ratio: float = 0.2,
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        super().__init__(
            source=SynthSource(num_sounds, seed, sample_rate, seconds), sample_rate=sample_rate, seconds=seconds,
            val_ratio=val_ratio, num_workers=num_workers, **shared,
        )  # fmt: skip


@dataclass
class SynthSource(Source):
    """Those sounds, ``seconds`` long; the fields are options of `SynthData`."""

    kind = "synthetic sounds"

    num_sounds: int = 1200
    seed: int = 0
    sample_rate: int = 16_000
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.num_sounds < 2 * len(KINDS):
            raise ValueError(f"`num_sounds` must be at least {2 * len(KINDS)}, but is {self.num_sounds}.")
        self.num_samples = max(round(self.seconds * self.sample_rate), 1)

    def read(self, findings: Findings) -> Found:
        sounds = [Made(self.num_samples, self.sample_rate, partial(self.sound, n)) for n in range(self.num_sounds)]
        return Found([Item(f"sound {n}", one, n % len(KINDS)) for n, one in enumerate(sounds)], classes=tuple(KINDS))

    def sound(self, number: int) -> np.ndarray:
        """One of them, ``[num_samples]`` float32 in [-1, 1]."""
        rng = np.random.default_rng([self.seed, number])
        made = list(KINDS.values())[number % len(KINDS)]
        late = int(self.num_samples * rng.uniform(0, 0.25))
        seconds = np.arange(self.num_samples - late) / self.sample_rate
        sound = np.zeros(self.num_samples)
        sound[late:] = made(seconds, rng)
        sound /= max(np.abs(sound).max(), 1e-9)
        sound += 10 ** (rng.uniform(*NOISE_DB) / 20) * rng.standard_normal(len(sound))
        return (sound * rng.uniform(0.1, 0.8) / max(np.abs(sound).max(), 1)).astype(np.float32)


Rng = np.random.Generator
Make = Callable[[np.ndarray, Rng], np.ndarray]


def _partials(seconds: np.ndarray, pitch: np.ndarray | float, levels: dict[float, float]) -> np.ndarray:
    """A sum of sines at multiples of ``pitch`` (Hz, which may glide), without those that the rate cannot hold."""
    step = seconds[1] - seconds[0]
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(pitch, seconds.shape)) * step
    highest = 0.5 / step / float(np.max(pitch))
    return sum((level * np.sin(times * phase) for times, level in levels.items() if times < highest), 0 * seconds)


def _envelope(seconds: np.ndarray, rng: Rng, attack: float, decay: float) -> np.ndarray:
    """Up in ``attack`` seconds, then down exponentially in about ``decay``, both varied by half."""
    attack, decay = attack * rng.uniform(0.5, 1.5), decay * rng.uniform(0.5, 1.5)
    return np.minimum(seconds / attack, 1) * np.exp(-np.maximum(seconds - attack, 0) / decay)


def _pitch(rng: Rng, low: float = 110, high: float = 660) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _note(seconds: np.ndarray, rng: Rng) -> np.ndarray:
    return _partials(seconds, _pitch(rng, 220, 1200), {1: 1.0}) * _envelope(seconds, rng, 0.03, 0.6)


def _plucked(seconds: np.ndarray, rng: Rng) -> np.ndarray:
    """Higher partials die away sooner."""
    pitch, decay = _pitch(rng), rng.uniform(0.3, 0.8)
    parts = (_partials(seconds, pitch, {k: 1 / k}) * np.exp(-seconds * (1 + 0.4 * k) / decay) for k in range(1, 16))
    return sum(parts, 0 * seconds) * np.minimum(seconds / 0.004, 1)


def _bowed(seconds: np.ndarray, rng: Rng) -> np.ndarray:
    vibrato = 1 + 0.01 * np.sin(2 * np.pi * rng.uniform(4, 7) * seconds + rng.uniform(0, 6))
    levels = {float(k): 1 / k for k in range(1, 25)}
    return _partials(seconds, _pitch(rng) * vibrato, levels) * _envelope(seconds, rng, 0.15, 2.0)


def _bell(seconds: np.ndarray, rng: Rng) -> np.ndarray:
    levels = {times: rng.uniform(0.3, 1) / times for times in BELL}
    return _partials(seconds, _pitch(rng, 300, 900), levels) * _envelope(seconds, rng, 0.003, 0.5)


def _chord(semitones: tuple[int, ...], seconds: np.ndarray, rng: Rng) -> np.ndarray:
    root, levels = _pitch(rng, 130, 400), {float(k): 1 / k**1.5 for k in range(1, 8)}
    notes = [_partials(seconds, root * 2 ** (step / 12), levels) for step in semitones]
    return sum(notes, 0 * seconds) * _envelope(seconds, rng, 0.02, 0.8)


def _kick(seconds: np.ndarray, rng: Rng) -> np.ndarray:
    pitch = rng.uniform(40, 60) + rng.uniform(80, 200) * np.exp(-seconds / 0.03)
    return _partials(seconds, pitch, {1.0: 1.0}) * _envelope(seconds, rng, 0.002, 0.12)


def _snare(seconds: np.ndarray, rng: Rng) -> np.ndarray:
    drum = _partials(seconds, rng.uniform(160, 240), {1.0: 1.0, 1.6: 0.5}) * _envelope(seconds, rng, 0.002, 0.08)
    return drum + 0.7 * rng.standard_normal(len(seconds)) * _envelope(seconds, rng, 0.002, 0.12)


def _hi_hat(seconds: np.ndarray, rng: Rng) -> np.ndarray:
    hiss = np.diff(rng.standard_normal(len(seconds) + 2), 2)  # noise that rises with frequency
    return hiss * _envelope(seconds, rng, 0.002, float(rng.choice([0.03, 0.15])))


def _vowel(name: str, seconds: np.ndarray, rng: Rng) -> np.ndarray:
    """Pulses of a glottis through three resonances."""
    pitch = _pitch(rng, 90, 240) * np.exp(rng.uniform(-0.2, 0.2) * seconds)
    size = rng.uniform(0.9, 1.2)
    levels = {}
    for k in range(1, 60):
        frequency = k * float(pitch.mean())
        gain = 1.0
        for formant in FORMANTS[name]:
            centre, width = size * formant, 60 + 0.05 * formant
            gain *= centre**2 / np.hypot(centre**2 - frequency**2, width * frequency)
        levels[float(k)] = gain / k
    return _partials(seconds, pitch, levels) * _envelope(seconds, rng, 0.06, 1.5)


KINDS: dict[str, Make] = {
    "note": _note,
    "plucked note": _plucked,
    "bowed note": _bowed,
    "bell": _bell,
    "major chord": partial(_chord, (0, 4, 7)),
    "minor chord": partial(_chord, (0, 3, 7)),
    "kick": _kick,
    "snare": _snare,
    "hi-hat": _hi_hat,
    "vowel a": partial(_vowel, "a"),
    "vowel i": partial(_vowel, "i"),
    "vowel u": partial(_vowel, "u"),
}
"""Kinds of sounds by name, and what makes one from its times in seconds."""
