"""Classes of all points of new files, by an encoder that was fine-tuned to segment.

unmask pointcloud-label RUN NEW [--out labels.csv]
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unmask.api import GOOD, Arguments, UserError, at_least, checked_device, whole_number

if TYPE_CHECKING:
    from unmask.api import FineTuning
    from unmask.data import Findings
    from unmask_pointcloud.data.files import PointCloudFilesData


class Labelled(NamedTuple):
    """Points of one file, in its order.

    Args:
        name: of the file, below the folder.
        number: of each point in the file ``[n]``, from 0; those that are not finite are left out.
        places: ``[n, 3]`` float64, as the file has them.
        shares: probability of each class ``[n, K]``.
    """

    name: str
    number: np.ndarray
    places: np.ndarray
    shares: np.ndarray


def labelled(
    model: FineTuning,
    data: PointCloudFilesData,
    new: Path,
    findings: Findings,
    batch_size: int = 32,
    seed: int = 0,
    device: str = "cpu",
) -> Iterator[Labelled]:
    """Answers about every finite point of new files, each once.

    A file is cut into crops as ``data`` cuts its own, and the points of a crop, shuffled, into looks of ``num_points``
    at the whole of it: what the model was trained on. A last look that is short is filled up with points of the first.
    Of a surface, points are drawn on it, as many as it has corners.

    Args:
        model: fine-tuned on classes of points, on a `Pointwise` model.
        data: whose way of reading, cutting and scaling is used, and ``num_points``.
        new: a file, or a folder.
        findings: is told of what is left out.
        batch_size: looks at once, at least 1.
        seed: of the shuffling.
        device: where to compute.

    Raises:
        ValueError: a size below 1, a model of other labels, a folder without point clouds, or answers that are not
            finite.
    """
    from unmask.api import CLASSIFICATION
    from unmask.data import UNREADABLE, Unreadable
    from unmask_pointcloud.data.crops import CropSource
    from unmask_pointcloud.data.report import HOLED

    at_least(1, batch_size=batch_size)
    if not model.task.per_token or model.task.kind != CLASSIFICATION:
        raise ValueError("The model must have been fine-tuned on a class for each point, but was not.")
    source = data.source
    files = source.clouds if isinstance(source, CropSource) else source
    found = [(new, Path(new.name))] if new.is_file() else files.files("folder", str(new), findings)  # type: ignore[attr-defined]
    read = partial(data.read, num_points=None)  # type: ignore[call-arg]  # it is itself one of `read_file`
    for path, inner in found:
        name = inner.as_posix()
        try:
            points = np.asarray(read(path).points, dtype=np.float64)
        except (Unreadable, OSError) as error:
            findings.note(UNREADABLE, f"{name} ({error})")
            continue
        finite = np.flatnonzero(np.isfinite(points).all(1))
        findings.note(HOLED, f"{name} ({len(points) - len(finite):,} of them)", int(len(finite) < len(points)))
        pieces = [np.arange(len(finite))]
        if isinstance(source, CropSource) and len(finite):
            pieces = source.pieces(points[finite, :3], name, findings)
        answered = []
        for rows in pieces:
            try:
                shares = _shares(model, points[finite[rows]], data, batch_size, seed, device)
            except Unreadable as error:
                findings.note(UNREADABLE, f"{name} ({error})")
            else:
                if not np.isfinite(shares).all():
                    raise ValueError(f"Answers must be finite, but those of {name} hold NaN or infinity.")
                answered.append((finite[rows], shares))
        if answered:
            number, shares = (np.concatenate(each) for each in zip(*answered, strict=True))
            order = np.argsort(number)
            yield Labelled(name, number[order], points[number[order], :3], shares[order])


def _shares(
    model: FineTuning, points: np.ndarray, data: PointCloudFilesData, batch_size: int, seed: int, device: str
) -> np.ndarray:
    """Probabilities ``[n, K]`` of the points of one crop ``[n, 3 + C]``."""
    import torch
    from torch.nn.functional import pad

    from unmask import seeds
    from unmask.api import evaluating
    from unmask.data import Unreadable
    from unmask_pointcloud.data.clouds import normalized

    if len(points) < 2:
        raise Unreadable(f"it has {len(points)} finite points; at least 2 are needed")
    made = torch.from_numpy(normalized(points, data.normalize))
    total, size = len(made), data.num_points
    order = torch.randperm(total, generator=seeds.generator("cpu", "label", seed, total))
    if total < size:
        looks = pad(made[order], (0, 0, 0, size - total))[None]
        valid = (torch.arange(size) < total)[None]
    else:
        looks = made[order[torch.arange(-(-total // size) * size) % total]].view(-1, size, made.shape[1])
        valid = None
    found = []
    with torch.no_grad(), evaluating(model.to(device)):
        for start in range(0, len(looks), batch_size):
            batch = {"points": looks[start : start + batch_size].to(device)}
            if valid is not None:
                batch["valid"] = valid.to(device)
            found.append(model.objective.shares(model(batch).float()).cpu())  # [b, size, K]
    shares = torch.cat(found).flatten(0, 1)[:total]
    return torch.empty_like(shares).index_copy_(0, order, shares).numpy()


def run(command: str, arguments: list[str]) -> int:
    """Read a segmented run and new files, write a table with a row for each point."""
    parser = Arguments(command, "A class for each point of new files, by what `unmask pointcloud-segment` trained.")
    parser.add_argument("run", help="a run folder in which `unmask pointcloud-segment` was run")
    parser.add_argument("new", help="a file of points, or a folder of them")
    parser.add_argument("--data", help="a YAML file whose `data` says how to read NEW; default: the run's own")
    parser.add_argument("--checkpoint", help="default: the pretrained one of the first seed in `segment/finetune`")
    parser.add_argument("--out", help="a .csv or .parquet file; default: labels.csv in the run's folder `segment`")
    parser.add_argument("--batch_size", default="32", help="looks of `num_points` at once; default: 32")
    parser.add_argument("--seed", default="0", help="of the order of points; default: 0")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    given = parser.parse_args(arguments)
    batch_size = whole_number("--batch_size", given.batch_size)
    seed = whole_number("--seed", given.seed, least=0)
    new = Path(given.new).expanduser()
    if not new.exists():
        raise UserError(f"There is no file or folder `{new}`.")

    from unmask import agreements
    from unmask.api import check_table, load, load_run, message_of, written_table
    from unmask.data import Findings
    from unmask_pointcloud.data.files import PointCloudFilesData
    from unmask_pointcloud.segmentation.pointwise import Pointwise

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    data = trained.datamodule
    if not isinstance(data, PointCloudFilesData):
        raise UserError(
            f"The data must read files of points, but is {type(data).__name__}; give `--data` a YAML file whose `data` "
            "is `pointcloud.files`."
        )
    files = [Path(given.checkpoint)] if given.checkpoint else sorted(trained.folder.glob("segment/finetune/*.ckpt"))
    checkpoint = next((file for file in files if file.name.startswith("pretrained-")), files[0] if files else None)
    if checkpoint is None:
        raise UserError(
            f"`{trained.folder}` must have been segmented; run `unmask pointcloud-segment {trained.folder}` first."
        )
    out = Path(given.out) if given.out else trained.folder / "segment" / "labels.csv"
    findings = Findings()
    counts: dict[str, int] = {}
    try:
        check_table(out, given.overwrite)
        tuned = load(checkpoint, Pointwise(trained.model))
        agreements.check(trained.model, data, loaded=False, other=True)
        words = list(tuned.objective.classes or map(str, range(tuned.objective.num_outputs)))
        columns = ["name", "point", "x", "y", "z", "class", "probability", *(f"p({word})" for word in words)]
        with written_table(out, columns) as add:
            for piece in labelled(tuned, data, new, findings, batch_size, seed, device):
                best = piece.shares.argmax(1)
                for row, (number, place, shares) in enumerate(
                    zip(piece.number.tolist(), piece.places.tolist(), piece.shares.tolist(), strict=True)
                ):
                    word = words[best[row]]
                    counts[word] = counts.get(word, 0) + 1
                    add([piece.name, number, *place, word, *(float(f"{one:.6g}") for one in (max(shares), *shares))])
            if not counts:
                raise ValueError(f"`{new}` must have points that can be read. " + " ".join(findings.lines()))
    except (ValueError, OSError) as error:
        raise UserError(message_of(error)) from error
    print("\n".join(findings.lines()) or "All points of all files were read.")
    told = ", ".join(f"{counts[word]:,} of {word}" for word in words if word in counts)
    print(f"{sum(counts.values()):,} points: {told}. By {checkpoint}, written to {out}")
    return GOOD
