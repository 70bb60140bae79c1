"""The contract of losses: a number per asked place, of real places only, finite in 16 bits too."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss
from unmask.structures import Places, Prediction
from unmask.testing.contract import Contract

_SHAPE = (3, 5)  # samples, asked places of each


class LossContract(Contract):
    """Tests of one loss. Subclass it under a name that starts with ``Test``::

        class TestMyLoss(LossContract):
            def make(self):
                return MyLoss()

    Attributes:
        width: T, values of an answer; or the number of classes.
        classes: whether a target is the id of a class.
    """

    width: ClassVar[int] = 8
    classes: ClassVar[bool] = False

    @abstractmethod
    def make(self) -> Loss:
        """The loss to test."""

    # What follows are the tests.

    def test_one_finite_number_per_asked_place(self) -> None:
        answers, target = self._given()
        total, per_token = self.make()(Prediction(answers, self._asked()), target)
        assert per_token.shape == _SHAPE
        assert total.shape == ()
        assert not per_token.requires_grad
        torch.testing.assert_close(total, per_token.mean())
        assert torch.isfinite(per_token).all()

    def test_the_gradient_reaches_every_answer(self) -> None:
        answers, target = self._given()
        answers.requires_grad_()
        self.make()(Prediction(answers, self._asked()), target).total.backward()
        assert answers.grad is not None
        assert torch.isfinite(answers.grad).all()
        assert (answers.grad.abs().sum(-1) > 0).all()

    def test_fillers_do_not_count(self) -> None:
        answers, target = self._given()
        valid = torch.arange(_SHAPE[1]) < torch.tensor([5, 3, 1])[:, None]
        asked = Places(self._asked().index, valid)
        total, per_token = self.make()(Prediction(answers, asked), target)
        at = ~valid[..., None]
        other = self.make()(Prediction(torch.where(at, answers * -3 + 7, answers), asked), target)
        torch.testing.assert_close(total, other.total)
        assert (per_token[~valid] == 0).all()
        torch.testing.assert_close(total, per_token.sum() / valid.sum())

    def test_groups_of_places_are_taken(self) -> None:
        answers, target = self._given()
        index = self._asked().index
        grouped = Prediction(torch.stack([answers, answers], 1), Places(torch.stack([index, index], 1)))
        total, per_token = self.make()(grouped, torch.stack([target, target], 1))
        assert per_token.shape == (_SHAPE[0], 2, _SHAPE[1])
        assert torch.isfinite(total)

    def test_16_bits_are_compared_in_32(self) -> None:
        answers, target = self._given()
        total, per_token = self.make()(Prediction(answers.bfloat16(), self._asked()), target)
        assert total.dtype == per_token.dtype == torch.float32
        assert torch.isfinite(per_token).all()

    def test_right_answers_cost_less_than_random_ones(self) -> None:
        answers, target = self._given()
        right = F.one_hot(target, self.width).float() * 20 if self.classes else target
        loss = self.make()
        assert (
            loss(Prediction(right, self._asked()), target).total
            < loss(Prediction(answers, self._asked()), target).total
        )

    def test_another_width_is_refused(self) -> None:
        answers, target = self._given()
        if self.classes:
            return
        with pytest.raises(ValueError, match="target_width"):
            self.make()(Prediction(answers[..., :-1], self._asked()), target)

    def _given(self) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(0)
        answers = torch.randn(*_SHAPE, self.width, generator=rng)
        if self.classes:
            return answers, torch.randint(self.width, _SHAPE, generator=rng)
        return answers, torch.randn(*_SHAPE, self.width, generator=rng)

    @staticmethod
    def _asked() -> Places:
        return Places(torch.arange(_SHAPE[1]).expand(_SHAPE))
