"""Audio columns of data sets read by the `datasets` library: by name, or from a folder that it has written."""

from __future__ import annotations

from typing import Any

from unmask.data import HubSource
from unmask_audio.data.module import AudioData


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
        streaming: read rows as they come, without storing a copy: for ``unmask shard`` alone, which writes shards that
            can be trained on.

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
        streaming: bool = False,
        **shared: Any,
    ) -> None:
        source = HubSource(
            name, config, split, val_split, column=audio_column, label_column=label_column, group_column=group_column,
            feature="Audio", item="sound", needed_by="audio.datasets", streaming=streaming,
        )  # fmt: skip
        super().__init__(source=source, **shared)
