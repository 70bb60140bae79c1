"""Sounds in folders."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np

from fuzzing.case import Case, Files, Read, batches
from fuzzing.tables import labels_table

KINDS_OF_SOUND = {
    "a.wav": ("WAV", "PCM_16"),
    "b.wav": ("WAV", "FLOAT"),
    "c.wav": ("WAV", "IMA_ADPCM"),
    "d.wav": ("WAV", "ULAW"),
    "e.wav": ("WAV", "MS_ADPCM"),
    "f.wav": ("WAV", "GSM610"),
    "a.flac": ("FLAC", "PCM_16"),
    "b.flac": ("FLAC", "PCM_24"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
    "a.aiff": ("AIFF", "PCM_16"),
    "b.aiff": ("AIFF", "DOUBLE"),
    "a.au": ("AU", "PCM_16"),
    "a.caf": ("CAF", "ALAC_16"),
    "a.w64": ("W64", "PCM_16"),
    "a.sph": ("NIST", "PCM_16"),
}


@cache
def corpus() -> Files:
    import soundfile

    made: Files = {}
    wave = 0.1 * np.random.default_rng(0).standard_normal((2400, 1))
    for name, (form, kind) in KINDS_OF_SOUND.items():
        file = io.BytesIO()
        soundfile.write(file, np.repeat(wave, 2, 1) if name[0] == "b" else wave, 8000, format=form, subtype=kind)
        made[name] = file.getvalue()
    return made


def wav(rate: int, num_bytes: int, channels: int = 1, content: bytes = b"\0\0" * 16000) -> bytes:
    """A WAV whose header says what it likes."""
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 % 2**32, 2 * channels % 2**16, 16)
    data = b"data" + struct.pack("<I", num_bytes) + content
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def lies(case: Case) -> bytes:
    return case.rng.choice(
        (
            wav(1, 32000),
            wav(0, 32000),
            wav(2**31 - 1, 32000),
            wav(999_983, 32000),
            wav(101, 32000),
            wav(8000, 2**32 - 1),
            wav(8000, 32000, 1023),
            wav(8000, 32000, 0),
            wav(8000, 0, content=b""),
            wav(8001, 32000),
            wav(7919, 2**31, 255),
        )
    )


def sound_folder(case: Case) -> Read:
    from unmask_audio.data import AudioFilesData

    case.spoil(corpus())
    if case.chance(0.15):
        case.write("a/lie.wav", lies(case))
    options: dict[str, Any] = {"labels": case.rng.choice((None, "folder"))}
    if case.chance(0.1):
        options = labels_table(case)
    seconds = case.rng.choice((0.1, 0.1, 5.0))
    return lambda: batches(
        AudioFilesData(str(case.data), sample_rate=8000, seconds=seconds, batch_size=2, num_workers=0, **options)
    )


KINDS = {"audio": sound_folder}
