"""The repeated layers of a network: what is sharded, compiled and computed anew in the backward pass, one by one."""

from __future__ import annotations

from torch import nn


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """Layers that stand in a row of at least two of one class, each with layers of its own: a transformer's blocks.

    Of rows within rows (stages of blocks), the inner ones. A row of bare layers, such as linear ones, does not count.
    """
    rows = [part for part in module.modules() if isinstance(part, nn.ModuleList | nn.Sequential) and _repeats(part)]
    inner = [row for row in rows if not any(other is not row and other in set(row.modules()) for other in rows)]
    found = dict.fromkeys(block for row in inner for block in row)  # a row that two parts share counts once
    return list(found)


def _repeats(row: nn.ModuleList | nn.Sequential) -> bool:
    kinds = {type(one) for one in row}
    return len(row) > 1 and len(kinds) == 1 and all(_is_block(one) for one in row)


def _is_block(one: nn.Module) -> bool:
    return any(True for _ in one.children()) and any(p.requires_grad for p in one.parameters())
