"""Spoken digits by speaker, each left out once, and how `audio.py` makes patches of them."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unmask import Tokens
from unmask.data import Findings, FolderSource, Found, Source
from unmask_audio.data import AudioData
from unmask_audio.tokenizer import SpectrogramTokenizer

RATE, SECONDS = 8_000, 0.99
"""Samples a second, as in the clips; seconds of a window, which 99% of them fit in."""


class Digits(AudioData):
    """Clips of some speakers to train and to fit probes on, those of another to score on."""

    def __init__(self, folder: Path, speakers: list[str], left_out: str, batch_size: int) -> None:
        super().__init__(
            BySpeaker(folder, speakers, left_out), sample_rate=RATE, seconds=SECONDS, min_seconds=0.05,
            batch_size=batch_size, num_workers=0, val_batch_size=100,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):  # what is odd about the clips is the same every time
            self.setup("fit")


class BySpeaker(Source):
    """The clips of a folder, by who speaks."""

    def __init__(self, folder: Path, speakers: list[str], left_out: str) -> None:
        pattern = r"(?P<label>\d)_(?P<speaker>[a-z]+)_"
        self.clips = FolderSource(str(folder), (".wav",), labels="pattern", pattern=pattern)
        self.speakers, self.left_out = speakers, left_out

    def read(self, findings: Findings) -> Found:
        clips, _, classes = self.clips.read(findings)
        own = [clip for clip in clips if clip.groups["speaker"] in self.speakers]
        return Found(own, [clip for clip in clips if clip.groups["speaker"] == self.left_out], classes)


def speakers_of(folder: Path) -> list[str]:
    names = sorted({path.stem.split("_")[1] for path in folder.expanduser().glob("[0-9]_*_*.wav")})
    if len(names) < 3:
        sys.exit(f"`folder` must hold DIGIT_SPEAKER_NUMBER.wav of at least 3 speakers, but {folder} has {len(names)}.")
    return names


class Scaled(SpectrogramTokenizer):
    """Values are ``scale`` times as large.

    Where codes tell mostly at which place a patch lies, a teacher's are predicted without a look at the sound.
    """

    def __init__(self, *arguments: Any, scale: float) -> None:
        super().__init__(*arguments)
        self.scale = scale

    def forward(self, batch: Any) -> Tokens:
        tokens = super().forward(batch)
        return replace(tokens, values=self.scale * tokens.values)


class Filled(SpectrogramTokenizer):
    """Clips said again and again until the window is full: for a peer that knows no padding."""

    def forward(self, batch: Any) -> Tokens:
        wave, length = batch["wave"], batch["length"]  # [B, S], [B]
        again = torch.arange(wave.shape[1], device=wave.device) % length[:, None]
        return super().forward({"wave": wave.gather(1, again)})
