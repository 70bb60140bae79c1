"""Probes of joint samples: each part alone and all together, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.of_parts import ModelOfParts
from unmask.tools.probe.caption import widths_told
from unmask.tools.probe.probe import probe
from unmask.tools.results import Results


def probe_by_part(
    runs: Sequence[tuple[MaskedModel, MaskedModel]],
    datamodule: MaskedDataModule,
    chosen: Sequence[Sequence[str]] | None = None,
    **settings: Any,
) -> Results:
    """`probe`, with rows for each choice of parts; of samples without parts, `probe` itself.

    Parts that are left out are not encoded: codes know nothing of them. The vector of several parts is as
    `Latent.pool` makes it: the mean of theirs, or theirs side by side where each has an encoder of its own.

    Args:
        runs: as of `probe`.
        datamodule: likewise.
        chosen: names of the parts of each choice; None: each part alone, then all of them.
        settings: as of `probe`.

    Raises:
        ValueError: as `probe`; parts that are not there; a table by layer of more than one choice.
    """
    names = runs[0][0].part_names
    if chosen is None:
        chosen = [*([name] for name in names), *([names] if len(names) > 1 else [])]
    if not chosen:
        return probe(runs, datamodule, **settings)
    if settings.get("layer") == "all" and len(chosen) > 1:
        raise ValueError(f"`parts` must be given for a table by layer: some of {', '.join(names)}.")
    results = {}
    for own in chosen:
        pairs = [(ModelOfParts(model, own), ModelOfParts(untrained, own)) for model, untrained in runs]
        results["+".join(own)] = probe(pairs, datamodule, **settings)
    if len(results) == 1:
        (told, result), *_ = results.items()
        return result.about(f"Parts: {told}.")
    first = next(iter(results.values()))
    rows = [replace(row, name=f"{told}: {row.name}") for told, result in results.items() for row in result.rows]
    columns = list(dict.fromkeys(column for result in results.values() for column in result.columns))
    widths = {told: result.details["widths"] for told, result in results.items()}
    details = first.details | {"widths": widths, "parts_probed": list(results)}
    own = widths_told(first.details["widths"])
    caption = [line.replace(own, "").rstrip() for line in first.caption]
    caption += [f"{told}: {widths_told(each)}" for told, each in widths.items()]
    return replace(first, rows=rows, columns=columns, details=details, caption=caption)
