"""``unmask vision-subspaces``: what lies in the main directions of images, and what a model reconstructs of them.

A study (Balestriero & LeCun 2024, arXiv:2402.11337): reconstruction learns the directions of most variance first, while
classes may be told better by those of least.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unmask.api import GOOD, Arguments, UserError, inside, number, whole_number, writable

if TYPE_CHECKING:
    from unmask import MaskedModel
    from unmask.api import Results

BANDS = (0.5, 0.9, 0.99, 1.0)
"""Shares of the variance, adding up from the main direction on, at which bands of directions end."""


class Subspaces(NamedTuple):
    """Principal directions of vectors.

    Args:
        mean: ``[D]``.
        directions: orthonormal, the one of most variance first: ``[R, D]``.
        shares: of the variance along each ``[R]``, which sum to 1.
    """

    mean: np.ndarray
    directions: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Subspaces:
        """Of vectors ``[n, D]``, all of the directions that they span."""
        mean = vectors.mean(0)
        _, values, directions = np.linalg.svd(vectors - mean, full_matrices=False)
        shares = values**2 / np.sum(values**2)
        known = shares > 1e-12
        return cls(mean, directions[known], shares[known] / shares[known].sum())

    def first(self, share: float) -> np.ndarray:
        """Which directions together hold that share of the variance, the main ones first: ``[R]`` bool."""
        before = np.cumsum(self.shares) - self.shares
        return before < share - 1e-9

    def last(self, share: float) -> np.ndarray:
        """Which directions together hold that share of the variance, the least ones first: ``[R]`` bool."""
        behind = np.cumsum(self.shares[::-1]) - self.shares[::-1]
        return (behind < share - 1e-9)[::-1]

    def projected(self, vectors: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The part of ``vectors - mean`` in the chosen directions ``[n, D]``."""
        directions = self.directions[chosen]
        return (vectors - self.mean) @ directions.T @ directions

    def left(self, wrong: np.ndarray, right: np.ndarray) -> np.ndarray:
        """How much of ``right`` ``[n, D]`` is left to learn along each direction, by an error ``[n, D]``: the error's
        energy over that of ``right``, 1 where nothing is answered and 0 where all is right ``[R]``."""
        energy = np.square(right @ self.directions.T).sum(0)
        return np.square(wrong @ self.directions.T).sum(0) / np.maximum(energy, 1e-12)


def run(command: str, arguments: list[str]) -> int:
    """Probe the projections of a run's images, and its reconstruction along each band of directions."""
    parser = Arguments(
        command,
        "What the main directions of a run's images tell of their classes, and the least ones; and how much of each "
        "band of directions the model has learned to reconstruct, beside an untrained one.",
    )
    parser.add_argument("run", help="a run folder, or a checkpoint in one, whose targets are values of patches")
    parser.add_argument("--top", default="0.9", help="share of the variance in the main directions; default: 0.9")
    parser.add_argument("--bottom", default="0.2", help="share of it in the least directions; default: 0.2")
    parser.add_argument("--max_samples", default="2000", help="images of each part at most; default: 2000")
    parser.add_argument("--seed", default="0", help="of draws of labels, and of masks; default: 0")
    parser.add_argument("--out", help="where to write; default: subspaces.json in the run's folder")
    given = parser.parse_args(arguments)
    shares = {name: number(f"--{name}", getattr(given, name)) for name in ("top", "bottom")}
    most, seed = whole_number("--max_samples", given.max_samples), whole_number("--seed", given.seed, least=0)

    from unmask.api import build, load_run, write

    trained = load_run(given.run)
    out = Path(given.out) if given.out else trained.folder / "subspaces.json"
    writable("--out", out)
    try:
        inside("(0, 1)", **{f"--{name}": share for name, share in shares.items()})
        found, directions = probed(trained.model, trained.datamodule, shares["top"], shares["bottom"], most, seed)
        models = {"untrained": build(trained.folder / "config.yaml", seed)[0], "pretrained": trained.model}
        error = reconstructed(models, trained.datamodule, directions, most, seed)
    except ValueError as mistake:
        raise UserError(str(mistake)) from mistake
    write(out, f'{{"probes": {found.to_json()},\n"error": {error.to_json()}}}\n'.encode())
    found.show()
    print()
    error.show()
    print(f"Written to {out}")
    return GOOD


def probed(
    model: MaskedModel, data: Any, top: float, bottom: float, most: int, seed: int = 0
) -> tuple[Results, Subspaces]:
    """Probes on images, and on their parts in the main and the least directions, found on the images to fit on.

    Args:
        model: whose tokenizer makes values.
        data: labelled, of one size.
        top: share of the variance in the main directions, in (0, 1).
        bottom: in the least ones.
        most: images of each part.
        seed: of the draws.
    """
    from unmask.api import probe_columns

    parts = [_values(model, data, name, most) for name in ("probe_train", "probe_test")]
    (train, train_labels), (test, test_labels) = parts
    directions = Subspaces.of(train)
    columns = {
        name: (directions.projected(train, chosen), directions.projected(test, chosen))
        for name, chosen in (
            ("whole", np.ones(len(directions.shares), dtype=bool)),
            (f"top {top:.0%}", directions.first(top)),
            (f"bottom {bottom:.0%}", directions.last(bottom)),
        )
    }
    result = probe_columns(columns, train_labels, test_labels, probes=("knn", "linear"), seed=seed)
    counts = [int(directions.first(top).sum()), int(directions.last(bottom).sum()), len(directions.shares)]
    about = f"{counts[0]} main and {counts[1]} least of {counts[2]} directions of {len(train):,} images."
    return result.about(about), directions


def reconstructed(
    models: dict[str, MaskedModel], data: Any, directions: Subspaces, most: int, seed: int = 0
) -> Results:
    """What is left to learn of hidden patches along each band of directions, by model.

    Raises:
        ValueError: a model whose targets are not one value for each of the patches' own.
    """
    import torch

    from unmask.api import Cell, Measure, Results, Row, batches, evaluating

    ends = np.searchsorted(np.cumsum(directions.shares), np.array(BANDS) - 1e-9)
    bands = np.split(np.arange(len(directions.shares)), np.minimum(ends + 1, len(directions.shares)))[: len(BANDS)]
    cells: list[dict[str, Cell]] = [{} for _ in bands]
    for name, model in models.items():
        wrong: list[np.ndarray] = []
        right: list[np.ndarray] = []
        with torch.no_grad(), evaluating(model):
            for done, batch in enumerate(batches(data, data.splits.val, data.val_batch_size)):
                step = model.step(batch, seed)
                values = step.tokens.values
                if not isinstance(step.target, torch.Tensor) or step.target.shape[-1:] != values.shape[-1:]:
                    raise ValueError("The model must predict the values of patches, but predicts something else.")
                blank = torch.zeros_like(values)
                error = step.prediction.values.float() - step.target
                for kept, what in ((wrong, error), (right, step.target)):
                    kept.append(step.prediction.asked.scatter(what, blank).flatten(1).double().numpy())
                if (done + 1) * data.val_batch_size >= most:
                    break
        both = np.concatenate(wrong)[:most], np.concatenate(right)[:most]
        energy = np.square(both[1] @ directions.directions.T).sum(0)
        left = directions.left(*both)
        for band, cell in zip(bands, cells, strict=True):
            weights = energy[band] if len(band) and energy[band].sum() else None
            cell[name] = Cell.of([float(np.average(left[band], weights=weights)) if len(band) else 0.0])
    starts = (0.0, *BANDS)
    measure = Measure("error", less_is_better=True)
    rows = [
        Row(f"{start:.0%} to {end:.0%} of the variance, {len(band)} directions", measure, cell)
        for start, end, band, cell in zip(starts, BANDS, bands, cells, strict=False)
    ]
    caption = ["1: nothing is answered; 0: all is right. By energy along the directions, at hidden patches."]
    return Results("Error left, by band of directions", list(models), rows, caption, head="band")


def _values(model: MaskedModel, data: Any, part: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of all patches of each image ``[n, D]``, and labels ``[n]``."""
    from unmask.api import batches, split_of

    rows, labels = [], []
    for done, batch in enumerate(batches(data, split_of(data, part), data.val_batch_size)):
        if "label" not in batch:
            raise ValueError("The images must have labels, but have none.")
        rows.append(model.tokenizer(batch).values.flatten(1).double().numpy())
        labels.append(batch["label"].numpy())
        if (done + 1) * data.val_batch_size >= most:
            break
    return np.concatenate(rows)[:most], np.concatenate(labels)[:most]
