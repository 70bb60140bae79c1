"""Spoken digits that are made by rule: ten words in the voices of many speakers, without a download."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from unmask.api import at_least
from unmask.data import Findings, Found, Item, Source
from unmask_audio.data.module import AudioData
from unmask_audio.data.reading import Made

NUM_HARMONICS = 32
FRAMES = 100
"""Times of a word at which resonances are worked out; between them they move in lines."""


class Sound(NamedTuple):
    """One sound of a word.

    Args:
        formants: its first three resonances in Hz.
        length: against the others of its word.
        voice: level of the voice, in [0, 1].
        hiss: level of noise.
        at: frequency in Hz that the noise lies at.
    """

    formants: tuple[float, float, float]
    length: float = 1.0
    voice: float = 1.0
    hiss: float = 0.0
    at: float = 3000.0


# Vowels by Peterson and Barney 1952, table II (men); the others are rough values for one kind of sound each.
AH, AA, IH, IY, UW, AO, EH, ER = (
    Sound(one) for one in (
        (640, 1190, 2390), (730, 1090, 2440), (390, 1990, 2550), (270, 2290, 3010), (300, 870, 2240), (570, 840, 2410),
        (530, 1840, 2480), (490, 1350, 1690),
    )
)  # fmt: skip
NASAL = Sound((250, 1100, 2300), 0.7, 0.5)
W = Sound((290, 610, 2150), 0.5, 0.7)
R = Sound((310, 1060, 1380), 0.5, 0.7)
S, Z = (Sound((300, 1600, 2500), 0.8, voice, 0.35, 3600.0) for voice in (0.0, 0.4))
F, V = (Sound((300, 1100, 2200), 0.6, voice, 0.12, 2200.0) for voice in (0.0, 0.5))
TH = Sound((300, 1400, 2500), 0.6, 0.0, 0.1, 2800.0)
STOP = Sound((300, 1700, 2600), 0.4, 0.0)
T = Sound((300, 1700, 2600), 0.25, 0.0, 0.5, 3300.0)
K = Sound((300, 1900, 2400), 0.25, 0.0, 0.4, 1900.0)

WORDS: dict[str, tuple[Sound, ...]] = {
    "0": (Z, IH, R, AO, UW),
    "1": (W, AH, NASAL),
    "2": (T, UW, UW),
    "3": (TH, R, IY, IY),
    "4": (F, AO, R),
    "5": (F, AA, IY, V),
    "6": (S, IH, STOP, K, S),
    "7": (S, EH, V, AH, NASAL),
    "8": (EH, IY, STOP, T),
    "9": (NASAL, AA, IY, NASAL),
}
"""The sounds of each digit's English word."""


class SpokenDigitsData(AudioData):
    """The words zero to nine, each as often, by speakers that differ in pitch, length of the vocal tract and speed.

    ``label`` is the digit, and ``speaker`` (``s3``) a key for ``unmask probe --groups``. Validation hears other
    speakers than training. They are synthetic: good for trying out, not for comparing methods. For recordings use
    `AudioFilesData` in its place.

    Args:
        num_speakers: of all, at least 2.
        num_val_speakers: the last of them, held out; at least 1.
        num_takes: of each word by each speaker, at least 1.
        seed: of the sounds.

    Raises:
        ValueError: a value outside its range.

    Further arguments are those of `AudioData`; a word lasts 0.4 to 0.7 seconds, and a sound is as long as a window.
    """

    def __init__(
        self,
        num_speakers: int = 16,
        num_val_speakers: int = 4,
        num_takes: int = 8,
        seed: int = 0,
        sample_rate: int = 8_000,
        seconds: float = 0.8,
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        source = SpokenDigits(num_speakers, num_val_speakers, num_takes, seed, sample_rate, seconds)
        super().__init__(source=source, sample_rate=sample_rate, seconds=seconds, num_workers=num_workers, **shared)


@dataclass
class SpokenDigits(Source):
    """Those sounds; the fields are options of `SpokenDigitsData`."""

    kind = "synthetic spoken digits"

    num_speakers: int = 16
    num_val_speakers: int = 4
    num_takes: int = 8
    seed: int = 0
    sample_rate: int = 8_000
    seconds: float = 0.8

    def __post_init__(self) -> None:
        at_least(2, num_speakers=self.num_speakers)
        at_least(1, num_takes=self.num_takes)
        if not 1 <= self.num_val_speakers < self.num_speakers:
            raise ValueError(
                f"`num_val_speakers` must be in [1, {self.num_speakers - 1}], below `num_speakers`, but is "
                f"{self.num_val_speakers}."
            )
        self.num_samples = max(round(self.seconds * self.sample_rate), 1)

    def read(self, findings: Findings) -> Found:
        heard = self.num_speakers - self.num_val_speakers
        parts = [self._items(range(heard)), self._items(range(heard, self.num_speakers))]
        return Found.of(parts, tuple(WORDS))

    def sound(self, speaker: int, digit: str, take: int) -> np.ndarray:
        """One of them, ``[num_samples]`` float32 in [-1, 1]."""
        voice = np.random.default_rng([self.seed, speaker])
        pitch, size, speed = (
            np.exp(voice.uniform(np.log(90), np.log(230))),
            voice.uniform(0.85, 1.15),
            voice.uniform(0.85, 1.2),
        )
        rng = np.random.default_rng([self.seed, speaker, int(digit), take])
        spoken = _word(WORDS[digit], self.sample_rate, pitch * rng.uniform(0.94, 1.06), size, speed, rng)
        spoken = spoken[: self.num_samples]
        wave = 10 ** (rng.uniform(-60, -40) / 20) * rng.standard_normal(self.num_samples)
        late = int(rng.uniform(0, self.num_samples - len(spoken) + 1))
        wave[late : late + len(spoken)] += spoken / max(np.abs(spoken).max(), 1e-9)
        return (wave * rng.uniform(0.3, 0.8) / max(np.abs(wave).max(), 1)).astype(np.float32)

    def _items(self, speakers: range) -> list[Item]:
        return [
            Item(
                f"{digit}_s{speaker}_{take}",
                Made(self.num_samples, self.sample_rate, partial(self.sound, speaker, digit, take)),
                int(digit),
                {"speaker": f"s{speaker}"},
            )
            for speaker in speakers
            for digit in WORDS
            for take in range(self.num_takes)
        ]


def _word(
    sounds: tuple[Sound, ...], sample_rate: int, pitch: float, size: float, speed: float, rng: np.random.Generator
) -> np.ndarray:
    """A pulse train and noise through resonances that glide from sound to sound."""
    lengths = np.array([one.length * rng.uniform(0.85, 1.15) for one in sounds])
    seconds = np.clip((0.3 + 0.06 * len(sounds)) / speed * rng.uniform(0.9, 1.1), 0.3, 0.7)
    centres = (np.cumsum(lengths) - lengths / 2) / lengths.sum()  # of sounds, as shares of the word
    at = np.linspace(0, 1, FRAMES)
    num_samples = int(seconds * sample_rate)
    time = np.linspace(0, 1, num_samples)

    glide = pitch * (1.08 - 0.2 * at) * (1 + 0.02 * np.sin(2 * np.pi * 5 * at * seconds))  # falls, and trembles
    formants = [np.interp(at, centres, [one.formants[i] for one in sounds]) / size for i in range(3)]
    harmonics = np.arange(1, NUM_HARMONICS + 1)[:, None] * glide  # [K, frames] Hz
    gain = np.ones_like(harmonics) / np.arange(1, NUM_HARMONICS + 1)[:, None]
    for place, centre in enumerate(formants):
        width = 60 + 40 * place + 0.03 * centre
        gain = gain * centre**2 / np.hypot(centre**2 - harmonics**2, width * harmonics)
    gain *= (harmonics < 0.45 * sample_rate) * np.interp(at, centres, [one.voice for one in sounds])
    phase = 2 * np.pi * np.cumsum(np.interp(time, at, glide)) / sample_rate
    voiced = sum(
        (np.interp(time, at, gain[k]) * np.sin((k + 1) * phase) for k in range(NUM_HARMONICS)), np.zeros(num_samples)
    )
    voiced /= max(np.abs(voiced).max(), 1e-9)

    hiss = np.zeros(num_samples)
    for one in {sound for sound in sounds if sound.hiss}:
        level = np.interp(time, centres, [other.hiss * (other == one) for other in sounds])
        hiss += level * _band(rng.standard_normal(num_samples), min(one.at / size, 0.45 * sample_rate), sample_rate)
    edge = np.minimum(np.minimum(time, 1 - time) * seconds / 0.02, 1)  # 20 ms in and out
    return (voiced + hiss) * edge


def _band(noise: np.ndarray, centre: float, sample_rate: int) -> np.ndarray:
    """Noise around a frequency, as wide as a third of it, of standard deviation 1."""
    spectrum = np.fft.rfft(noise)
    distance = (np.fft.rfftfreq(len(noise), 1 / sample_rate) - centre) / (centre / 3)
    made = np.fft.irfft(spectrum * np.exp(-(distance**2)), len(noise))
    return made / max(made.std(), 1e-9)
