"""The contract of masks: what `MaskedModel.step` relies on, whichever mask it is given."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence as Several
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from unmask.parts import MaskSampler, num_to_hide
from unmask.schedules import Linear, Progress, Spread, Uniform, at
from unmask.structures import Grid, Layout, Mask, Sequence, Set, Tokens
from unmask.testing.contract import Contract, streams


class MaskContract(Contract):
    """Tests of one mask. Subclass it under a name that starts with ``Test``::

        class TestMyMask(MaskContract):
            layouts = [Sequence()]

            def make(self, **options):
                return MyMask(**options)

    Attributes:
        layouts: layouts to try; those of sets and sequences get ``num_tokens`` places.
        refused: layouts that must be refused.
        num_tokens: longest set or sequence to try, a multiple of 4.
        ragged: kinds of layout on which samples may be padded.
        together: whether all samples of a batch hide as many places as the one that hides fewest.
    """

    layouts: ClassVar[Several[Layout]]
    refused: ClassVar[Several[Layout]] = ()
    num_tokens: ClassVar[int] = 48
    ragged: ClassVar[tuple[type[Layout], ...]] = (Set, Sequence)
    together: ClassVar[bool] = False

    @abstractmethod
    def make(self, **options: Any) -> MaskSampler:
        """The mask to test; ``options`` override its arguments."""

    def expected(self, sampler: MaskSampler, num_tokens: int, layout: Layout, progress: Progress) -> int | None:
        """Places to hide among ``num_tokens`` by the documented rule; None: it is drawn anew for
        every batch (and is then only checked to be what the mask says)."""
        assert sampler.ratio is not None, "a mask without a ratio must override `expected`"
        assert not isinstance(sampler.ratio, Spread)
        return num_to_hide(num_tokens, at(sampler.ratio, progress))

    # What follows are the tests.

    @pytest.mark.parametrize("batch", [1, 16, 1000])
    def test_hides_the_exact_number(self, batch: int) -> None:
        sampler = self.make()
        for layout in self.layouts:
            tokens = self._dense(layout, batch)
            num_tokens = tokens.values.shape[1]
            mask = self._draw(sampler, tokens)
            assert mask.hidden.shape == (batch, num_tokens), layout
            assert mask.hidden.dtype == torch.bool, layout
            assert mask.hidden.device == tokens.values.device, layout
            assert mask.valid is None, layout
            expected = self.expected(sampler, num_tokens, layout, Progress())
            counts = mask.hidden.sum(1)
            assert mask.num_hidden is not None, layout
            assert 0 < mask.num_hidden < num_tokens, layout
            assert set(counts.tolist()) == {mask.num_hidden}, layout
            assert expected in (None, mask.num_hidden), layout

    def test_index_views_agree_with_the_mask(self) -> None:
        sampler = self.make()
        for layout in self.layouts:
            for tokens in self._all_forms(layout):
                mask = self._draw(sampler, tokens)
                visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
                asked = mask.hidden if mask.predict is None else mask.predict
                for places, chosen in ((mask.visible, visible), (mask.asked, asked)):
                    assert torch.equal(_as_bool(places.index, places.valid, chosen), chosen), layout
                    steps = places.index.diff(dim=-1)
                    real = torch.ones_like(steps, dtype=torch.bool)
                    if places.valid is not None:
                        real = places.valid[..., 1:]
                    assert (steps[real] > 0).all(), f"{layout}: indices must ascend"
                if mask.num_predict is not None:
                    assert (asked.sum(-1) == mask.num_predict).all(), layout

    def test_asks_only_where_nothing_is_shown(self) -> None:
        sampler = self.make()
        for layout in self.layouts:
            mask = self._draw(sampler, self._dense(layout, 100))
            if mask.predict is None:
                continue
            assert mask.predict.any(-1).all(), layout
            groups = mask.predict if mask.predict.ndim == 3 else mask.predict[:, None]
            assert not (groups & ~mask.hidden[:, None]).any(), f"{layout}: a visible place is asked for"

    def test_the_same_seed_gives_the_same_mask(self) -> None:
        sampler = self.make()
        for layout in self.layouts:
            tokens = self._dense(layout, 16)
            first, again, other = (self._draw(sampler, tokens, seed) for seed in (0, 0, 1))
            assert torch.equal(first.hidden, again.hidden), layout
            if first.predict is not None and again.predict is not None:
                assert torch.equal(first.predict, again.predict), layout
            assert not torch.equal(first.hidden, other.hidden), layout

    def test_draws_from_the_samples_own_streams_alone(self) -> None:
        """Neither torch's generator nor the other samples of the batch enter a mask."""
        sampler = self.make()
        before = torch.get_rng_state()
        for layout in self.layouts:
            tokens = self._dense(layout, 16)
            whole = self._draw(sampler, tokens)
            if self.together:
                continue
            others = streams(tokens)
            others.keys[:4] = streams(tokens, 1).keys[:4]
            again = sampler(tokens, Progress(), others).hidden
            assert torch.equal(again[4:], whole.hidden[4:]), f"{layout}: another sample changes a sample's mask"
            assert not torch.equal(again[:4], whole.hidden[:4]), layout
        assert torch.equal(before, torch.get_rng_state())

    def test_samples_of_a_batch_differ(self) -> None:
        sampler = self.make()
        for layout in self.layouts:
            hidden = self._draw(sampler, self._dense(layout, 64)).hidden
            assert len(hidden.unique(dim=0)) > 1, layout

    def test_padding_is_never_chosen(self) -> None:
        sampler = self.make()
        for layout in self.layouts:
            if not isinstance(layout, self.ragged):
                continue
            tokens = self._padded(layout)
            mask = self._draw(sampler, tokens)
            assert tokens.valid is not None
            assert mask.valid is tokens.valid, layout
            assert not (mask.hidden & ~tokens.valid).any(), layout
            if mask.predict is not None:
                groups = mask.predict if mask.predict.ndim == 3 else mask.predict[:, None]
                assert not (groups & ~(mask.hidden & tokens.valid)[:, None]).any(), f"{layout}: padding is asked for"
                assert groups.any(-1).all(), layout
            for hidden, length in zip(mask.hidden.sum(1).tolist(), tokens.valid.sum(1).tolist(), strict=True):
                assert self.expected(sampler, length, layout, Progress()) in (None, hidden), layout
                assert 0 < hidden < length, layout

    def test_padding_is_refused_where_it_does_not_work(self) -> None:
        for layout in self.layouts:
            if not isinstance(layout, self.ragged):
                with pytest.raises(ValueError, match="padd"):
                    self._draw(self.make(), self._padded(layout))

    def test_packed_equals_dense(self) -> None:
        sampler = self.make()
        for layout in self.layouts:
            if isinstance(layout, Grid) or not isinstance(layout, self.ragged):
                continue
            dense = self._padded(layout)
            assert dense.valid is not None
            packed = self._draw(sampler, self._packed(dense))
            assert torch.equal(packed.hidden, self._draw(sampler, dense).hidden[dense.valid]), layout

    def test_the_ratio_may_be_drawn_for_each_sample(self) -> None:
        sampler = self.make()
        if sampler.ratio is None:
            return
        for layout in self.layouts:
            tokens = self._dense(layout, 16)
            sampler.ratio = Uniform(0.5, 0.5)
            assert len(self._draw(sampler, tokens).hidden.sum(1).unique()) == 1, layout
            sampler.ratio = Uniform(0.1, 0.9)
            mask = self._draw(sampler, tokens)
            assert mask.num_hidden is None, layout
            assert len(mask.hidden.sum(1).unique()) > 1, layout

    def test_the_ratio_may_be_scheduled(self) -> None:
        sampler = self.make()
        if sampler.ratio is None:
            return
        sampler.ratio = Linear(start=0.25, end=0.75)
        for layout in self.layouts:
            tokens = self._dense(layout, 4)
            for step in (0, 5, 10):
                progress = Progress(step=step, total_steps=10)
                mask = self._draw(sampler, tokens, progress=progress)
                expected = self.expected(sampler, tokens.values.shape[1], layout, progress)
                assert mask.num_hidden == expected, layout
                assert set(mask.hidden.sum(1).tolist()) == {expected}, layout

    @pytest.mark.parametrize("ratio", [-0.1, 0.0, 1.0, 1.4, float("nan")])
    def test_a_ratio_out_of_range_is_refused(self, ratio: float) -> None:
        if self.make().ratio is None:
            return
        with pytest.raises(ValueError, match=r"`ratio` must be in \(0, 1\), but is"):
            self.make(ratio=ratio)
        with pytest.raises(ValueError, match=r"`ratio` must be in \(0, 1\), but is"):
            self._draw(self.make(ratio=Linear(ratio, ratio)), self._dense(self.layouts[0], 2))

    def test_other_layouts_are_refused(self) -> None:
        for layout in self.refused:
            with pytest.raises(ValueError, match=type(layout).__name__):
                self._draw(self.make(), self._dense(layout, 2))

    def test_a_sample_too_small_is_refused(self) -> None:
        for layout in self.layouts:
            one: Layout = Grid((1,) * len(layout.shape)) if isinstance(layout, Grid) else layout
            with pytest.raises(ValueError, match="must"):
                self._draw(self.make(), Tokens(torch.zeros(2, 1, 3), one))

    @staticmethod
    def _draw(sampler: MaskSampler, tokens: Tokens, seed: int = 0, progress: Progress | None = None) -> Mask:
        return sampler(tokens, progress or Progress(), streams(tokens, seed))

    def _dense(self, layout: Layout, batch: int) -> Tokens:
        num_tokens = math.prod(layout.shape) if isinstance(layout, Grid) else self.num_tokens
        return Tokens(torch.zeros(batch, num_tokens, 3), layout)

    def _padded(self, layout: Layout) -> Tokens:
        """Samples of four lengths; on a grid, of fewer and fewer rows (planes, when it has three sides)."""
        tokens = self._dense(layout, 4)
        num_tokens = tokens.values.shape[1]
        slices = layout.shape[0] if isinstance(layout, Grid) else 4
        lengths = torch.tensor([max(slices - cut, 1) * (num_tokens // slices) for cut in range(4)])
        return Tokens(tokens.values, layout, valid=torch.arange(num_tokens) < lengths[:, None])

    @staticmethod
    def _packed(dense: Tokens) -> Tokens:
        assert dense.valid is not None
        offsets = torch.nn.functional.pad(dense.valid.sum(1).cumsum(0), (1, 0))
        return Tokens(dense.values[dense.valid], dense.layout, offsets=offsets)

    def _all_forms(self, layout: Layout) -> list[Tokens]:
        forms = [self._dense(layout, 16)]
        if isinstance(layout, self.ragged):
            forms.append(self._padded(layout))
            if not isinstance(layout, Grid):
                forms.append(self._packed(forms[1]))
        return forms


def _as_bool(index: Tensor, valid: Tensor | None, like: Tensor) -> Tensor:
    """The bool that indices stand for, shaped as ``like``."""
    source = torch.ones_like(index, dtype=torch.long) if valid is None else valid.long()
    return torch.zeros_like(like, dtype=torch.long).scatter_add(-1, index, source) == 1
