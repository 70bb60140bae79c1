"""The contract of terms: one finite number in float32 whose gradient reaches the codes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unmask.parts import LossValue, Step, Term
from unmask.schedules import Progress
from unmask.structures import Latent, Mask, Prediction, Sequence, Tokens
from unmask.testing.contract import Contract

_SHAPE = (4, 6, 8)  # samples, tokens of each, width


class TermContract(Contract):
    """Tests of one term. Subclass it under a name that starts with ``Test``::

    class TestMyTerm(TermContract):
        def make(self):
            return MyTerm()
    """

    @abstractmethod
    def make(self) -> Term:
        """The term to test."""

    def model(self) -> Any:
        """What the term is started with; None: it looks at no part of the model."""
        return None

    def step(self) -> Step:
        """A finished step of at least two samples whose codes have a gradient, the same in every call."""
        generator = torch.Generator().manual_seed(0)
        values = torch.randn(_SHAPE, generator=generator)
        hidden = torch.rand(_SHAPE[:2], generator=generator).argsort(-1) < _SHAPE[1] // 2
        mask = Mask(hidden, num_hidden=_SHAPE[1] // 2)
        target = mask.asked.gather(values)
        codes = torch.randn(_SHAPE, generator=generator, requires_grad=True)
        loss = LossValue(torch.zeros(()), torch.zeros(target.shape[:2]))
        prediction = Prediction(torch.randn(target.shape, generator=generator), mask.asked)
        return Step(Tokens(values, Sequence()), mask, target, Latent(codes), prediction, loss)

    # What follows are the tests.

    def test_one_finite_number_whose_gradient_reaches_the_codes(self) -> None:
        term, model, step = self._started()
        value = term(step, model)
        assert (value.shape, value.dtype) == ((), torch.float32)
        assert torch.isfinite(value)
        parts = list(step.latent.parts.values()) if step.latent.parts is not None else [step.latent]
        codes = [codes for part in parts for codes in (part.values, part.prefix, part.features) if codes is not None]
        made = step.given.shown.made.values() if step.given is not None else ()  # by a corruption that learns
        codes = [one for one in [*codes, *made] if isinstance(one, Tensor) and one.requires_grad]
        reached = [grad for grad in torch.autograd.grad(value, codes, allow_unused=True) if grad is not None]
        assert all(torch.isfinite(grad).all() for grad in reached)
        assert sum(grad.abs().sum() for grad in reached) > 0

    def test_codes_in_16_bits_are_enough(self) -> None:
        term, model, step = self._started()
        half = step._replace(latent=_in_16_bits(step.latent))
        with torch.autocast("cpu", torch.bfloat16):
            value = term(half, model)
        assert value.dtype == torch.float32
        assert torch.isfinite(value)

    def test_the_step_stays_as_it_is(self) -> None:
        term, model, step = self._started()
        before = [tensor.detach().clone() for tensor in _tensors(step)]
        term(step, model)
        assert all(torch.equal(one, other) for one, other in zip(before, _tensors(step), strict=True))

    def test_an_update_gives_numbers(self) -> None:
        term, model, _ = self._started()
        assert all(isinstance(value, int | float) for value in term.update(model, Progress()).values())

    def _started(self) -> tuple[Term, Any, Step]:
        torch.manual_seed(0)
        term, model = self.make(), self.model()
        term.start(model)
        return term, model, self.step()


def _in_16_bits(latent: Latent) -> Latent:
    if latent.parts is not None:
        return Latent.join({name: _in_16_bits(part) for name, part in latent.parts.items()})
    prefix = None if latent.prefix is None else latent.prefix.detach().bfloat16()
    return replace(latent, values=latent.values.detach().bfloat16(), prefix=prefix)


def _tensors(step: Step) -> list[Tensor]:
    """Those of one part; of joint hand-offs, the mask alone."""
    known = [step.tokens.values, step.mask.hidden, step.target, step.latent.values]
    known += [step.prediction and step.prediction.values]
    return [one for one in known if isinstance(one, Tensor)]
