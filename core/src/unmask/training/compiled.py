"""Names of weights without what `torch.compile` of a part puts into them, so that checkpoints fit either way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

INSERTED = "_orig_mod."
"""A compiled part holds the part itself under this name."""


def plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """``encoder._orig_mod.norm.weight`` as ``encoder.norm.weight``, as if nothing had been compiled."""
    return {name.replace(INSERTED, ""): value for name, value in state.items()}


def names_for(own: Iterable[str], state: Mapping[str, Any]) -> dict[str, Any]:
    """``state`` under the names of a model that may be compiled.

    Args:
        own: names of the model's weights.
        state: weights by name, of a model that may have been compiled otherwise.
    """
    names = {name.replace(INSERTED, ""): name for name in own}
    return {names.get(name, name): value for name, value in plain_names(state).items()}
