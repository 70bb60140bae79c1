"""Weights as their authors released them: a table of names for each repository, from which they are read."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from unmask.model import MaskedModel
from unmask.runs.weights import State
from unmask.tools.exchange.format import Export, Format

Map = Callable[[str, Tensor], State]
"""One tensor of ours to the other library's: several, where theirs is split; none, where they have no place for it."""


class Release(Format):
    """The names of one repository. They are read by `unmask import`, and never written.

    A subclass says which models it is for (`refusal`) and what their tensors are called (`map`).
    """

    writes = False

    repository: ClassVar[str] = ""
    """Where the names are from, such as ``facebookresearch/mae``."""

    ignored: ClassVar[str] = r"(?!)"
    """Regular expression of whole names that hold no weights, such as fixed tables; `agree` may compare them."""

    @abstractmethod
    def map(self, model: MaskedModel) -> Map:
        """From names of ``model.state_dict()`` to the repository's."""

    def plain(self, weights: State) -> State:
        """The repository's tensors under one spelling of their names, where there are several."""
        return weights

    def load(self, weights: State, model: MaskedModel) -> State:
        found = backwards(model.state_dict(), self.map(model), self.plain(weights))
        return {name: tensor for name, tensor in found.items() if not re.fullmatch(self.ignored, name)}

    def unheld(self, model: MaskedModel) -> set[str]:
        return self._homeless("encoder", model.encoder.state_dict(), model)

    def unheld_of_predictor(self, model: MaskedModel) -> set[str]:
        return self._homeless("predictor", model.predictor.state_dict(), model)

    def save(self, export: Export, out: Path) -> str:
        raise ValueError(f"{type(self).__name__} must only be read, but is to be written.")

    def usage(self, export: Export, out: Path) -> str:
        raise ValueError(f"{type(self).__name__} must only be read, but is to be written.")

    def _homeless(self, part: str, own: State, model: MaskedModel) -> set[str]:
        forward = self.map(model)
        return {name for name, tensor in own.items() if not forward(f"{part}.{name}", tensor.to("meta"))}


def backwards(own: State, forward: Map, theirs: State) -> State:
    """Their tensors under our names, as far as they have all parts of one; what is left keeps its name.

    Args:
        own: tensors of ours, for names and shapes alone.
        forward: from ours to theirs; it only renames, splits, joins and reorders.
        theirs: by their names; on the ``meta`` device too.
    """
    out: State = {}
    used: set[str] = set()
    for name, tensor in own.items():
        stand_in = tensor.to("meta")
        parts = forward(name, stand_in)
        if not parts or not all(part in theirs for part in parts):
            continue
        used |= set(parts)
        given = [theirs[part] for part in parts]
        if any(theirs[part].shape != expected.shape for part, expected in parts.items()):
            out[name] = given[0] if len(given) == 1 else torch.cat(given)  # of another size: somebody will say so
        elif len(given) == 1 and stand_in is next(iter(parts.values())):
            out[name] = given[0]  # only renamed
        else:
            numbered = forward(name, torch.arange(tensor.numel()).view(tensor.shape))
            flat = given[0].new_zeros(tensor.numel())  # BEiT has no bias of keys: zeros
            if flat.device.type != "meta":
                for part, places in numbered.items():
                    flat[places.flatten()] = theirs[part].flatten()
            out[name] = flat.view(tensor.shape)
    return out | {name: tensor for name, tensor in theirs.items() if name not in used}
