"""The contract of masks that are drawn for all parts of a sample at once, as views that must not show the same."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence as Several
from typing import Any, ClassVar

import pytest
import torch

from unmask.parts import MaskSampler
from unmask.schedules import Linear, Progress
from unmask.structures import Mask, Sequence, Tokens
from unmask.testing.contract import Contract, streams


class JointMaskContract(Contract):
    """Tests of one mask that works on samples of several parts alone. Subclass it under a name that starts with
    ``Test``::

        class TestMyMask(JointMaskContract):
            def make(self, **options):
                return MyMask(**options)

    Attributes:
        num_tokens: places of each part.
        nums_parts: how many parts to try.
    """

    num_tokens: ClassVar[int] = 24
    nums_parts: ClassVar[Several[int]] = (2, 3)

    @abstractmethod
    def make(self, **options: Any) -> MaskSampler:
        """The mask to test; ``options`` override its arguments."""

    # What follows are the tests.

    def test_each_part_has_a_mask_of_the_exact_number(self) -> None:
        for number in self.nums_parts:
            tokens = self._tokens(number)
            mask = self._draw(self.make(), tokens)
            assert mask.parts is not None
            assert tokens.parts is not None
            assert list(mask.parts) == list(tokens.parts)
            for name, part in mask.parts.items():
                assert part.hidden.shape == (64, self.num_tokens), name
                assert part.hidden.dtype == torch.bool, name
                assert part.num_hidden is not None, name
                assert set(part.hidden.sum(1).tolist()) == {part.num_hidden}, name
                assert 0 < part.num_hidden < self.num_tokens, name
                asked = part.hidden if part.predict is None else part.predict
                assert not (asked & ~part.hidden).any(), f"{name}: a visible place is asked for"
                assert part.asked.index.shape[1] == int(asked.sum(1).max()), name
                assert torch.equal(part.visible.index, (~part.hidden).nonzero()[:, 1].view(64, -1)), name

    def test_no_place_is_shown_twice(self) -> None:
        for number in self.nums_parts:
            mask = self._draw(self.make(), self._tokens(number))
            assert mask.parts is not None
            shown = sum((~part.hidden).long() for part in mask.parts.values())
            assert int(torch.as_tensor(shown).max()) == 1, f"{number} parts show a place twice"

    def test_places_are_shown_equally_often(self) -> None:
        """Of each part, within five deviations of a binomial count."""
        mask = self._draw(self.make(), self._tokens(2, 4000))
        assert mask.parts is not None
        for name, part in mask.parts.items():
            assert part.num_hidden is not None
            share = 1 - part.num_hidden / self.num_tokens
            found = (~part.hidden).float().mean(0)
            assert float((found - share).abs().max()) < 5 * (share * (1 - share) / 4000) ** 0.5, name

    def test_the_same_seed_gives_the_same_masks(self) -> None:
        sampler, tokens = self.make(), self._tokens(2)
        first, again, other = (self._draw(sampler, tokens, seed) for seed in (0, 0, 1))
        assert torch.equal(first.hidden, again.hidden)
        assert not torch.equal(first.hidden, other.hidden)
        assert len(first.hidden.unique(dim=0)) > 1, "samples of a batch must differ"

    def test_draws_from_the_samples_own_streams_alone(self) -> None:
        """Neither torch's generator nor the other samples of the batch enter a mask."""
        before = torch.get_rng_state()
        sampler, tokens = self.make(), self._tokens(2)
        whole = self._draw(sampler, tokens)
        others = streams(tokens)
        others.keys[:4] = streams(tokens, 1).keys[:4]
        again = sampler(tokens, Progress(), others).hidden
        assert torch.equal(again[4:], whole.hidden[4:]), "another sample changes a sample's mask"
        assert not torch.equal(again[:4], whole.hidden[:4])
        assert torch.equal(before, torch.get_rng_state())

    def test_values_do_not_matter(self) -> None:
        tokens = self._tokens(2)
        assert tokens.parts is not None
        other = Tokens.join({name: Tokens(part.values + 1, part.layout) for name, part in tokens.parts.items()})
        assert torch.equal(self._draw(self.make(), tokens).hidden, self._draw(self.make(), other).hidden)

    def test_one_part_is_refused(self) -> None:
        for tokens in (self._tokens(2).part("part_0"), self._tokens(1)):
            with pytest.raises(ValueError, match=r"\bparts\b"):
                self._draw(self.make(), tokens)

    def test_padded_packed_and_uneven_parts_are_refused(self) -> None:
        first = self._tokens(2).part("part_0")
        valid = torch.ones(64, self.num_tokens, dtype=torch.bool)
        packed = torch.arange(0, 64 * self.num_tokens + 1, self.num_tokens)
        for odd in (
            Tokens(first.values, first.layout, valid=valid),
            Tokens(first.values.flatten(0, 1), first.layout, offsets=packed),
            Tokens(first.values[:, 4:], first.layout),
        ):
            with pytest.raises(ValueError, match=r"dense|as many"):
                self._draw(self.make(), Tokens.join({"part_0": first, "part_1": odd}))

    def test_the_ratio_may_be_scheduled_and_is_in_range(self) -> None:
        if self.make().ratio is None:
            return
        tokens = self._tokens(2)
        scheduled = self.make(ratio=Linear(start=0.5, end=0.75))
        kept = []
        for step in (0, 10):
            mask = self._draw(scheduled, tokens, progress=Progress(step=step, total_steps=10))
            assert mask.parts is not None
            kept.append([part.num_hidden for part in mask.parts.values()])
        assert kept == [[self.num_tokens // 2] * 2, [self.num_tokens * 3 // 4] * 2]
        for ratio in (-0.1, 0.0, 1.0, float("nan")):
            with pytest.raises(ValueError, match=r"`ratio` must be in \(0, 1\), but is"):
                self.make(ratio=ratio)

    @staticmethod
    def _draw(sampler: MaskSampler, tokens: Tokens, seed: int = 0, progress: Progress | None = None) -> Mask:
        return sampler(tokens, progress or Progress(), streams(tokens, seed))

    def _tokens(self, num_parts: int, batch: int = 64) -> Tokens:
        part = Tokens(torch.zeros(batch, self.num_tokens, 3), Sequence())
        return Tokens.join({f"part_{number}": part for number in range(num_parts)})
