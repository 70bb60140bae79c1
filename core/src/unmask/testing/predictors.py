"""The contract of predictors: answers where they are asked, from codes and places alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence as Several
from dataclasses import replace
from typing import ClassVar

import torch

from unmask.parts import Corruption, Predictor
from unmask.structures import Latent, Mask, Tokens
from unmask.testing.contract import PartContract, masked


class PredictorContract(PartContract):
    """Tests of one predictor. Subclass it under a name that starts with ``Test``::

        class TestMyPredictor(PredictorContract):
            encoder_width = 16

            def make(self):
                return MyPredictor(encoder_width=16, target_width=4)

            def tokens(self):
                return Tokens(torch.randn(3, 12, 4), Sequence())

    Attributes:
        encoder_width: D of the codes that it is given.
        corruptions: how the encoder may have been shown hidden places.
    """

    encoder_width: int
    corruptions: ClassVar[Several[Corruption]] = (Corruption(drop=1), Corruption(token=1))

    @abstractmethod
    def make(self) -> Predictor:
        """A small predictor, freshly initialised."""

    def latent(self, tokens: Tokens, mask: Mask) -> Latent:
        """Codes as the encoder would give them; here random ones."""
        seen = mask.seen
        shape = mask.hidden.shape if seen is None else seen.index.shape
        return Latent(torch.randn(*shape, self.encoder_width), seen)

    # What follows are the tests.

    def test_answers_where_they_are_asked(self) -> None:
        for corruption in self.corruptions:
            predictor, latent, places, mask = self._given(corruption)
            answers = predictor(latent, places, mask)
            assert torch.equal(answers.asked.index, mask.asked.index), corruption
            assert answers.values.shape[: mask.asked.index.ndim] == mask.asked.index.shape, corruption
            assert torch.isfinite(answers.values).all(), corruption

    def test_codes_reach_the_answers_and_gradients_the_codes(self) -> None:
        for corruption in self.corruptions:
            predictor, latent, places, mask = self._given(corruption)
            codes = latent.values.clone().requires_grad_()
            first = predictor(replace(latent, values=codes), places, mask).values
            other = predictor(replace(latent, values=codes.detach() * -3 + 7), places, mask).values
            assert not torch.equal(first, other), corruption
            first.square().mean().backward()
            assert codes.grad is not None, corruption
            assert codes.grad.abs().sum() > 0, corruption

    def test_the_same_codes_give_the_same_answers(self) -> None:
        for corruption in self.corruptions:
            predictor, latent, places, mask = self._given(corruption)
            first, again = (predictor(latent, places, mask).values for _ in range(2))
            assert torch.equal(first, again), corruption

    def _given(self, corruption: Corruption) -> tuple[Predictor, Latent, Tokens, Mask]:
        torch.manual_seed(0)
        predictor, tokens = self.make().eval(), self.tokens()
        mask = masked(tokens, self.mask(), corruption)
        return predictor, self.latent(tokens, mask), tokens.places, mask
