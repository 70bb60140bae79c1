"""Data sets that the library `datasets` opens, of a hub or from a folder: the same rules in every modality."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

VALIDATION = ("validation", "val", "valid", "test")
"""Names of a split to validate on, the likeliest first."""


def open_splits(name: str, config: str | None, needed_by: str, streaming: bool = False) -> Mapping[str, Any]:
    """All splits of a data set, by their names.

    Args:
        name: of a hub, or a folder: one that ``save_to_disk`` wrote, or files that ``load_dataset`` reads.
        config: of a data set that has several.
        needed_by: the registered name of the data module, such as ``vision.datasets``.
        streaming: read rows as they are asked for.

    Raises:
        ValueError: `datasets` is not installed, or cannot load ``name``.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError(f"`{needed_by}` needs the package `datasets`: pip install datasets.") from error
    path = Path(name).expanduser()
    try:
        if (path / "dataset_dict.json").exists():
            return datasets.load_from_disk(str(path))
        if (path / "dataset_info.json").exists():
            return {"train": datasets.load_from_disk(str(path))}
        return datasets.load_dataset(str(path) if path.exists() else name, config, streaming=streaming)
    except Exception as error:  # the library raises its own, its file systems' and the network's kinds
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"`name` must be a data set that `datasets` can load, but {name!r} is not: {reason}"
        ) from error


def chosen_splits(splits: Mapping[str, Any], split: str, val_split: str | None) -> tuple[str, str | None]:
    """Names of the splits to train and to validate on; without ``val_split``, the likeliest of `VALIDATION`, if any.

    Raises:
        ValueError: there is no such split.
    """
    likely = [name for name in VALIDATION if name in splits and name != split]
    val = val_split or (likely[0] if likely else None)
    for option, name in (("split", split), ("val_split", val)):
        if name is not None and name not in splits:
            raise ValueError(f"`{option}` must be one of {', '.join(splits)}, but is {name!r}.")
    return split, val
