"""``unmask vision-prompt-segment``: one patch points at a thing, and codes alike are taken for it (MMC, Wu et al. 2023,
arXiv:2308.11448)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unmask.api import GOOD, Arguments, UserError, checked_device, number, whole_number, writable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import torch

    from unmask import MaskedModel
    from unmask_vision.segmentation.mask_labels import MaskLabels


class Prompted(NamedTuple):
    """What prompts found in one image.

    Args:
        iou: intersection over union of what each class's prompt found with the class.
        inside: cosine of the prompt with the other cells of its class, the mean of each.
        outside: with cells of other classes likewise; NaN where there is none.
    """

    iou: list[float]
    inside: list[float]
    outside: list[float]


def prompted(codes: torch.Tensor, label: torch.Tensor, lots: torch.Tensor, threshold: float) -> Prompted:
    """Each class of an image is pointed at by one of its cells; cells whose codes are alike are taken for it.

    Args:
        codes: of the cells ``[N, D]``.
        label: class of each ``[N]`` int64; cells below 0 have none, and do not count.
        lots: in [0, 1), one for each cell ``[N]``: the prompt of a class is its cell with the least.
        threshold: cosine from which on a cell is taken.
    """
    import torch.nn.functional as F

    found = Prompted([], [], [])
    known = label >= 0
    unit = F.normalize(codes.float(), dim=-1)
    for number_ in label[known].unique().tolist():
        its = label == number_
        prompt = int(lots.masked_fill(~its, 2.0).argmin())
        likeness = unit @ unit[prompt]  # [N]
        taken = (likeness >= threshold) & known
        found.iou.append(float((taken & its).sum() / ((taken | its) & known).sum()))
        others = its.clone()
        others[prompt] = False
        for cells, means in ((others, found.inside), (known & ~its, found.outside)):
            means.append(float(likeness[cells].mean()) if bool(cells.any()) else float("nan"))
    return found


def prompt_segment(
    labels: MaskLabels, models: Mapping[str, MaskedModel], threshold: float, seed: int = 0, device: Any = "cpu"
) -> list[dict[str, Any]]:
    """Mean IoU of prompts over classes and images, and mean cosines inside of things and between them, by column.

    Args:
        labels: images with the classes of their cells.
        models: by column.
        threshold: cosine from which on a cell is taken.
        seed: of the prompts, which are the same in all columns.
        device: where to compute codes.
    """
    import torch

    from unmask import Draws
    from unmask.api import batches, evaluating
    from unmask_vision.segmentation.cellwise import Cellwise

    rows = []
    for name, model in models.items():
        cells = Cellwise(model, labels.stride).to(device)
        every = Prompted([], [], [])
        done = 0
        with evaluating(cells), torch.no_grad():
            for batch in batches(labels, labels.splits.val, labels.val_batch_size):
                codes = cells.embed({"image": batch["image"].to(device)}).values.cpu()  # [B, N, D]
                lots = Draws.of(seed, torch.arange(done, done + len(codes))).uniform(codes.shape[1])
                done += len(codes)
                for one in map(prompted, codes, batch["label"], lots, [threshold] * len(codes)):
                    for all_of_it, more in zip(every, one, strict=True):
                        all_of_it.extend(more)
        inside, outside = (float(np.nanmean(one)) for one in every[1:])
        rows.append(
            {"encoder": name, "mean IoU": float(np.mean(every.iou)), "inside": inside, "outside": outside}
        )  # fmt: skip
    return rows


def run(command: str, arguments: list[str]) -> int:
    """Point, compare, print the table; write into the run's folder ``prompt_segment.json``."""
    parser = Arguments(
        command,
        "Trains nothing: in each image to validate on, one cell of each class points at it, and cells whose codes have "
        "a cosine with its own of at least a threshold are taken for the class. MASKS is a folder of mask files, as of "
        "`unmask vision-segment`.",
    )
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("masks", help="the folder of masks")
    parser.add_argument("--data", help="another YAML file whose `data` has the images; default: the run's own")
    parser.add_argument("--stride", default="4", help="side of a cell in pixels; default: 4")
    parser.add_argument("--ignore", default="255", help="the number of pixels without a class, or none; default: 255")
    parser.add_argument("--threshold", default="0.5", help="cosine from which on a cell is taken; default: 0.5")
    parser.add_argument("--seed", default="0", help="of the cells that point; default: 0")
    parser.add_argument("--out", help="where to write; default: `prompt_segment.json` in the run folder")
    parser.add_argument("--device", default="cpu", help="one device; default: cpu")
    given = parser.parse_args(arguments)
    stride, seed = whole_number("--stride", given.stride), whole_number("--seed", given.seed, least=0)
    threshold = number("--threshold", given.threshold)
    ignore = None if given.ignore == "none" else whole_number("--ignore", given.ignore, least=0)
    if not Path(given.masks).expanduser().is_dir():
        raise UserError(f"There is no folder `{given.masks}`.")

    from unmask.api import Cell, Measure, Results, Row, build, load_run, write
    from unmask_vision.data.module import ImageData
    from unmask_vision.segmentation.mask_labels import MaskLabels

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    if not isinstance(trained.datamodule, ImageData):
        raise UserError(f"The data must be images, but is {type(trained.datamodule).__name__}.")
    out = Path(given.out) if given.out else trained.folder / "prompt_segment.json"
    writable("--out", out)
    try:
        labels = MaskLabels(trained.datamodule, given.masks, stride, ignore, False)
        untrained = build(trained.folder / "config.yaml", seed)[0]
        found = prompt_segment(labels, {"untrained": untrained, "pretrained": trained.model}, threshold, seed, device)
    except ValueError as error:
        raise UserError(str(error)) from error
    write(out, (json.dumps(found, indent=2) + "\n").encode())
    columns = [one["encoder"] for one in found]
    rows = [
        Row(
            "classes", Measure("mean IoU", percent=True), {one["encoder"]: Cell.of([one["mean IoU"]]) for one in found}
        ),
        Row(
            "cosine inside less outside",
            Measure("cosine"),
            {one["encoder"]: Cell.of([one["inside"] - one["outside"]]) for one in found},
        ),
    ]
    note = f"One prompt for each class and image; cells of a cosine of at least {threshold:g} are taken."
    Results(
        "Zero-shot segmentation by a prompting patch", columns, rows, [note], head="over", gain="gain over {}"
    ).show()
    print(f"Written to {out}")
    return GOOD
