"""Image data sets read by the `datasets` library: by name, or from a folder that it has written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.api import IGNORED
from unmask.data import Findings, HubSource, label_of
from unmask_vision.data.augment import Size
from unmask_vision.data.hub_labels import read_labels
from unmask_vision.data.module import ImageData


class HubImagesData(ImageData):
    """Images ``[channels, height, width]``, uint8, or float32 in [0, 1] when any is finer than 8 bits.

    Args:
        name: a data set's name, a folder written by ``save_to_disk``, or anything else that
            ``datasets.load_dataset`` takes.
        config: its configuration, where it has several.
        split: part to pre-train on.
        val_split: part to validate and score on; None: ``validation``, ``val``, ``valid`` or
            ``test``, the first that there is, else a fixed random part of ``split``.
        image_column: None: the first column of images.
        label_column: what it may hold, `unmask_vision.data.hub_labels` says; None: the first column
            of class labels, or one named ``label`` or ``labels``; none at all when there is no such
            column.
        streaming: read rows as they come, without storing a copy: for ``unmask shard`` alone, which writes shards that
            can be trained on.

    Raises:
        ValueError: in `setup`, no such data set, split or column, labels of no such kind, or `datasets` is not
            installed; also as `ImageData`.

    Further arguments are those of `ImageData`.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        image_size: Size = 224,
        channels: int = 3,
        split: str = "train",
        val_split: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        streaming: bool = False,
        **shared: Any,
    ) -> None:
        if channels not in (1, 2, 3, 4):
            raise ValueError(f"`channels` must be 1, 2, 3 or 4, but is {channels}.")
        source = HubImages(
            name, config, split, val_split, column=image_column, label_column=label_column, streaming=streaming
        )
        super().__init__(source=source, image_size=image_size, channels=channels, **shared)


@dataclass
class HubImages(HubSource):
    """Rows of a data set, with labels of every kind that `unmask_vision.data.hub_labels` knows."""

    feature: str = "Image"
    item: str = "image"
    needed_by: str = "vision.datasets"

    def takes(self, feature: Any) -> bool:
        return feature is not None

    def labels(self, parts: list[Any], column: str | None, findings: Findings) -> Any:
        about = "No labels."
        if column is None:
            others = ", ".join(name for name, kind in parts[0].features.items() if type(kind).__name__ != self.feature)
            about = f"No labels{f'; `label_column` can name one of {others}' if others else ''}."
        else:
            try:
                labels = read_labels(parts, column, findings)
                if labels is not None:
                    return labels
                about = f"No labels, for a part has none in `{column}`."
            except ValueError as error:
                if self.label_column is not None:
                    raise
                about = f"No labels: {error}"  # nobody has asked for this column
        return [[None] * len(rows) for rows in parts], [], about

    def label_reader(self, features: Any, column: str | None) -> Any:
        feature = None if column is None else features[column]
        names, dtype = getattr(feature, "names", None), str(getattr(feature, "dtype", ""))
        if names is not None:
            return lambda cell: IGNORED if cell is None or cell < 0 else cell, names
        if feature is None or dtype == "string":
            return label_of, []
        if dtype.startswith(("int", "uint", "bool")):
            return lambda cell: IGNORED if cell is None else int(cell), []
        if dtype.startswith("float"):
            return lambda cell: float("nan") if cell is None else float(cell), []
        if self.label_column is None:  # nobody has asked for this column
            return lambda cell: None, []
        raise ValueError(
            f"`label_column` of a stream must hold one class, number or word for each image, but {column!r} is a "
            f"column of {feature}."
        )

    def opened(self, held: dict[str, Any], feature: Any) -> Any:
        mode = getattr(feature, "mode", None)
        if mode is None and (held["bytes"] is not None or Path(held["path"]).is_file()):
            return super().opened(held, feature)  # the library would cut 16-bit colour to 8 bits
        import datasets

        return datasets.Image(mode=mode).decode_example(held)
