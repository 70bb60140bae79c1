"""A label-free score: how well hidden values follow from frozen codes, under masks that are the same for every run.

Two numbers, both of held-out samples, half of whose places are hidden by `FixedMask`, whatever mask a run was
trained with:

- **own loss**: the method's own loss under these masks. It compares runs of one method with one target and
  loss, such as different sizes, seeds or steps; not different methods, whose targets have other units.
- **unexplained**: the share of the variance of hidden values that a linear decoder cannot explain from the
  encoder's codes. 1 is as good as the mean value of each place, 0 is perfect; less is better. It compares any
  runs, whatever their methods, masks, targets, losses and predictors, that have the same data and the same tokens:
  those whose results have one ``fingerprint`` and one ``variance``, see `comparable`. Encoders that drop hidden
  places and encoders that are shown stand-ins there are told apart by ``shown``: the decoder of the latter has
  the code at the place itself as well.

It says how much of what was hidden is known to the codes, not what else they are good for: a method that leaves
out unpredictable detail on purpose may have the better probe and the worse score.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils.data import Subset

from unmask import agreements, seeds
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.tools.features.samples import batches, split_of
from unmask.tools.features.vectors import evaluating
from unmask.tools.probe.columns import Watch
from unmask.tools.probe.probe import PRETRAINED, RAW, UNTRAINED
from unmask.tools.results import standard_error
from unmask.tools.score.decoder import ENOUGH_SAMPLES, filled, unexplained
from unmask.tools.score.rows import FixedMask, answers, choose, coded, raw, regular, shown

NUM_SAMPLES, NUM_ANSWERS, BATCH_SIZE = 1000, 32_000, 64
"""Samples at most, spread evenly over the validation data; hidden places asked at in all; and samples at once, which
the masks depend on and which is therefore no option."""


@dataclass(frozen=True)
class Score:
    """What `score` found, by column.

    Args:
        own_loss: mean and standard error over batches (None with a single batch); empty: see ``note``.
        unexplained: mean over five folds and its standard error; empty where tokens are ids.
        folds: of which ``unexplained`` is the mean.
        shown: how hidden places are shown to the encoder: ``dropped``, ``token`` or ``random``.
        fingerprint: of the masks and of how tokens lie.
        variance: of the values at the asked places.
        num_samples: of the validation data.
        num_answers: places asked at, over all samples.
        by_place: whether each place had a decoder of its own.
        note: what could not be measured, and why.
    """

    own_loss: dict[str, tuple[float, float | None]]
    unexplained: dict[str, tuple[float, float | None]]
    folds: dict[str, list[float]]
    shown: str
    fingerprint: str
    variance: float | None
    num_samples: int
    num_answers: int
    by_place: bool
    note: str


def comparable(one: Score, other: Score) -> bool:
    """Whether two scores were measured on the same samples, tokens and masks."""
    if one.fingerprint != other.fingerprint or (one.variance is None) != (other.variance is None):
        return False
    return one.variance is None or math.isclose(one.variance, other.variance or 0, rel_tol=1e-3)


def score(
    model: MaskedModel,
    untrained: MaskedModel,
    datamodule: MaskedDataModule,
    *,
    device: torch.device | str = "cpu",
    watch: Watch = lambda what, done, total: None,
) -> Score:
    """Raw input, ``untrained`` and ``model`` on the validation data; the same call gives the same numbers.

    For each hidden place that is asked at, a decoder sees the mean code of the sample's visible places; their mean
    weighted by nearness to the place, where places have coordinates (a Gaussian one place wide); and the code at
    the place itself, where the encoder makes one. Ridge regression predicts the value: one for each of 32 places
    where all samples have the same places and there are at least 100 of them, else one for all places. It is
    fitted on four fifths of the samples and scored on the rest, five times. Raw input in place of codes is
    the sample's visible values, the place's mean where they are hidden: what linear interpolation can do; where
    samples differ in length, the same averages as of codes.

    Args:
        model: a trained model; its `embedder` makes the codes.
        untrained: the same model as it was initialised.
        datamodule: its validation data is used, which no encoder was trained on.
        device: where to compute.
        watch: see `Watch`.

    Raises:
        ValueError: data that the model does not go with, a sample of fewer than two tokens, a corruption that hides
            nothing, or codes that are not finite.
    """
    dataset = split_of(datamodule, "val")
    agreements.check(model, datamodule, loaded=True, other=True)
    total = len(dataset)  # type: ignore[arg-type]
    count = min(NUM_SAMPLES, total)
    loader = batches(datamodule, Subset(dataset, [i * total // count for i in range(count)]), BATCH_SIZE)
    how = shown(model.corruption)
    models = {UNTRAINED: untrained.to(device), PRETRAINED: model.to(device)}
    masks, digest, by_place = FixedMask(), hashlib.blake2b(digest_size=8), count >= ENOUGH_SAMPLES
    losses: dict[str, list[tuple[float, int]]] = {name: [] for name in models}
    reasons: dict[str, None] = {}  # in order, each once
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (RAW, *models)}
    asked: dict[str, list[np.ndarray]] = {name: [] for name in ("values", "samples", "places")}
    whole: list[tuple[np.ndarray, np.ndarray]] = []  # values and what of them is visible, while samples are alike

    with torch.no_grad(), evaluating(untrained, model):
        for number, batch in enumerate(loader):
            watch("hidden places", number, len(loader))
            batch = move_data_to_device(batch, torch.device(device))
            masks.number, first = number, number * BATCH_SIZE
            tokens = model.embedder.tokenizer(batch)
            mask = masks(tokens)
            for own in (tokens.parts or {"": tokens}).values():
                digest.update(_bytes(mask.hidden, own.valid, own.offsets, own.values))
            for name, one in models.items():
                try:
                    losses[name].append((_own_loss(one, masks, batch, number), tokens.num_samples))
                except ValueError as error:
                    reasons[f"No own loss under these masks: {error}"] = None
            given, given_mask = tokens, mask
            if tokens.parts is not None and len(tokens.parts) > 1:
                reasons["Samples have several parts: own loss alone; `--parts` takes one of them."] = None
                continue
            if tokens.parts is not None:  # one part of an encoder of several
                (name,) = tokens.parts
                tokens, mask = tokens.part(name), mask.part(name)
            if not tokens.values.is_floating_point():
                reasons["Tokens are ids, which have no values to explain: own loss alone."] = None
                continue

            alike = regular(tokens) and (not whole or whole[0][0].shape[1] == tokens.values.shape[1])
            by_place = by_place and alike
            if by_place:
                whole.append((tokens.values.flatten(2).float().cpu().numpy(), ~mask.hidden.cpu().numpy()))
            chosen = choose(tokens, mask, first, max(NUM_ANSWERS // count, 1), fixed=by_place)
            seen = how(given, given_mask).mask
            rows[RAW].append(raw(tokens, chosen).cpu().numpy())
            for name, one in models.items():
                rows[name].append(coded(one.embedder.encoder, given, seen, chosen).cpu().numpy())
            asked["values"].append(answers(tokens, chosen).float().cpu().numpy())
            asked["samples"].append(
                np.repeat(np.arange(first, first + len(chosen)), [len(one.asked) for one in chosen])
            )
            asked["places"].append(torch.cat([one.asked for one in chosen]).cpu().numpy())

    if not asked["values"] and not all(losses.values()):
        raise ValueError(f"Nothing can be scored. {' '.join(reasons)}")
    folds: dict[str, list[float]] = {}
    spread = None
    if asked["values"]:
        values, samples, places = (np.concatenate(part) for part in asked.values())
        spread = float(values.var(0, dtype=np.float64).mean())
        for done, (name, parts) in enumerate(rows.items()):
            watch(f"decoder, {name}", done, len(rows))
            features, row = np.concatenate(parts), np.arange(len(values))
            if name == RAW and by_place:
                features, row = filled(*(np.concatenate(part) for part in zip(*whole, strict=True))), samples
            folds[name] = unexplained(features, row, values, samples, places if by_place else None)
    return Score(
        own_loss={name: _weighted(own) for name, own in losses.items() if len(own) == len(loader)},
        unexplained={name: (float(np.mean(found)), standard_error(found)) for name, found in folds.items()},
        folds=folds,
        shown="dropped" if how.drop else "token" if how.token else "random",
        fingerprint=digest.hexdigest(),
        variance=spread,
        num_samples=count,
        num_answers=sum(map(len, asked["values"])),
        by_place=by_place and bool(folds),
        note=" ".join(reasons),
    )


def _own_loss(model: MaskedModel, masks: FixedMask, batch: Any, number: int) -> float:
    """The loss of a step under the fixed masks, however the model's step uses its mask."""
    own, model.mask = model.mask, masks
    try:
        return float(model.step(batch, seeds.mix("score", number, "step")).loss.total)
    finally:
        model.mask = own


def _bytes(hidden: Tensor, *others: Tensor | None) -> bytes:
    """What decides about masks and places; of values, which devices round differently, the shape, but of ids all."""
    told = hidden.cpu().numpy().tobytes()
    for one in others:
        if one is not None:
            told += repr(tuple(one.shape)).encode()
            told += b"" if one.is_floating_point() else one.cpu().numpy().tobytes()
    return told


def _weighted(losses: Sequence[tuple[float, int]]) -> tuple[float, float | None]:
    """Mean over samples, and standard error over batches."""
    each, weights = (np.array(part) for part in zip(*losses, strict=True))
    return float(np.average(each, weights=weights)), standard_error(each)
