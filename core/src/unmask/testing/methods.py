"""The contract of methods: a step that hides, encodes, predicts and learns, with nothing leaking past the mask."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

import torch

from unmask import seeds
from unmask.joint import answered
from unmask.model import MaskedModel, Step
from unmask.objectives import asking
from unmask.schedules import Progress
from unmask.structures import KEPT
from unmask.testing.contract import Contract, disturbed, streams, unseen


class MethodContract(Contract):
    """Tests of one method. Subclass it under a name that starts with ``Test``::

        class TestMyMethod(MethodContract):
            def make(self):
                return MyMethod(width=16, depth=2)

            def batch(self):
                return {"x": torch.randn(4, 32)}

    Attributes:
        unused: parameters of the encoder that this method leaves without a gradient, by the end of their names.
        num_steps: on one batch, after which the loss must have fallen.
        lr: learning rate of those steps.
    """

    unused: ClassVar[Collection[str]] = ("mask_token",)
    num_steps: ClassVar[int] = 20
    lr: ClassVar[float] = 1e-3

    @abstractmethod
    def make(self) -> MaskedModel:
        """A small model, freshly initialised."""

    @abstractmethod
    def batch(self) -> Any:
        """A raw batch as its data has them, the same in every call."""

    # What follows are the tests.

    def test_a_step_hides_asks_and_answers(self) -> None:
        step = self._step(self._ready())
        assert step.mask.hidden.any()
        assert step.loss.total.shape == ()
        assert torch.isfinite(step.loss.total)
        if step.prediction is None:  # a method of terms alone
            assert step.terms
            return
        answers = _by_part(step.prediction)
        for name, prediction in answers.items():
            asked, index = prediction.asked.index, step.mask.part(name).asked.index
            if asked.ndim > index.ndim:  # several answers at each place, in groups
                index = index[:, None].expand_as(asked)
            assert torch.equal(asked, index)
            target = step.target if isinstance(step.target, torch.Tensor) else step.target[name]
            assert not target.requires_grad
        assert step.loss.per_token.numel() == sum(one.asked.index.numel() for one in answers.values())

    def test_the_seed_decides_the_step(self) -> None:
        model = self._ready()
        first, again, other = (self._step(model, seed) for seed in (0, 0, 1))
        assert torch.equal(first.loss.total, again.loss.total)
        if not _autoencodes(first):
            assert not torch.equal(first.mask.hidden, other.mask.hidden) or _shown_otherwise(first, other)

    def test_no_hidden_value_reaches_the_answers(self) -> None:
        """Bit for bit, through encoder and predictor; where a value is kept in sight, it is not hidden. Of a method
        that predicts nothing, the codes are looked at."""
        model, batch = self._ready(), self._fixed()
        with torch.no_grad():
            tokens = model.tokenizer(batch)
            hidden = model.mask(tokens, Progress(), streams(tokens))
            unknown = unseen(model.corruption(tokens, hidden).mask)
            if isinstance(unknown, dict) and tokens.parts is None:  # several masks of the same tokens, one at a time
                others: list[tuple[str | None, Any]] = [(name, disturbed(tokens, unknown[name])) for name in unknown]
            else:
                others = [(None, disturbed(tokens, unknown))]
            made: list[dict[str, Any]] = [{}, {}]
            for name, other in others:
                for found, given in zip(made, (tokens, other), strict=True):
                    shown = model.corruption(given, hidden)
                    latent = model.encoded(shown)
                    asked = asking(shown.mask, model.ask)
                    parts = _by_part(
                        answered(model.predictor, latent.codes, given.places, asked) if model.loss else latent
                    )
                    found |= parts if name is None else {name: parts[name]}
        for first, again in zip(*(one.values() for one in made), strict=True):
            assert torch.equal(first.values, again.values), "a hidden value reaches the answers"
            prefix = getattr(first, "prefix", None)
            assert prefix is None or torch.equal(prefix, again.prefix), "a hidden value reaches the prefix"

    def test_the_gradient_reaches_all_of_the_encoder_and_none_of_the_target(self) -> None:
        model = self._ready().train()
        self._step(model).loss.total.backward()
        without = [
            name
            for name, parameter in model.encoder.named_parameters()
            if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
        ]
        unused = (*self.unused, *model.encoder.not_in_every_batch)
        unexpected = [name for name in without if not name.endswith(unused)]
        assert not unexpected, f"no gradient reaches {unexpected}; if that is meant, name them in `unused`"
        if model.target is not None:
            assert not any(parameter.grad is not None for parameter in model.target.parameters())

    def test_the_loss_falls(self) -> None:
        model = self._ready().train()
        before = self._step(copy.deepcopy(model).eval()).loss.total.item()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=self.lr)
        for _ in range(self.num_steps):
            optimizer.zero_grad()
            self._step(model).loss.total.backward()
            optimizer.step()
        after = self._step(model.eval()).loss.total.item()
        assert after < before, f"{self.num_steps} steps on one batch take the loss from {before:g} to {after:g}"

    def test_weights_are_all_that_a_model_is(self) -> None:
        """Loaded into another, they give the same loss."""
        model, other = self._ready(), self._ready(seed=5)
        other.load_state_dict(model.state_dict())
        assert torch.equal(self._step(model).loss.total, self._step(other).loss.total)

    def test_what_is_used_afterwards_codes_a_batch_with_nothing_hidden(self) -> None:
        model = self._ready()
        with torch.no_grad():
            num_samples = model.embedder.tokenizer(self._fixed()).num_samples
            features = model.embed(self._fixed()).pool("mean")
        assert features.shape == (num_samples, model.embedder.width)
        assert torch.isfinite(features).all()

    def _ready(self, seed: int = 0) -> MaskedModel:
        torch.manual_seed(seed)
        return self.make().eval()

    def _fixed(self) -> Any:
        torch.manual_seed(1)
        return self.batch()

    def _step(self, model: MaskedModel, seed: int = 0) -> Step:
        batch = self._fixed()
        torch.manual_seed(2)  # dropout's, where there is any
        return model.step(batch, seeds.mix("contract", seed))


def _autoencodes(step: Step) -> bool:
    """Whether a step keeps all in sight, as a tokenizer's first stage does: then it need not draw anything."""
    assert step.given is not None
    shown = step.given.shown
    if shown.tokens.parts is not None or shown.mask.show is None or not bool((shown.mask.show == KEPT).all()):
        return False
    return torch.equal(shown.tokens.values, step.tokens.values)


def _shown_otherwise(first: Step, other: Step) -> bool:
    """Whether a step shows other values of the same places, as a method does that hides a part of each."""
    assert first.given is not None
    assert other.given is not None
    one, another = first.given.shown.tokens.values, other.given.shown.tokens.values
    return one.shape == another.shape and not torch.equal(one, another)


def _by_part(given: Any) -> dict[str, Any]:
    """Answers or codes of each part by its name; of one part, under no name."""
    return dict(given.parts) if given.parts is not None else {"": given}
