"""Audio columns of data sets read by the `datasets` library: by name, or from a folder that it has written."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from unmask.api import nearest
from unmask.data import chosen_splits, open_splits
from unmask_audio.data.clips import Recording
from unmask_audio.data.labels import check_single, one_label
from unmask_audio.data.module import AudioData, Sources
from unmask_audio.data.reading import Unreadable

NO_LABEL = "columns are called like labels but hold no single one, and are not read"


class HubAudioData(AudioData):
    """Sounds of one audio column; its files are decoded here, so torchcodec is not needed for WAV, FLAC, OGG and MP3.

    Args:
        name: a data set's name, a folder written by ``save_to_disk``, or anything else that ``datasets.load_dataset``
            takes.
        config: its configuration, where it has several.
        split: part to pre-train on.
        val_split: part to validate and score on; None: ``validation``, ``val``, ``valid`` or ``test``, the first that
            there is, else a fixed random part of ``split``.
        audio_column: None: the first column of sounds.
        label_column: a column of class labels, numbers or words, one for each sound; None: the first of class labels,
            or one of numbers or words named ``label`` or ``labels``; none at all when there is no such column.
        group_column: a column that becomes a key of the samples, for ``unmask probe --groups``; None: none does.

    Raises:
        ValueError: in `setup`, no such data set, split or column, a column of several labels for each sound or of no
            sounds, or `datasets` is not installed; also as `AudioData`.

    Further arguments are those of `AudioData`.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        split: str = "train",
        val_split: str | None = None,
        audio_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.set_name = name
        self.config = config
        self.split = split
        self.val_split = val_split
        self.columns = {"audio_column": audio_column, "label_column": label_column, "group_column": group_column}

    def sources(self) -> Sources:
        parts = open_splits(self.set_name, self.config, "audio.datasets")
        chosen = [parts[name] for name in chosen_splits(parts, self.split, self.val_split) if name is not None]
        audio, label, group = _chosen_columns(chosen[0], **self.columns)
        for rows in chosen[1:]:
            _check_alike(chosen[0], rows, [name for name in (audio, label, group) if name is not None])
        classes: list[str] = []
        for name in ("label", "labels"):
            self.report.findings.note(NO_LABEL, name, int(label is None and name in chosen[0].features))
        if label is not None:
            named = getattr(chosen[0].features[label], "names", None)
            classes = list(named) if named is not None else self._words(chosen, label)
        made = [_recordings(rows, audio, label, group, classes) for rows in chosen]
        return Sources(made[0], made[1] if len(made) > 1 else None, classes)

    def _words(self, parts: list[Any], label: str) -> list[str]:
        """Labels without names as words, in their own order: of numbers, by value."""
        values = {value for rows in parts for value in rows.unique(label) if _word(value) is not None}
        words = list(dict.fromkeys(str(_word(value)) for value in sorted(values)))
        check_single(words, f"`label_column` {label!r}", self.report.findings)
        return words


def _recordings(rows: Any, audio: str, label: str | None, group: str | None, classes: list[str]) -> list[Recording]:
    """One per row; sounds are fetched when they are read."""
    from datasets import Audio

    sounds = rows.select_columns([audio]).cast_column(audio, Audio(decode=False))
    labels = [None] * len(rows) if label is None else rows[label]
    groups = [{}] * len(rows) if group is None else [{group: str(word)} for word in rows[group]]
    numbered = label is not None and getattr(rows.features[label], "names", None) is not None
    ids = {word: number for number, word in enumerate(classes)}
    return [
        Recording(f"row {number}", partial(_file, sounds, number, audio), _id(value, numbered, ids), words)
        for number, (value, words) in enumerate(zip(labels, groups, strict=True))
    ]


def _id(value: Any, numbered: bool, ids: dict[str, int]) -> int | None:
    """The class of a row; -1 is what `datasets` has where it is not known."""
    if numbered:
        return None if value is None or value < 0 else int(value)
    word = _word(value)
    return None if word is None else ids[word]


def _word(value: Any) -> str | None:
    return one_label(value, "`label_column`")


def _file(rows: Any, number: int, audio: str) -> Path | BytesIO:
    held = rows[number][audio]
    if held is None or (held["bytes"] is None and held["path"] is None):
        raise Unreadable("the row has no sound")
    return Path(held["path"]) if held["bytes"] is None else BytesIO(held["bytes"])


def _chosen_columns(
    rows: Any, audio_column: str | None, label_column: str | None, group_column: str | None
) -> tuple[str, str | None, str | None]:
    """Names of the columns of sounds, labels and groups."""
    kinds = {name: type(feature).__name__ for name, feature in rows.features.items()}
    given = {"audio_column": audio_column, "label_column": label_column, "group_column": group_column}
    for option, name in given.items():
        if name is not None and name not in kinds:
            near = nearest(name, kinds, 1) or list(kinds)
            raise ValueError(f"`{option}` must name a column, but is {name!r}; nearest: {', '.join(near)}.")
    sounds = [name for name, kind in kinds.items() if kind == "Audio"]
    if audio_column is None and not sounds:
        raise ValueError(f"The data set must have a column of sounds, but has only {', '.join(kinds)}.")
    if audio_column is not None and not _holds_files(rows.features[audio_column]):
        raise ValueError(
            f"`audio_column` must name a column of sounds, but {audio_column!r} is one of {rows.features[audio_column]}"
            f"{'; nearest: ' + ', '.join(sounds) if sounds else ''}."
        )
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels += [name for name in ("label", "labels") if _is_single(rows.features.get(name))]
    if label_column is not None and not _is_single(rows.features[label_column]):
        raise ValueError(
            f"`label_column` must hold one label for each sound, but {label_column!r} is a column of "
            f"{rows.features[label_column]}{'; nearest: ' + ', '.join(labels) if labels else ''}."
        )
    return audio_column or sounds[0], label_column or (labels[0] if labels else None), group_column


def _holds_files(feature: Any) -> bool:
    """Whether a column is of sounds, or of files as `datasets` writes them: contents and paths, or paths."""
    inside = set(feature) if isinstance(feature, dict) else set()
    return type(feature).__name__ == "Audio" or inside == {"bytes", "path"} or getattr(feature, "dtype", "") == "string"


def _is_single(feature: Any) -> bool:
    """Whether a column has one class, word or number in each row."""
    kind, dtype = type(feature).__name__, str(getattr(feature, "dtype", ""))
    return kind == "ClassLabel" or (kind == "Value" and dtype.startswith(("int", "uint", "float", "string", "bool")))


def _check_alike(train: Any, val: Any, columns: list[str]) -> None:
    """Refuses a part to validate on that lacks a column, or whose classes are others.

    Raises:
        ValueError: it does.
    """
    for name in columns:
        if name not in val.features:
            raise ValueError(f"`val_split` must have the columns of `split`, but has no {name!r}.")
        own, other = (getattr(rows.features[name], "names", None) for rows in (train, val))
        if own != other:
            raise ValueError(
                f"`val_split` must have the classes of `split` in column {name!r}, but has {other} and not {own}."
            )
