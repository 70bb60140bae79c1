"""Scorers: how much each place matters, for masks that hide by it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

from unmask.frozen import Frozen
from unmask.parts import Candidates, Encoder, Part


class Scorer(Part):
    """Says a number for each place. It may look at all values: only what is hidden depends on it, not how it is shown.

    Scorers have the life of all parts: `start`, `observe`, `update`.
    """

    @abstractmethod
    def forward(self, among: Candidates) -> Tensor:
        """Scores ``[B, N]``, the highest of which matter most; those of padding are not read."""


class AttentionScorer(Scorer):
    """How much a teacher's class token attends to each place in its last layer, the mean over its heads.

    The teacher sees whole samples, once more than its features need. Scores are at least 0.

    Args:
        teacher: encoder with weights of its own that tells its attention, such as `vision.vit`; it stays frozen and is
            left out of checkpoints. None: the teacher that is the model's target.
        layer: whose attention, in [1, its number of layers]; None: the last one's. AttMask (section 3.2): the last.

    Raises:
        ValueError: in `start`, a model whose target is no teacher, or one that sees other tokens; when called, packed
            tokens, or a teacher without a class token.
    """

    def __init__(self, teacher: Encoder | None = None, layer: int | None = None) -> None:
        super().__init__()
        self.teacher = None if teacher is None else Frozen(teacher)
        if teacher is not None:
            teacher.depth(layer)
        self.layer = layer
        self._target: list[Any] = []  # a list hides it from torch: it is the model's

    def start(self, model: Any) -> None:
        if self.teacher is not None:
            return
        if not hasattr(type(model.target), "encoder"):
            raise ValueError(
                "`teacher` must be given to an attention scorer of a model whose target is no teacher, but the target "
                f"is {type(model.target).__name__}; nearest: a model with `ema-teacher`."
            )
        if getattr(model.target, "tokenizer", None) is not None:
            raise ValueError(
                "`teacher` must be given to an attention scorer of a model whose teacher has a tokenizer of its own."
            )
        self._target = [model.target]

    def forward(self, among: Candidates) -> Tensor:
        tokens = among.tokens
        if tokens.offsets is not None:
            raise ValueError("AttentionScorer works on dense tokens, but these are packed; pad them.")
        if self.teacher is None and not self._target:
            raise ValueError("An attention scorer without a `teacher` works as a part of a model, but is in none.")
        encoder: Any = self._target[0].encoder if self.teacher is None else self.teacher.module
        attention = encoder.attention(tokens, self.layer).float()  # [B, H, P + N, P + N]
        num_prefix = attention.shape[-1] - tokens.num_tokens
        if num_prefix < 1:
            raise ValueError("The teacher of an attention scorer must have a class token, but has none.")
        return attention[:, :, 0, num_prefix:].mean(1)
