"""What one step makes besides the hand-offs: what is shown, what a target may read, losses, and the finished step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask.schedules import Progress
from unmask.structures import Latent, Mask, Prediction, Tokens


@dataclass(frozen=True, eq=False)
class Shown:
    """What the encoder is given.

    Args:
        tokens: values as the encoder sees them.
        mask: how hidden places are shown, and where answers are asked.
        made: by-products of corruption and targets, by names of their own, for terms to read.
    """

    tokens: Tokens
    mask: Mask
    made: dict[str, Any] = field(default_factory=dict)


class Given(NamedTuple):
    """What a target, and a loss, may read besides clean tokens and the mask.

    Args:
        batch: raw samples, as the data module made them.
        shown: what the encoder is given.
        progress: where the run stands.
        latent: what it made of it, for a learned target; None for one that is fixed before.
    """

    batch: Any
    shown: Shown
    progress: Progress = Progress()
    latent: Latent | None = None


class LossValue(NamedTuple):
    """A scalar to minimise, and what each asked place contributed ``[B, M]`` (detached)."""

    total: Tensor
    per_token: Tensor


class JointLossValue(LossValue):
    """The same, and what each part came to, without its weight."""

    parts: Mapping[str, Tensor]

    @classmethod
    def of(cls, total: Tensor, per_token: Tensor, parts: Mapping[str, Tensor]) -> JointLossValue:
        """With what each part came to."""
        made = cls(total, per_token)
        made.parts = parts
        return made


class Answer(NamedTuple):
    """What came of one objective.

    Args:
        mask: with the places that it asks at.
        prediction: the answers.
        target: the right ones; by part where they are joint.
        loss: how far apart the two are.
    """

    mask: Mask
    prediction: Prediction
    target: Any
    loss: LossValue


NOTHING: Any = Answer(None, None, None, LossValue(torch.zeros(()), torch.zeros(0, 0)))  # type: ignore[arg-type]
"""What comes of a method that predicts nothing."""


class Step(NamedTuple):
    """All that one step made, for terms, pictures and monitors.

    A method that predicts nothing has no ``target`` and no ``prediction``, and a loss of its terms alone.
    """

    tokens: Tokens
    mask: Mask
    target: Any
    latent: Latent
    prediction: Prediction
    loss: LossValue
    terms: Mapping[str, Tensor] = {}
    """What each further objective and term came to, by name, detached, without its weight; the total has them."""
    given: Given | None = None
    """The raw batch, and what the encoder was shown."""
    objectives: Mapping[str, Answer] = {}
    """What came of each further objective."""
