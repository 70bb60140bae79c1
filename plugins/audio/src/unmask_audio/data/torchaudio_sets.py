"""torchaudio's data sets by class name: SPEECHCOMMANDS, LIBRISPEECH, GTZAN, VCTK_092, YESNO, ..."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchaudio

from unmask.api import nearest
from unmask.data import Findings, Found, Item, Source, one_label
from unmask_audio.data.module import AudioData

FIELDS = {
    "SPEECHCOMMANDS": {"label": 2, "speaker": 3},
    "GTZAN": {"label": 2},
    "LIBRISPEECH": {"label": 3, "chapter": 4},
    "LIBRITTS": {"label": 4, "chapter": 5},
    "VCTK_092": {"label": 3},
    "VoxCeleb1Identification": {"label": 2},
    "FluentSpeechCommands": {"label": 5, "speaker": 3},
    "IEMOCAP": {"label": 3, "speaker": 4},
    "Snips": {"label": 4},
}
"""Where in an item its class and groups are: words, genres, speakers, actions or emotions."""


class TorchaudioData(AudioData):
    """One of ``torchaudio.datasets``; files are read as `AudioFilesData` reads them, and not by torchaudio.

    The class is what `FIELDS` names: the word of SPEECHCOMMANDS, the genre of GTZAN, the speaker of LIBRISPEECH; of
    other data sets, or to choose another, ``fields``. Of items with several files the first one counts.

    Args:
        name: of the class.
        root: folder where its files are, or are put.
        options: further arguments of the class: ``{subset: training}`` for SPEECHCOMMANDS.
        val_options: those of the part to validate and score on: ``{subset: validation}``; None: a fixed random part.
        fields: places in an item, by name: ``{label: 2, speaker: 3}``; None: those of `FIELDS`, or no labels.
        download: whether files that are not in ``root`` may be fetched from the network.

    Raises:
        ValueError: in `setup`, no such data set, files that are missing and may not be fetched, or an item without
            sound, without a field, with several labels (YESNO) or of a stretch of a file (TEDLIUM); also as
            `AudioData`.

    Further arguments are those of `AudioData`.
    """

    def __init__(
        self,
        name: str,
        root: str,
        options: dict[str, Any] | None = None,
        val_options: dict[str, Any] | None = None,
        fields: dict[str, int] | None = None,
        download: bool = False,
        **shared: Any,
    ) -> None:
        source = TorchaudioSource(name, root, options, val_options, fields, download)
        super().__init__(source=source, **shared)


@dataclass
class TorchaudioSource(Source):
    """That data set; the fields are options of `TorchaudioData`."""

    name: str
    root: str
    options: dict[str, Any] | None = None
    val_options: dict[str, Any] | None = None
    fields: dict[str, int] | None = None
    download: bool = False

    def __post_init__(self) -> None:
        self.folder = Path(self.root).expanduser()
        self.parts = [self.options or {}] + ([] if self.val_options is None else [self.val_options])
        self.places = FIELDS.get(self.name, {}) if self.fields is None else self.fields

    def prepare(self) -> None:
        if self.download:
            for options in self.parts:
                self._opened(options, download=True)

    def read(self, findings: Findings) -> Found:
        return Found.of(self._items(self._opened(options, download=False)) for options in self.parts)

    def _opened(self, options: dict[str, Any], download: bool) -> Any:
        cls = _class(self.name)
        known = inspect.signature(cls).parameters
        unknown = [name for name in options if name not in known]
        if unknown:
            near = nearest(unknown[0], known) or [name for name in known if name not in ("root", "download")]
            raise ValueError(
                f"`options` must be arguments of {self.name}, but {unknown[0]!r} is none; nearest: {', '.join(near)}."
            )
        more = {"download": download} if "download" in known else {}
        if download:
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            return cls(self.folder, **more, **options)
        except (RuntimeError, OSError, ValueError) as error:
            hint = " Set `download` to True to fetch them." if more and not download else ""
            reason = str(error).split("\n")[0].split(" Please")[0].rstrip(".")
            raise ValueError(
                f"`root` must hold the files of {self.name}, but {self.folder} does not: {reason}.{hint}"
            ) from error

    def _items(self, dataset: Any) -> list[Item]:
        found = []
        with _without_decoding() as asked:
            for number in range(len(dataset)):
                asked.clear()
                item = dataset[number]
                if not asked:
                    raise ValueError(f"`name` must be a data set of sounds, but items of {self.name} have none.")
                missing = [name for name, place in self.places.items() if not 0 <= place < len(item)]
                if missing:
                    raise ValueError(
                        f"`fields` must be places in an item of {self.name}, which has {len(item)}, but "
                        f"{missing[0]!r} is {self.places[missing[0]]}."
                    )
                words = {name: str(item[place]) for name, place in self.places.items() if name != "label"}
                value = item[self.places["label"]] if "label" in self.places else None
                label = one_label(value, "`label` of `fields`", "sound")
                found.append(Item(_short(asked[0], self.folder), asked[0], label, words))
        return found


@contextmanager
def _without_decoding() -> Iterator[list[Path]]:
    """Items come without sound, at once and without torchcodec; which files they asked for is noted in the list."""
    asked: list[Path] = []

    def load(uri: Any, frame_offset: int = 0, num_frames: int = -1, **kwargs: Any) -> tuple[torch.Tensor, int]:
        if frame_offset or num_frames > 0:
            raise ValueError("`name` must be a data set of whole files, but its items are stretches of them.")
        asked.append(Path(uri))
        return torch.zeros(1, 0), _AnyRate()

    own, torchaudio.load = torchaudio.load, load
    try:
        yield asked
    finally:
        torchaudio.load = own


class _AnyRate(int):
    """Equal to the rate that a data set expects, whatever that is: what files really have is found on reading."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def _class(name: str) -> Any:
    names = torchaudio.datasets.__all__
    if name not in names:
        near = nearest(name, names) or names
        raise ValueError(f"`name` must be a class of torchaudio.datasets, but is {name!r}; nearest: {', '.join(near)}.")
    return getattr(torchaudio.datasets, name)


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
