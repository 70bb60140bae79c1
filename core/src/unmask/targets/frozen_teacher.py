"""Frozen teacher: codes of an encoder trained before (MaskDistill, Peng et al. 2022; MR-MAE, Gao et al. 2023)."""

from __future__ import annotations

from typing import Literal

from unmask.frozen import Frozen
from unmask.parts import Encoder, Tokenizer
from unmask.targets.teacher import Normalize, Sees, Teacher


class FrozenTeacher(Teacher):
    """Features of an encoder that is not trained.

    Its weights are those that ``encoder`` is made with; they are left out of checkpoints, see `Frozen`. Arguments are
    those of `Teacher`, and:

    Args:
        encoder: the teacher, which must lie on the same places.

    Raises:
        ValueError: as `Teacher`, or a layer that the encoder does not have.
    """

    def __init__(
        self,
        encoder: Encoder,
        layer: int | list[int] | None = None,
        normalize: Normalize = "layer",
        sees: Sees = "all",
        top: int | None = None,
        tokenizer: Tokenizer | None = None,
        pool: Literal["mean", "max", "cls"] | None = None,
    ) -> None:
        super().__init__(layer, top, normalize, sees, tokenizer, pool)
        self.teacher = Frozen(self.check(encoder))

    @property
    def encoder(self) -> Encoder:
        return self.teacher.module  # type: ignore[return-value]
