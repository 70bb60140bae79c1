"""Sounds in chunks that ``litdata.optimize`` has written, in a folder or behind a URL."""

from __future__ import annotations

from typing import Any

from unmask.data import LitChunks
from unmask_audio.data.module import AudioData

KINDS = ("audio",)
"""LitData's format of sounds."""
TAKES = (*KINDS, "file", "bytes")


class LitAudioData(AudioData):
    """Sounds of one column of files; they are decoded here, so torchcodec is not needed for WAV, FLAC, OGG and MP3.

    The start of a run reads the header of every sound, and so, of a URL, fetches every chunk; ``unmask shard`` writes
    shards whose index knows them.

    Args:
        path: a folder that ``litdata.optimize`` has written, or its URL, as fsspec knows it (``s3://...``). Chunks must
            be neither compressed nor encrypted.
        val_path: likewise, to validate and score on; None: a fixed random part of ``path``.
        audio_column: a key of the items, or a number where they are tuples; None: the first column of sounds, else the
            only one of files.
        label_column: whole numbers, truths or words for classes; real numbers for regression; arrays of whole numbers
            for several classes at once. None: ``label`` or ``labels``, if there is one and ``path`` is a folder.
        group_column: a column of words or whole numbers that becomes a key of the samples, for
            ``unmask probe --groups``; None: none does.
        window: chunks whose sounds are mixed in an epoch, at least 1; of as many or more than there are, the order is
            as if sounds lay in a folder.
        cache_folder: for chunks that are fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        cache_gb: of fetched chunks that are kept, at least twice ``window`` of them; in 2^30 bytes.

    Raises:
        ValueError: in `setup`, no such chunks, an index that cannot be right, a column that is not there or pickled, or
            `litdata` is not installed; also as `AudioData`.

    Further arguments are those of `AudioData`.
    """

    def __init__(
        self,
        path: str,
        val_path: str | None = None,
        audio_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
        window: int = 8,
        cache_folder: str | None = None,
        cache_gb: float = 20.0,
        **shared: Any,
    ) -> None:
        source = LitChunks(
            path, val_path, column=audio_column, label_column=label_column, group_column=group_column, kinds=KINDS,
            takes=TAKES, item=self.item, option="audio_column", needed_by="audio.litdata", window=window,
            cache_folder=cache_folder, cache_gb=cache_gb,
        )  # fmt: skip
        super().__init__(source=source, **shared)
