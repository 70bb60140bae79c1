"""A model of some parts alone: what is used of a trained joint model, for tools that know one model and one encoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning as L
from torch import nn

from unmask.embedder import check_parts
from unmask.model import MaskedModel
from unmask.parts import Encoder, Tokenizer
from unmask.step import Step


class ModelOfParts(MaskedModel):
    """Tokenizer and encoder of some parts of a model, the same modules; it predicts nothing and is not trained.

    Args:
        whole: the joint model.
        names: of its parts, in any order.
        apart: for a single part: its own tokenizer, which reads the part's own batch, and its own encoder, also where
            parts are encoded together after that.

    Raises:
        ValueError: a model without parts, or names that it has not; ``apart`` of several parts, or of one that has no
            encoder of its own.
    """

    def __init__(self, whole: MaskedModel, names: Sequence[str], apart: bool = False) -> None:
        L.LightningModule.__init__(self)
        known = whole.part_names
        check_parts(names, known)
        self.names = tuple(name for name in known if name in names)
        self.read: Callable[[Any], Any] = lambda batch: batch
        """What the tokenizer reads of a batch."""
        if apart:
            self.tokenizer, self.encoder, self.read = _apart(whole, self.names)
        else:
            used = whole.embedder_of(self.names)
            self.tokenizer, self.encoder = used.tokenizer, used.encoder
        alone = len(self.names) == 1 and not self.encoder.joint
        self.mask: Any = copy.deepcopy(_own(whole.mask, "masks", self.names[0]) if alone else whole.mask)
        shown = _own(whole.corruption, "corruptions", self.names[0]) if alone else whole.corruption
        self.corruption: Any = copy.deepcopy(shown)
        self.predictor = self.target = self.loss = None
        self.objectives, self.terms = nn.ModuleDict(), nn.ModuleDict()
        self.optim, self.agreed, self.seed = whole.optim, whole.agreed, whole.seed
        self.training = whole.training

    def start_parts(self) -> None:
        """Nothing begins anew: the whole model lets its parts begin."""

    def step(self, batch: Any, seed: int | None = None) -> Step:
        """Not taken: the loss is of all parts together."""
        raise ValueError("the loss is of all parts together, and some are left out.")


def of_parts(model: MaskedModel, names: Sequence[str] | None) -> MaskedModel:
    """What is used of some parts of a model; None: the model itself."""
    return model if names is None else ModelOfParts(model, names)


def _own(part: Any, members: str, name: str) -> Any:
    """Of a part that has one of its own for each, such as `MaskByPart`, that one."""
    each = getattr(part, members, None)
    return part if each is None or name not in each else each[name]


def _apart(whole: MaskedModel, names: Sequence[str]) -> tuple[Tokenizer, Encoder, Callable[[Any], Any]]:
    tokenizer: Any = whole.tokenizer
    if len(names) != 1:
        raise ValueError(f"Exactly one part must be given, but there are {len(names)}: {', '.join(names)}.")
    own = whole.encoder.one(names[0])
    if own is None:
        encoders = getattr(whole.encoder, "encoders", {})
        if names[0] not in encoders:
            raise ValueError(
                f"`{names[0]}` must have an encoder of its own, but {type(whole.encoder).__name__} has none."
            )
        own = encoders[names[0]]
    return tokenizer.tokenizers[names[0]], own, partial(tokenizer.read, names[0])
