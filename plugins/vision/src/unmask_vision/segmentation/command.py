"""``unmask vision-segment``: fine-tune a run's encoder to tell the class of each place of an image.

unmask vision-segment RUN MASKS [--scales several] [--freeze] [--seeds 0,1,2] [--epochs 50] [--knn]
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unmask.api import GOOD, Arguments, UserError, checked_device, number, one_of, whole_number, writable

if TYPE_CHECKING:
    import numpy as np

    from unmask import MaskedModel
    from unmask.api import Results
    from unmask_vision.segmentation.mask_labels import MaskLabels


def run(command: str, arguments: list[str]) -> int:
    """Train, from scratch beside pretrained; print the table; write into the run's folder ``segment``."""
    parser = Arguments(
        command,
        "Fine-tunes the encoder of a run, and a head, to tell the class of each cell of an image, beside the same from "
        "scratch. MASKS is a folder of mask files, each of the name of its image, whose pixels are class numbers.",
    )
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("masks", help="the folder of masks")
    parser.add_argument("--data", help="another YAML file whose `data` has the images; default: the run's own")
    parser.add_argument("--stride", default="4", help="side of a cell in pixels; 1: each pixel; default: 4")
    parser.add_argument("--ignore", default="255", help="the number of pixels without a class, or none; default: 255")
    parser.add_argument(
        "--scales", default="one", help="one (default): a head on the last codes; several: on those of three depths "
        "and on means over the image and its quarters",
    )  # fmt: skip
    parser.add_argument("--head", default="linear", help="linear (default) or mlp")
    parser.add_argument("--freeze", action="store_true", help="train the head alone")
    parser.add_argument("--masked", action="store_true", help="a second pass with half of the cells hidden (MaskSup)")
    parser.add_argument(
        "--rebuild_weight", default="0", help="of a loss by codes half of which were hidden and rebuilt; default: 0"
    )
    parser.add_argument("--no_flip", action="store_true", help="mirror no training image")
    parser.add_argument("--knn", action="store_true", help="train nothing: the class of the nearest patches' codes")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2; default: 0")
    parser.add_argument("--epochs", help="default: as of `unmask finetune`")
    parser.add_argument("--max_steps", help="optimiser steps at most; default: no such end")
    parser.add_argument("--batch_size", default="16", help="images per step; default: 16")
    parser.add_argument("--lr", help="learning rate at a batch of 256; default: as of `unmask finetune`")
    parser.add_argument("--precision", default="32-true", help="32-true (default), bf16-mixed or 16-mixed")
    parser.add_argument("--no_scratch", action="store_true", help="only the pretrained encoder")
    parser.add_argument("--out", help="where to write; default: `segment` in the run folder")
    parser.add_argument("--device", default="cpu", help="one device; default: cpu")
    given = parser.parse_args(arguments)
    seeds = [whole_number("--seeds", word, least=0) for word in dict.fromkeys(given.seeds.split(","))]
    numbers = {
        name: whole_number(f"--{name}", getattr(given, name))
        for name in ("epochs", "max_steps", "batch_size")
        if getattr(given, name) is not None
    }
    rate = {} if given.lr is None else {"lr": number("--lr", given.lr)}
    branch: dict[str, Any] = {"masked_branch": "labels", "masked_as": "zero"} if given.masked else {}
    branch["rebuild_weight"] = number("--rebuild_weight", given.rebuild_weight)
    head = one_of("--head", given.head, ("linear", "mlp"))
    scales: Any = one_of("--scales", given.scales, ("one", "several"))
    precision = one_of("--precision", given.precision, ("32-true", "bf16-mixed", "16-mixed"))
    stride = whole_number("--stride", given.stride)
    ignore = None if given.ignore == "none" else whole_number("--ignore", given.ignore, least=0)
    if not Path(given.masks).expanduser().is_dir():
        raise UserError(f"There is no folder `{given.masks}`.")

    from unmask.api import Settings, build, finetune, load_run, write
    from unmask_vision.data.module import ImageData
    from unmask_vision.segmentation.cellwise import Cellwise
    from unmask_vision.segmentation.mask_labels import MaskLabels

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    if not isinstance(trained.datamodule, ImageData):
        raise UserError(f"The data must be images, but is {type(trained.datamodule).__name__}.")
    folder = Path(given.out) if given.out else trained.folder / "segment"
    writable("--out", folder / "segment.json")
    config = trained.folder / "config.yaml"
    try:
        labels = MaskLabels(trained.datamodule, given.masks, stride, ignore, not given.no_flip)
        if given.knn:
            found = nearest_classes(
                labels, {"untrained": build(config, seeds[0])[0], "pretrained": trained.model}, device
            )
            write(folder / "knn.json", (json.dumps(found, indent=2) + "\n").encode())
            _table(found, ("untrained", "pretrained"), "gain over {}").show()
            print(f"Written to {folder / 'knn.json'}")
            return GOOD
        result = finetune(
            labels,
            pretrained=Cellwise(trained.model, stride, scales),
            scratch=None if given.no_scratch else lambda seed: Cellwise(build(config, seed)[0], stride, scales),
            settings=Settings(head=head, freeze=given.freeze, precision=precision, **numbers, **rate, **branch),  # type: ignore[arg-type]
            seeds=seeds, device=device, folder=folder, about=trained.about, progress=sys.stdout.isatty(),
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error
    found = [
        {"encoder": encoder, "seed": seed, "mean IoU": mean_iou(rows[:, 1], rows[:, 0])}
        for (encoder, seed), rows in _trials(folder / "finetune" / "predictions.csv").items()
    ]
    write(folder / "segment.json", (json.dumps(found, indent=2) + "\n").encode())
    result.show()
    print()
    _table(found, tuple(result.columns), result.gain).show()
    print(f"Written to {folder / 'segment.json'}, {folder / 'finetune.json'} and {folder / 'finetune'}")
    return GOOD


def mean_iou(answer: np.ndarray, label: np.ndarray) -> float:
    """Mean over classes that are among labels or answers of ``intersection / union``, by torchmetrics.

    Args:
        answer: class ids ``[n]``.
        label: class ids ``[n]``, all known.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_jaccard_index

    count = max(int(answer.max()), int(label.max())) + 1
    both = torch.from_numpy(answer.astype("int64")), torch.from_numpy(label.astype("int64"))
    return float(multiclass_jaccard_index(*both, num_classes=max(count, 2), average="macro"))


def nearest_classes(
    labels: MaskLabels, models: Mapping[str, MaskedModel], device: Any, neighbours: int = 20
) -> list[dict[str, Any]]:
    """Mean IoU of the class that most of the nearest training cells have, by cosine of codes, and nothing trained.

    Args:
        labels: images with the classes of their cells.
        models: by column.
        device: where to compute codes.
        neighbours: that vote.
    """
    import numpy as np
    from sklearn.neighbors import KNeighborsClassifier

    from unmask.api import batches, vectors
    from unmask_vision.segmentation.cellwise import Cellwise

    found = []
    for name, model in models.items():
        embedder = Cellwise(model, labels.stride).embedder
        train, test = (
            vectors(embedder, batches(labels, part, labels.val_batch_size), device=device)
            for part in (labels.splits.train, labels.splits.val)
        )
        assert train.label is not None
        assert test.label is not None
        unit = [x.values / np.maximum(np.linalg.norm(x.values, axis=1, keepdims=True), 1e-12) for x in (train, test)]
        fitted = KNeighborsClassifier(min(neighbours, len(train.label))).fit(unit[0], train.label)
        found.append({"encoder": name, "seed": 0, "mean IoU": mean_iou(fitted.predict(unit[1]), test.label)})
    return found


def _table(found: list[dict[str, Any]], columns: tuple[str, ...], gain: str) -> Results:
    """Mean IoU in these columns."""
    from unmask.api import Cell, Measure, Results, Row

    cells = {name: Cell.of([one["mean IoU"] for one in found if one["encoder"] == name]) for name in columns}
    seeds = len(found) // len(columns)
    spread = f"± standard error over {seeds} seeds." if seeds > 1 else ""
    row = Row("classes", Measure("mean IoU", percent=True), cells)
    return Results("Mean IoU over classes, of cells, %", list(columns), [row], [spread], head="over", gain=gain)


def _trials(path: Path) -> dict[tuple[str, int], np.ndarray]:
    """By encoder and seed: label and answer of each cell ``[n, 2]``."""
    import numpy as np

    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["encoder"], int(row["seed"])
            found.setdefault(key, []).append((int(row["label"]), int(row["prediction"])))
    return {key: np.array(rows) for key, rows in found.items()}
