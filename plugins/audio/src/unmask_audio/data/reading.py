"""Audio files of any kind, rate and number of channels as mono waves at one rate.

libsndfile reads WAV, FLAC, OGG (Vorbis and Opus), MP3, AIFF, AU, CAF, W64 and NIST SPHERE; what it cannot read, such
as AAC, torchcodec does where it is installed. Channels are averaged. Samples that are not finite become 0.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from scipy import signal

from unmask.data import Unreadable, check_unpacked, fill_not_finite

EXTENSIONS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".sph",
    ".m4a", ".aac", ".mp4", ".webm", ".wma",
)  # fmt: skip
CODECS = (".m4a", ".aac", ".mp4", ".webm", ".wma")
"""Kinds that only torchcodec reads."""
RATES = 100, 1_000_000
"""Least and greatest rate in Hz that a header is believed: nothing is heard below it, and sonar and bat detectors end
before it. Resampling from other rates would need gigabytes."""
ZERO_CROSSINGS = 16
"""Of the resampling filter, to each side; with a Kaiser window of beta 8, aliases are below -80 dB."""


class Made(NamedTuple):
    """A sound that is made when it is asked for.

    Args:
        num_samples: of it.
        sample_rate: in Hz.
        make: gives it, ``[num_samples]`` float32 in [-1, 1].
    """

    num_samples: int
    sample_rate: int
    make: Callable[[], np.ndarray]


class Segment(NamedTuple):
    """A part of a file, in seconds from its beginning; it ends where the file does, if that is earlier."""

    path: Path
    start_s: float
    end_s: float

    def place(self, num_samples: int, sample_rate: int) -> tuple[int, int]:
        """Its first sample, and the one after its last.

        Args:
            num_samples: of the file.
            sample_rate: of the file, in Hz.

        Raises:
            Unreadable: it begins after the end of the file.
        """
        first, last = round(self.start_s * sample_rate), round(self.end_s * sample_rate)
        if first >= num_samples:
            raise Unreadable(f"it begins after the end of its file, which is {num_samples / sample_rate:g} s long")
        return first, max(min(last, num_samples), first)


Opened = Callable[[], Path | BytesIO | Made | Segment]


class Header(NamedTuple):
    """What a file says of itself: samples of each channel, rate in Hz, channels; and whether its end is missing."""

    num_samples: int
    sample_rate: int
    channels: int
    cut: bool


class Wave(NamedTuple):
    """Mono samples ``[n]`` float32, and how many of a file's samples were not finite."""

    samples: np.ndarray
    num_odd: int = 0


def read_header(opened: Opened) -> Header:
    """Without decoding.

    Raises:
        Unreadable: no audio, of a kind that nothing installed reads, or of a rate outside of `RATES`.
    """
    with _plainly():
        file = opened()
        if isinstance(file, Segment):
            whole = read_header(lambda: file.path)
            first, last = file.place(whole.num_samples, whole.sample_rate)
            cut = last < round(file.end_s * whole.sample_rate) - whole.sample_rate // 100  # more than 10 ms
            header = whole._replace(num_samples=last - first, cut=cut)
        elif isinstance(file, Made):
            header = Header(file.num_samples, file.sample_rate, 1, False)
        elif _needs_codec(file):
            samples, rate = _decoded(file)
            header = Header(samples.shape[1], rate, samples.shape[0], False)
        else:
            packed = file.stat().st_size if isinstance(file, Path) else file.getbuffer().nbytes
            with soundfile.SoundFile(file) as sound:
                check_unpacked(2 * sound.frames * sound.channels, packed)  # a header may say any length
                cut = "should be" in sound.extra_info  # libsndfile's note where a chunk is longer than the file
                header = Header(sound.frames, sound.samplerate, sound.channels, cut)
        least, greatest = RATES
        if not least <= header.sample_rate <= greatest:
            raise Unreadable(
                f"its header says {header.sample_rate:,} Hz, but a rate must be in [{least}, {greatest:,}]"
            )
        return header


def read_wave(opened: Opened, header: Header, sample_rate: int, start: int = 0, num_samples: int | None = None) -> Wave:
    """A stretch of a file at ``sample_rate``; shorter where the file ends, or cannot be decoded any further.

    Args:
        opened: gives the file.
        header: of that file.
        sample_rate: of the result, in Hz.
        start: its first sample, at ``sample_rate``.
        num_samples: how many, likewise; None: to the end.

    Raises:
        Unreadable: not a sample of it can be decoded.
    """
    up, down = _ratio(header.sample_rate, sample_rate)
    if up == down:
        return _read(opened, start, num_samples)
    # Whole periods of both rates around the stretch, so that it is the same as if all were read.
    margin = math.ceil((ZERO_CROSSINGS + 1) * max(up, down) / up / down) + 1
    first = max(start // up - margin, 0)
    last = None if num_samples is None else -(-(start + num_samples) // up) + margin
    found = _read(opened, first * down, None if last is None else (last - first) * down)
    made = resample(found.samples, header.sample_rate, sample_rate)[start - first * up :]
    return Wave(made[:num_samples], found.num_odd)


def as_wav(made: Made | Segment) -> bytes:
    """A WAV file of the same samples at the same rate, all channels, in float32.

    Raises:
        Unreadable: it cannot be decoded.
    """
    with _plainly():
        if isinstance(made, Made):
            samples, rate = made.make(), made.sample_rate
        else:
            whole = read_header(lambda: made.path)
            first, last = made.place(whole.num_samples, whole.sample_rate)
            rate = whole.sample_rate
            if _needs_codec(made.path):
                samples = _decoded(made.path)[0][:, first:last].T
            else:
                with soundfile.SoundFile(made.path) as sound:
                    samples = _readable(sound, first, last - first)
        held = BytesIO()
        soundfile.write(held, samples, rate, format="WAV", subtype="FLOAT")
        return held.getvalue()


def resample(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """``[n]`` at ``rate`` to ``[ceil(n * sample_rate / rate)]``, by a polyphase filter."""
    up, down = _ratio(rate, sample_rate)
    if up == down or not len(samples):
        return samples
    made = signal.resample_poly(samples, up, down, window=_filter(up, down))
    return np.ascontiguousarray(made, dtype=np.float32)


def _read(opened: Opened, start: int, num_samples: int | None) -> Wave:
    with _plainly():
        file = opened()
        if isinstance(file, Segment):
            whole = read_header(lambda: file.path)
            first, last = file.place(whole.num_samples, whole.sample_rate)
            left = max(last - first - start, 0)
            num_samples = left if num_samples is None else min(num_samples, left)
            return _read(lambda: file.path, first + start, num_samples)
        if isinstance(file, Made):
            samples = file.make()[start : None if num_samples is None else start + num_samples, None]
        elif _needs_codec(file):
            samples = _decoded(file)[0][:, start : None if num_samples is None else start + num_samples].T
        else:
            with soundfile.SoundFile(file) as sound:
                samples = _readable(sound, start, num_samples)
    samples, num_odd = fill_not_finite(samples)
    return Wave(samples.mean(1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0].copy(), num_odd)


def _readable(sound: soundfile.SoundFile, start: int, num_samples: int | None) -> np.ndarray:
    """``[n, channels]``, as far as a damaged file can be decoded."""
    sound.seek(min(start, sound.frames))
    wanted = sound.frames - start if num_samples is None else min(num_samples, sound.frames - start)
    wanted = max(wanted, 0)
    try:
        return sound.read(wanted, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:  # nothing of the whole stretch is given then, so in small pieces
        sound.seek(start)
        pieces = []
        try:
            for done in range(0, wanted, _PIECE):
                pieces.append(sound.read(min(_PIECE, wanted - done), dtype="float32", always_2d=True))
        except soundfile.LibsndfileError as error:
            if not pieces:
                raise Unreadable(f"damaged: {error.error_string}") from error
        return np.concatenate(pieces)


_PIECE = 4096


def _needs_codec(file: Path | BytesIO) -> bool:
    ending = file.suffix if isinstance(file, Path) else getattr(file, "ending", "")
    return ending.lower() in CODECS


def _decoded(file: Path | BytesIO) -> tuple[np.ndarray, int]:
    """``[channels, n]`` and the rate, by torchcodec, through torchaudio."""
    if importlib.util.find_spec("torchcodec") is None:
        raise Unreadable("of a kind that needs torchcodec: pip install 'unmask-audio[torchcodec]'")
    import torchaudio

    samples, rate = torchaudio.load(file)
    return samples.numpy(), int(rate)


@contextmanager
def _plainly() -> Iterator[None]:
    """Whatever a decoder raises on damaged bytes becomes `Unreadable`; a missing file stays what it is."""
    try:
        yield
    except (Unreadable, FileNotFoundError, PermissionError):
        raise
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except soundfile.LibsndfileError as error:
        raise Unreadable(f"no audio: {error.error_string.rstrip('.')}") from error
    except Exception as error:  # torchcodec raises its own kinds, soundfile others on odd headers
        raise Unreadable(str(error).split("\n")[0] or type(error).__name__) from error


def _ratio(rate: int, sample_rate: int) -> tuple[int, int]:
    common = math.gcd(rate, sample_rate)
    return sample_rate // common, rate // common


@lru_cache(maxsize=32)
def _filter(up: int, down: int) -> np.ndarray:
    """A low-pass filter at the lower of both rates; float32, or the signal would become float64."""
    widest = max(up, down)
    return signal.firwin(2 * ZERO_CROSSINGS * widest + 1, 1 / widest, window=("kaiser", 8.0)).astype(np.float32)
