"""The repeated layers of a network: what is sharded, compiled and computed anew in the backward pass, one by one."""

from __future__ import annotations

from typing import Any

from torch import nn


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """Layers that stand in a row of at least two of one class, each with layers of its own: a transformer's blocks.

    Of rows within rows (stages of blocks), the inner ones. A row of bare layers, such as linear ones, does not count,
    nor does one whose layers are not trained. A row of a single layer counts if its class has a longer one elsewhere.
    """
    found = dict.fromkeys(block for row in rows_of(module).values() for block in row)
    return list(found)  # a block that two rows share counts once


def rows_of(module: nn.Module, frozen: bool = False) -> dict[str, list[nn.Module]]:
    """The rows that `blocks_of` strings together, by their names in ``module``.

    Args:
        module: a network, or a whole model.
        frozen: rows that are not trained, such as a teacher's, in place of those that are.
    """
    lists: dict[str, Any] = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential) and _is_row(part, frozen)
    }
    repeated = {type(row[0]) for row in lists.values() if len(row) > 1}
    rows = {name: row for name, row in lists.items() if type(row[0]) in repeated}
    return {
        name: list(row)
        for name, row in rows.items()
        if not any(other is not row and other in set(row.modules()) for other in rows.values())
    }


def _is_row(part: Any, frozen: bool) -> bool:
    return len({type(one) for one in part}) == 1 and all(_is_block(one, frozen) for one in part)


def _is_block(one: nn.Module, frozen: bool) -> bool:
    weights = list(one.parameters())
    return bool(weights and next(one.children(), None)) and any(p.requires_grad for p in weights) != frozen
