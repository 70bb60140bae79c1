"""``unmask pointcloud-segment``: fine-tune a run's encoder to tell what each point is part of.

unmask pointcloud-segment RUN [--data FILE] [--seeds 0,1,2] [--epochs 50] [--head mlp]
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unmask.api import GOOD, Arguments, UserError, checked_device, one_of, whole_number, writable

if TYPE_CHECKING:
    import numpy as np

    from unmask.api import Results


def run(command: str, arguments: list[str]) -> int:
    """Train, from scratch beside pretrained; print the table; write into the run's folder ``segment``."""
    parser = Arguments(
        command,
        "Fine-tunes the encoder of a run, and a head, to tell what each point is part of, beside the same from "
        "scratch. Codes of points are mixed of those of patches.",
    )
    parser.add_argument("run", help="a run folder of a point transformer, or a checkpoint in one")
    parser.add_argument("--data", help="another YAML file whose `data` to fine-tune on; default: the run's own")
    parser.add_argument("--seeds", default="0", help="such as 0,1,2; default: 0")
    parser.add_argument("--epochs", help="default: as of `unmask finetune`")
    parser.add_argument("--max_steps", help="optimiser steps at most; default: no such end")
    parser.add_argument("--batch_size", default="32", help="clouds per step; default: 32")
    parser.add_argument("--head", default="mlp", help="linear or mlp; default: mlp")
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
    head = one_of("--head", given.head, ("linear", "mlp"))
    precision = one_of("--precision", given.precision, ("32-true", "bf16-mixed", "16-mixed"))

    from unmask.api import Settings, build, finetune, load_run, write
    from unmask_pointcloud.data.module import PointCloudData
    from unmask_pointcloud.segmentation.labels import PartLabels
    from unmask_pointcloud.segmentation.pointwise import Pointwise

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    if not isinstance(trained.datamodule, PointCloudData):
        raise UserError(f"The data must be point clouds, but is {type(trained.datamodule).__name__}.")
    folder = Path(given.out) if given.out else trained.folder / "segment"
    writable("--out", folder / "segment.json")
    config = trained.folder / "config.yaml"
    try:
        result = finetune(
            PartLabels(trained.datamodule),
            pretrained=Pointwise(trained.model),
            scratch=None if given.no_scratch else lambda seed: Pointwise(build(config, seed)[0]),
            settings=Settings(head=head, precision=precision, **numbers),  # type: ignore[arg-type]
            seeds=seeds, device=device, folder=folder, about=trained.about, progress=sys.stdout.isatty(),
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error
    found = list(_ious(folder / "finetune" / "predictions.csv"))
    write(folder / "segment.json", (json.dumps(found, indent=2) + "\n").encode())
    result.show()
    print()
    _iou_table(found, result).show()
    print(f"Written to {folder / 'segment.json'}, {folder / 'finetune.json'} and {folder / 'finetune'}")
    return GOOD


def _iou_table(found: list[dict[str, Any]], tuned: Results) -> Results:
    """Each kind of mean IoU in the columns of ``tuned``."""
    from unmask.api import Cell, Measure, Results, Row

    def cell(name: str, column: str) -> Cell:
        return Cell.of([one[name] for one in found if one["encoder"] == column])

    measure = Measure("mean IoU", percent=True)
    rows = [Row(name, measure, {one: cell(name, one) for one in tuned.columns}) for name in ("classes", "clouds")]
    seeds = len(found) // len(tuned.columns)
    gains = "; gains are paired" if tuned.gain else ""
    spread = f"± standard error over {seeds} seeds, each of which is in segment.json{gains}." if seeds > 1 else ""
    title = "Mean IoU, %, over classes and over clouds"
    return Results(title, tuned.columns, rows, [spread], head="over", gain=tuned.gain)


def _ious(path: Path) -> Iterator[dict[str, Any]]:
    """Of each training, in the order of the table of predictions."""
    from unmask_pointcloud.segmentation.iou import mean_iou

    for (encoder, seed), rows in _trials(path).items():
        yield {"encoder": encoder, "seed": seed, **mean_iou(rows[:, 1], rows[:, 2], rows[:, 0])._asdict()}


def _trials(path: Path) -> dict[tuple[str, int], np.ndarray]:
    """By encoder and seed: cloud, label and answer of each point ``[n, 3]``."""
    import numpy as np

    found: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["encoder"], int(row["seed"])
            found.setdefault(key, []).append((int(row["index"]), int(row["label"]), int(row["prediction"])))
    return {key: np.array(rows) for key, rows in found.items()}
