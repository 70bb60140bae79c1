"""The contract of methods over several parts: leaks, one part alone, budgets, order, lacking parts, resuming.

It needs pytest, as `unmask.testing` does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unmask import Draws, Latent, Mask, MaskedModel, Step, Tokens, seeds
from unmask.testing import MethodContract, disturbed, unseen


class JointContract(MethodContract):
    """Tests of one method over several parts. Subclass it under a name that starts with ``Test``::

        class TestMyMethod(JointContract):
            num_visible = 8

            def make(self):
                return MyMethod(...)

            def batch(self):
                return {"image": ..., "depth": ...}

            def alone(self):
                return MyMethod(... of the image alone), MAE(... with the same weights), {"image": ...}

    Attributes:
        num_visible: places that each sample shows, of all parts together; None: each part hides by a mask of its own.
        may_lack: parts that samples may lack; None: any one of them.
        no_alone: why there is no method of one part to compare with, where there is none.
        no_lack: why no part may be lacking, where none may.
    """

    num_visible: ClassVar[int | None] = None
    may_lack: ClassVar[Collection[str] | None] = None
    no_alone: ClassVar[str] = ""
    no_lack: ClassVar[str] = ""

    def alone(self) -> tuple[MaskedModel, MaskedModel, Any]:
        """The method of one part, the method of that modality with the same weights, and a batch for both."""
        raise NotImplementedError(f"{type(self).__name__} must have `alone`, or say in `no_alone` why not.")

    # What follows are the tests.

    def test_no_hidden_value_of_any_part_reaches_a_code_or_an_answer(self) -> None:
        """Part by part, bit for bit. Visible values must reach some, or the test could not fail."""
        model = self._ready()
        with torch.no_grad():
            tokens, mask = self._given(model)
            first = _stepped(model, self._fixed(), tokens, mask)
            assert first.given is not None
            hidden = unseen(first.given.shown.mask)
            for name, places in hidden.items():
                silent = {one: torch.zeros_like(other) for one, other in hidden.items()}
                other = disturbed(tokens, silent | {name: places})
                again = _stepped(model, self._fixed(), other, mask)
                assert _same(first, again), f"a hidden value of `{name}` reaches a code or an answer"
            visible = {name: ~part.hidden & _real(part) for name, part in (mask.parts or {}).items()}
            again = _stepped(model, self._fixed(), disturbed(tokens, visible), mask)
            assert not _same(first, again), "no visible value reaches a code or an answer"

    def test_one_part_alone_is_the_method_of_that_modality(self) -> None:
        """Bit for bit: codes, loss, and the gradients of the encoder in any order."""
        if self.no_alone:
            pytest.skip(self.no_alone)
        joint, single, batch = self.alone()
        own = single.eval().tokenizer(batch)
        (name,) = joint.eval().tokenizer(batch).parts or {}
        drawn = single.mask(own, single.progress, _streams(own))
        one = _stepped(joint, batch, None, replace(Mask.join({name: drawn}), draws=drawn.draws))
        other = _stepped(single, batch, None, drawn)
        assert torch.equal(one.latent.part(name).values, other.latent.values)
        assert torch.equal(one.loss.total, other.loss.total)
        one.loss.total.backward()
        other.loss.total.backward()
        ours, theirs = (_gradients(model) for model in (joint, single))
        assert theirs
        assert ours == theirs

    def test_budgets_are_exact_and_padding_is_neither_hidden_nor_asked(self) -> None:
        model = self._ready()
        tokens, _ = self._given(model)
        for seed in range(30):
            mask = model.mask(tokens, model.progress, _streams(tokens, seed))
            parts = dict(mask.parts or {})
            for name, part in parts.items():
                assert not (part.hidden & ~_real(part)).any(), f"padding of `{name}` is hidden"
                assert part.predict is None or not (part.predict & ~_real(part)).any(), f"padding of `{name}` is asked"
            if self.num_visible is not None:
                shown = torch.stack([(~part.hidden & _real(part)).sum(1) for part in parts.values()]).sum(0)
                assert shown.tolist() == [self.num_visible] * tokens.num_samples

    def test_the_order_of_parts_is_no_matter(self) -> None:
        """All hand-offs with their parts the other way round: the same codes and losses, but for rounding."""
        model = self._ready()
        with torch.no_grad():
            tokens, mask = self._given(model)
            first = _stepped(model, self._fixed(), tokens, mask)
            names = list(tokens.parts or {})[::-1]
            turned = Mask.join({name: mask.part(name) for name in names})
            turned = replace(turned, num_hidden=mask.num_hidden, draws=mask.draws)
            other = Tokens.join({name: tokens.part(name) for name in names})
            again = _stepped(model, self._fixed(), other, turned)
        for name in names:
            _close(first.latent.part(name).values, again.latent.part(name).values)
        _close(first.loss.total, again.loss.total)
        assert first.terms.keys() == again.terms.keys()
        for name in first.terms:
            _close(first.terms[name], again.terms[name])

    def test_a_sample_may_lack_a_part(self) -> None:
        """Nothing of what is not there is hidden, asked or read, and nothing changes for the other samples."""
        if self.no_lack:
            pytest.skip(self.no_lack)
        model = self._ready()
        tokens, _ = self._given(model)
        whole = _stepped(model, self._fixed(), tokens)
        names = list(tokens.parts or {})
        for name in names if self.may_lack is None else self.may_lack:
            lacking = torch.arange(tokens.num_samples) % 2 == 0
            given = lacking_part(tokens, name, lacking)
            everywhere = {one: torch.zeros_like(_valid(tokens.part(one))) for one in names}
            everywhere[name] = lacking[:, None] & _valid(tokens.part(name))
            noisy = lacking_part(disturbed(tokens, everywhere), name, lacking)
            first, again = (_stepped(model, self._fixed(), one) for one in (given, noisy))
            mask = first.mask.part(name)
            assert not mask.hidden[lacking].any()
            assert mask.predict is None or not mask.predict[lacking].any()
            seen = first.latent.part(name).seen
            assert seen is None or (seen.valid is not None and not seen.valid[lacking].any()), "padding is seen"
            assert torch.isfinite(first.loss.total)
            assert torch.equal(first.loss.total, again.loss.total), f"what is not there of `{name}` is read"
            for one in names:
                hidden, before = (step.mask.part(one).hidden[~lacking] for step in (first, whole))
                assert torch.equal(hidden, before), "what a sample lacks changes the mask of another"
                codes, before = (_spread(step.latent.part(one), tokens.part(one))[~lacking] for step in (first, whole))
                _close(codes, before)
            model.zero_grad()
            first.loss.total.backward()
            assert all(torch.isfinite(one.grad).all() for one in model.parameters() if one.grad is not None)

    def test_a_resumed_run_equals_one_never_stopped(self, tmp_path: Path) -> None:
        whole, half, rest = (self._ready().train() for _ in range(3))
        samples = _samples(self._fixed())
        _fitted(whole, samples, seed=5)
        _fitted(half, samples, seed=5, saved=tmp_path / "half.ckpt")
        _fitted(rest, samples, seed=77, resume=tmp_path / "half.ckpt")
        stopped = half.state_dict()
        for name, value in whole.state_dict().items():
            assert torch.equal(value, rest.state_dict()[name]), name
        assert any(not torch.equal(value, stopped[name]) for name, value in whole.state_dict().items())

    def _given(self, model: MaskedModel) -> tuple[Tokens, Mask]:
        """Tokens of the batch and the mask that a step draws for them."""
        tokens = model.tokenizer(self._fixed())
        return tokens, model.mask(tokens, model.progress, _streams(tokens))


def lacking_part(tokens: Tokens, name: str, lacking: Tensor) -> Tokens:
    """The same joint tokens, of which some samples ``[B]`` lack the part of this name: it is padding."""
    part = tokens.part(name)
    valid = _valid(part) & ~lacking[:, None]
    return Tokens.join({**(tokens.parts or {}), name: replace(part, valid=valid)})


def _streams(tokens: Tokens, seed: int = 0) -> Draws:
    return Draws.of(seeds.mix("contract", seed), torch.arange(tokens.num_samples, device=tokens.device))


def _stepped(model: MaskedModel, batch: Any, tokens: Tokens | None, mask: Mask | None = None) -> Step:
    """A step with these tokens and this mask, where they are given."""
    torch.manual_seed(2)
    given = {model.tokenizer: tokens, model.mask: mask}
    for part, made in given.items():
        if made is not None:
            part.forward = lambda *_, made=made, **__: made
    try:
        return model.step(batch, seeds.mix("contract", 0))
    finally:
        for part, made in given.items():
            if made is not None:
                del part.forward


def _same(one: Step, other: Step) -> bool:
    """Whether all codes, those of inner layers too, and all answers are, bit for bit."""
    return all(map(torch.equal, _made(one), _made(other)))


def _made(step: Step) -> list[Tensor]:
    found = _codes(step.latent)
    answers = [step.prediction, *(answer.prediction for answer in step.objectives.values())]
    for answer in answers:
        if answer is not None:
            found += [one.values for one in (answer.parts or {"": answer}).values()]
    return found


def _codes(latent: Latent) -> list[Tensor]:
    below = [*(latent.parts or {}).values(), *(latent.inner or {}).values()]
    own = [one for one in (latent.prefix, None if latent.parts else latent.values) if one is not None]
    return own + [one for part in below for one in _codes(part)]


def _real(mask: Mask) -> Tensor:
    return torch.ones_like(mask.hidden) if mask.valid is None else mask.valid


def _valid(tokens: Tokens) -> Tensor:
    if tokens.valid is not None:
        return tokens.valid
    return torch.ones(tokens.num_samples, tokens.num_tokens, dtype=torch.bool, device=tokens.device)


def _spread(latent: Latent, tokens: Tokens) -> Tensor:
    """Codes ``[B, N, D]`` at their places, 0 where nothing was seen."""
    if latent.seen is None:
        return latent.values * _valid(tokens)[..., None]
    shape = (tokens.num_samples, tokens.num_tokens, latent.values.shape[-1])
    return latent.seen.scatter(latent.values, latent.values.new_zeros(shape))


def _gradients(model: MaskedModel) -> list[tuple[Any, ...]]:
    found = [one.grad for one in model.parameters() if one.grad is not None]
    return sorted((tuple(one.shape), *one.flatten()[:8].tolist(), float(one.abs().sum())) for one in found)


def _close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def _samples(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The samples of a batch, each with its number."""
    size = next(len(one) for one in batch.values() if isinstance(one, Tensor) and one.ndim)
    return [
        {name: one[i] if isinstance(one, Tensor) and one.ndim else one for name, one in batch.items()} | {"index": i}
        for i in range(size)
    ]


def _fitted(
    model: MaskedModel, samples: list[Any], seed: int, saved: Path | None = None, resume: Path | None = None
) -> None:
    """Four steps of training; or two, after which a checkpoint is written and the run ends."""

    class Stops(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if saved is not None and trainer.global_step == 2:
                trainer.save_checkpoint(saved)
                trainer.should_stop = True

    torch.manual_seed(seed)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_steps=4, logger=False, enable_checkpointing=False, callbacks=[Stops()],
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(model, DataLoader(samples, batch_size=len(samples)), ckpt_path=resume)  # type: ignore[arg-type]
