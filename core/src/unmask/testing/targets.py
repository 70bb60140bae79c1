"""The contract of targets: right answers in the order of the asked places, without gradient unless they are learned."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch

from unmask.parts import Corruption, Encoder, Target
from unmask.schedules import Progress
from unmask.step import Given
from unmask.structures import Mask, Prediction, Tokens
from unmask.testing.contract import PartContract, masked


class _Following(NamedTuple):
    """What a target may follow of a model."""

    encoder: Encoder


class TargetContract(PartContract):
    """Tests of one target. Subclass it under a name that starts with ``Test``::

    class TestMyTarget(TargetContract):
        def make(self):
            return MyTarget()

        def tokens(self):
            return Tokens(torch.randn(3, 12, 4), Sequence())
    """

    @abstractmethod
    def make(self) -> Target:
        """The target to test."""

    def encoder(self) -> Encoder | None:
        """What the target follows; None: it follows none."""
        return None

    def given(self) -> Given | None:
        """What else a step gives the target; None: it reads tokens and mask alone."""
        return None

    # What follows are the tests.

    def test_one_answer_per_asked_place_and_none_has_a_gradient(self) -> None:
        target, tokens, mask = self._given()
        answers = target(tokens, mask, self.given())
        assert answers.shape[: mask.asked.index.ndim] == mask.asked.index.shape
        assert answers.ndim - mask.asked.index.ndim in (0, 1)
        assert target.learned or not answers.requires_grad
        assert torch.isfinite(answers).all() if answers.is_floating_point() else answers.dtype == torch.int64

    def test_the_same_tokens_have_the_same_answers_and_stay_as_they_are(self) -> None:
        target, tokens, mask = self._given()
        before = tokens.values.clone()
        first, again = target(tokens, mask, self.given()), target(tokens, mask, self.given())
        assert torch.equal(first, again)
        assert torch.equal(tokens.values, before)

    def test_training_mode_changes_no_answer(self) -> None:
        """A teacher stays in evaluation mode."""
        target, tokens, mask = self._given()
        assert torch.equal(target.eval()(tokens, mask, self.given()), target.train()(tokens, mask, self.given()))

    def test_an_update_gives_numbers_and_trains_nothing(self) -> None:
        target, *_ = self._given()
        encoder = self.encoder()
        if encoder is None:
            return
        numbers = target.update(_Following(encoder), Progress(step=1, total_steps=10))
        assert all(isinstance(number, float) for number in numbers.values())
        assert not any(parameter.grad is not None for parameter in target.parameters())

    def test_answers_restore_to_values_if_they_can(self) -> None:
        """Predicting the target itself gives back the values that are hidden."""
        target, tokens, mask = self._given()
        restored = target.restore(Prediction(target(tokens, mask, self.given()).float(), mask.asked), tokens, mask)
        if restored is None:
            return
        torch.testing.assert_close(restored, mask.asked.gather(tokens.values).float(), rtol=1e-3, atol=1e-3)

    def _given(self) -> tuple[Target, Tokens, Mask]:
        torch.manual_seed(0)
        target, encoder = self.make(), self.encoder()
        if encoder is not None:
            target.start(_Following(encoder))
        torch.manual_seed(1)
        tokens = self.tokens()
        return target, tokens, masked(tokens, self.mask(), Corruption(drop=1))
