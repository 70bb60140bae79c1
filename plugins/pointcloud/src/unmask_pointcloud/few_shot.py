"""Few-shot episodes: a linear SVM on frozen codes of a few clouds of a few classes (Sharma and Kaul 2020, section 4.2).

unmask pointcloud-few-shot RUN [--ways 5,10] [--shots 10,20] [--episodes 10]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from unmask.api import GOOD, Arguments, UserError, checked_device, one_of, whole_number, writable

if TYPE_CHECKING:
    import numpy as np

    from unmask.api import Cell, Row


def episodes(
    columns: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    test_labels: np.ndarray,
    ways: int,
    shots: int,
    count: int = 10,
    seed: int = 0,
) -> Row:
    """Draws classes, and clouds of each to fit on; scores on all test clouds of those classes.

    Accuracies in [0, 1] of all episodes by column, with their standard deviation; episodes are the same in all columns.

    Args:
        columns: by name, features to fit on ``[n, D]`` and to score on ``[m, D]``.
        labels: classes ``[n]`` of the first.
        test_labels: ``[m]`` of the second.
        ways: classes of an episode: 5 or 10 in Point-BERT, table 3.
        shots: clouds of each to fit on: 10 or 20 there.
        count: episodes: 10 there.
        seed: of the draws.

    Differs from the paper's protocol in scoring on all test clouds of the classes, where it draws 20 of each.

    Raises:
        ValueError: numbers below 1 (2 classes), or more classes or clouds of a class than there are.
    """
    import numpy as np

    from unmask.api import Measure, Row, at_least

    classes, counts = np.unique(labels, return_counts=True)
    at_least(2, ways=ways)
    at_least(1, shots=shots, count=count)
    rich = np.intersect1d(classes[counts >= shots], test_labels)
    if len(rich) < ways:
        raise ValueError(
            f"`ways` must be at most {len(rich)}, the classes with {shots} labels to fit on and one to score on, "
            f"but is {ways}."
        )
    scores: dict[str, list[float]] = {name: [] for name in columns}
    for episode in range(count):
        rng = np.random.default_rng((seed, ways, shots, episode))
        chosen = rng.choice(rich, ways, replace=False)
        fit = np.concatenate([rng.choice(np.flatnonzero(labels == one), shots, replace=False) for one in chosen])
        asked = np.isin(test_labels, chosen)
        for name, (train, test) in columns.items():
            answers = linear_svm(train[fit], labels[fit], test[asked])
            scores[name].append(float((answers == test_labels[asked]).mean()))
    cells = {name: _cell(own) for name, own in scores.items()}
    accuracy = Measure("accuracy", percent=True)
    return Row(f"{ways}-way, {shots} shots", accuracy, cells, {"ways": ways, "shots": shots})


def linear_svm(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Classes that a linear SVM gives to ``test`` ``[m, D]``, fitted on ``train`` ``[n, D]`` and ``labels`` ``[n]``.

    Features are divided by one number, the root of their mean variance over ``train``; C is chosen as by `by_cost`.
    """
    from sklearn.svm import SVC

    from unmask.api import by_cost

    scale = math.sqrt(float(train.var(0).mean())) or 1.0
    return by_cost(SVC(kernel="linear"), train / scale, labels, test / scale)


def run(command: str, arguments: list[str]) -> int:
    """Score episodes in all columns, print the table, write ``few-shot.json`` into the run folder."""
    parser = Arguments(command, "Scores a run's frozen codes by a linear SVM on few clouds of few classes, many times.")
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("--data", help="another YAML file whose `data` to score on; default: the run's own")
    parser.add_argument("--ways", default="5,10", help="classes of an episode; default: 5,10")
    parser.add_argument("--shots", default="10,20", help="labels of each class; default: 10,20")
    parser.add_argument("--episodes", default="10", help="of each kind; default: 10")
    parser.add_argument("--pool", default="mean+max", help="mean, max, mean+max (default) or cls")
    parser.add_argument("--seed", default="0", help="of the draws; default: 0")
    parser.add_argument("--device", default="cpu", help="where to compute codes; default: cpu")
    given = parser.parse_args(arguments)
    ways, shots = (
        [whole_number(f"--{name}", word) for word in getattr(given, name).split(",")] for name in ("ways", "shots")
    )
    count, seed = whole_number("--episodes", given.episodes), whole_number("--seed", given.seed, least=0)
    pool = one_of("--pool", given.pool, ("mean", "max", "mean+max", "cls"))

    from unmask.api import Results, load_run, write

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    out = writable("run", trained.folder / "few-shot.json")
    try:
        columns, labels = _columns(trained, pool, device)
        found = [episodes(columns, *labels, way, shot, count, seed) for way in ways for shot in shots]
    except ValueError as error:
        raise UserError(str(error)) from error
    spread = (
        f"± standard deviation over {count} episodes, the same in all columns; untrained also with the statistics of "
        "batch norm collected."
    )
    result = Results(
        "Linear SVM, %", list(columns), found, [spread, trained.about], head="episodes", spread="standard deviation",
        details={"about": trained.about, "pool": pool, "seed": seed},
    )  # fmt: skip
    write(out, result.to_json().encode())
    result.show()
    print(f"Written to {out}")
    return GOOD


def _columns(
    trained: Any, pool: str, device: str
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[np.ndarray, np.ndarray]]:
    """Features by column, and the labels of both parts."""
    from unmask.api import batches, has_statistics, raw_vectors, split_of, vectors, with_statistics

    data, untrained = trained.datamodule, trained.untrained
    embedders = {"untrained encoder": untrained.embedder}
    if has_statistics(untrained.embedder):
        loader = data.train_dataloader()  # in no order of classes
        embedders["with statistics"] = with_statistics(untrained.embedder, loader, device)
    embedders["pretrained encoder"] = trained.model.embedder
    found: dict[str, list[Any]] = {name: [] for name in ("descriptors", *embedders)}
    labels = []
    for split in ("probe_train", "probe_test"):
        loader = batches(data, split_of(data, split), data.val_batch_size)
        raw, label, _ = raw_vectors(trained.model.embedder, loader, device)
        if label is None or label.ndim != 1 or label.dtype.kind == "f":
            raise ValueError("Episodes need a class of each cloud, but the data has none.")
        labels.append(label)
        found["descriptors"].append(raw)
        for name, embedder in embedders.items():
            found[name].append(vectors(embedder, loader, pool, device=device).values)
    return {name: (train, test) for name, (train, test) in found.items()}, (labels[0], labels[1])


def _cell(scores: list[float]) -> Cell:
    """Mean and standard deviation, which is 0 of a single episode."""
    from unmask.api import Cell

    mean = sum(scores) / len(scores)
    return Cell(mean, math.sqrt(sum((one - mean) ** 2 for one in scores) / max(len(scores) - 1, 1)), scores)
