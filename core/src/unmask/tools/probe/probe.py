"""Probes: how much of the labels simple models find in frozen features, next to raw input.

Every column gets the same draws, the same splits and the same protocol. `probe` measures the
encoders of runs, `probe_columns` any features; `unmask.tools.probe.fits` has the probes themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from unmask import agreements, seeds
from unmask.data import Augmented, MaskedDataModule
from unmask.embedder import Embedder
from unmask.model import MaskedModel
from unmask.tools.features.labels import REGRESSION, kind_for, taken_as
from unmask.tools.features.ranks import ALONE, Ranks
from unmask.tools.features.samples import batches
from unmask.tools.features.vectors import Vectors, raw_vectors, vectors
from unmask.tools.probe.caption import captioned, title_of
from unmask.tools.probe.columns import Watch, chosen, kind_of, probe_columns, probed
from unmask.tools.probe.protocol import Protocol
from unmask.tools.probe.statistics import has_statistics, with_statistics
from unmask.tools.results import Results, over_runs

__all__ = ["Protocol", "probe", "probe_columns"]

RAW, UNTRAINED, PRETRAINED = "raw input", "untrained encoder", "pretrained encoder"
STATISTICS = "untrained encoder, statistics collected"
"""The column of an untrained encoder with BatchNorm that has seen the data once, see `with_statistics`."""


def probe(
    runs: Sequence[tuple[MaskedModel, MaskedModel]],
    datamodule: MaskedDataModule,
    *,
    pool: str = "mean",
    layer: int | Literal["all"] | None = None,
    groups: str | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = lambda what, done, total: None,
    ranks: Ranks = ALONE,
    **settings: Any,
) -> Results:
    """Three columns: raw input, the untrained encoder and the trained one; a fourth for encoders with BatchNorm.

    Pieces of one thing, such as windows of a recording, count as one sample, whose features are their mean.

    Args:
        runs: a trained model, whose `embedder` is measured, and the same model as it was initialised, such as a deep
            copy from before training. Several pairs: runs that differ by their seed alone. Then there is a score per
            run; raw input is the same in all.
        datamodule: with labels in its probe sets.
        pool: ``mean``, ``max``, ``mean+max``, ``cls`` or ``flat``, see `vectors`.
        layer: whose codes, counted from 1; None: the last one's, normed; ``all``: a row per layer, of one probe
            with all labels.
        groups: the key of the samples that tells their group (such as who made them): each group is left out in
            turn, and fitted on all others.
        device: where features are computed.
        watch: see `Watch`.
        ranks: processes that share the work of features, each of which makes this very call. Probes are fitted by the
            first, and the others get its result.
        settings: as of `Protocol`. With groups or ``num_folds``, both probe sets are taken together; a sample
            that is in both counts once where both are parts (`Subset`) of one data set.

    Raises:
        ValueError: data without labels, data that a model does not go with, or as `vectors` and `probe_columns`.
    """
    protocol = Protocol(**settings)
    first = runs[0][0]
    if layer != "all":
        first.embedder.depth(layer)  # refuses a layer that is not there
    sets = _probe_sets(datamodule, together=groups is not None or protocol.num_folds is not None)
    for model, _ in runs:
        agreements.check(model, datamodule, loaded=True, other=True)

    def both(what: str, extract: Callable[[Iterable[Any]], Vectors]) -> tuple[Vectors, Vectors]:
        """Features of either set; of an empty one, none."""
        loaders = [_shared(datamodule, one, ranks) for one in sets if len(one)]  # type: ignore[arg-type]
        found = [extract(_watched(loader, what, watch)) for loader in loaders]
        return found[0], found[1] if len(found) > 1 else _none_of(found[0])

    raw = both(RAW, lambda loader: raw_vectors(first.embedder, loader, device, groups, ranks))
    labels = tuple(one.label for one in raw if one.label is not None)
    if len(labels) < 2:
        raise ValueError(_NO_LABELS)
    labels = _as_asked(labels[0], labels[1], datamodule.classes, told=ranks.first)
    own_groups = None if groups is None else tuple(one.group for one in raw)
    if layer == "all":
        protocol = _of_one_probe(protocol, kind_of(labels[0]))

    def measured(columns: Mapping[str, tuple[Vectors, Vectors]]) -> Results:
        pairs = {name: (train.values, test.values) for name, (train, test) in columns.items()}
        fitted = partial(probed, pairs, labels, protocol, own_groups, watch)  # type: ignore[arg-type]
        return ranks.gathered(ranks.together(lambda: fitted() if ranks.first else None))[0]

    def codes(embedders: Mapping[str, Embedder], one: int | None) -> dict[str, tuple[Vectors, Vectors]]:
        told = f", {_layer(one)}" if layer == "all" else ""
        how: dict[str, Any] = {"pool": pool, "layer": one, "device": device, "groups": groups, "ranks": ranks}
        return {name: both(name + told, partial(vectors, embedder, **how)) for name, embedder in embedders.items()}

    results = []
    for number, (model, untrained) in enumerate(runs):
        embedders = {UNTRAINED: untrained.embedder}
        if has_statistics(untrained.embedder):
            loader = batches(datamodule, _shuffled(sets[0]), datamodule.val_batch_size)
            embedders[STATISTICS] = with_statistics(untrained.embedder, loader, device)
        embedders[PRETRAINED] = model.embedder
        if layer == "all":
            layers = [*range(1, first.embedder.num_layers + 1), None]
            by_layer = {one: measured(codes(embedders, one)) for one in layers}
            results.append(_stacked(measured({RAW: raw}) if number == 0 else None, by_layer))
        else:
            results.append(measured(({RAW: raw} if number == 0 else {}) | codes(embedders, layer)))
    result = over_runs(results)
    num_pieces = sum(map(len, sets)) if {"name", "piece"} <= set(sets[0][0]) else 0  # type: ignore[arg-type]
    if num_pieces > result.details["num_train"] + result.details["num_test"]:
        result = replace(result, details=result.details | {"num_pieces": num_pieces})
    return captioned(result, protocol, chosen(protocol, result.details["task"]))


_NO_LABELS = "The data must have a `label` in every sample of its probe sets, but has none: there is nothing to probe."


def _as_asked(train: np.ndarray, test: np.ndarray, classes: Sequence[str], told: bool) -> tuple[np.ndarray, np.ndarray]:
    """Class ids as the numbers that they stand for, where those were measured."""
    both = torch.from_numpy(np.concatenate((train, test)))
    kind = kind_for(both, None, classes)
    if kind == REGRESSION and not both.is_floating_point():
        if told:
            print("Hardly any two labels are alike, and all are numbers: they are probed by regression.", flush=True)
        both = taken_as(both, kind, classes)
    return both[: len(train)].numpy(), both[len(train) :].numpy()


def _probe_sets(datamodule: MaskedDataModule, together: bool) -> tuple[Dataset, Dataset]:
    """Samples to fit on and samples to score on; ``together``: the latter without those that are in the former."""
    train, test = datamodule.splits.probe_train, datamodule.splits.probe_test
    if train is None or test is None:
        raise ValueError(_NO_LABELS)
    if together:
        (origin, numbers), (other, others) = _origin(train), _origin(test)
        known = set(numbers) if origin is other else set()
        test = Subset(test, [i for i, number in enumerate(others) if number not in known])
    return Augmented(train), Augmented(test)


def _origin(dataset: Dataset) -> tuple[Dataset, Sequence[int]]:
    """The data set that ``dataset`` is a part of, and which samples of it."""
    if not isinstance(dataset, Subset):
        return dataset, range(len(dataset))  # type: ignore[arg-type]
    origin, numbers = _origin(dataset.dataset)
    return origin, [numbers[index] for index in dataset.indices]


def _shared(datamodule: MaskedDataModule, dataset: Dataset, ranks: Ranks) -> Any:
    """This process's batches of a data set, the same that one process would make."""
    size, each = datamodule.val_batch_size, len(dataset)  # type: ignore[arg-type]
    own = ranks.share(-(-each // size))
    return batches(datamodule, dataset, size, own.start * size, min(own.stop * size, each))


def _none_of(rows: Vectors) -> Vectors:
    label, group = (None if one is None else one[:0] for one in (rows.label, rows.group))
    return Vectors(rows.values[:0], label, group)


def _shuffled(dataset: Dataset) -> Dataset:
    order = torch.randperm(len(dataset), generator=seeds.generator("cpu", "statistics"))  # type: ignore[arg-type]
    return Subset(dataset, order.tolist())


def _watched(loader: Any, what: str, watch: Watch) -> Iterator[Any]:
    for number, batch in enumerate(loader):
        watch(f"features of {what}", number, len(loader))
        yield batch


def _of_one_probe(protocol: Protocol, kind: str) -> Protocol:
    """A table by layer has one probe: the last default one, where none is asked for."""
    names = chosen(protocol, kind)
    if protocol.probes is not None and len(names) > 1:
        raise ValueError(f"`probes` must be a single one for a table by layer, but is {', '.join(names)}.")
    return replace(protocol, probes=names[-1:], labels_per_class=())


def _layer(layer: int | None) -> str:
    return "last layer, normed" if layer is None else f"layer {layer}"


def _stacked(raw: Results | None, by_layer: Mapping[int | None, Results]) -> Results:
    """A row per layer, of the probe's first measure; raw input, which has no layers, is the same in all."""
    last = by_layer[None]
    rows = []
    for layer, result in by_layer.items():
        row = result.rows[0]
        rows.append(replace(row, name=_layer(layer), cells=({} if raw is None else raw.rows[0].cells) | row.cells))
    name, widths = last.rows[0].name, ({} if raw is None else raw.details["widths"]) | last.details["widths"]
    return replace(
        last,
        title=f"{title_of(rows)}: {name}",
        columns=list(rows[0].cells),
        rows=rows,
        details=last.details | {"widths": widths, "by_layer": name},
        head="layer",
        bold="column",
    )
