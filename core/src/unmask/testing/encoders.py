"""The contract of encoders: nothing of a hidden value reaches the codes, and one code per place that is seen."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence as Several
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from unmask.parts import Corruption, Encoder
from unmask.schedules import Progress
from unmask.structures import Grid, Latent, Mask, Sequence, Set, Tokens
from unmask.testing.contract import PartContract, disturbed, masked, streams, unseen
from unmask.training.activations import checkpoint_activations


class EncoderContract(PartContract):
    """Tests of one encoder. Subclass it under a name that starts with ``Test``::

        class TestMyEncoder(EncoderContract):
            def make(self):
                return MyEncoder(width=16, depth=2)

            def tokens(self):
                return Tokens(torch.randn(3, 12, 4), Sequence())

    Attributes:
        corruptions: how hidden places may be shown to it.
        coarse: whether it makes fewer codes than there are places.
    """

    corruptions: ClassVar[Several[Corruption]] = (Corruption(drop=1), Corruption(token=1))
    coarse: ClassVar[bool] = False

    @abstractmethod
    def make(self) -> Encoder:
        """A small encoder, freshly initialised."""

    # What follows are the tests.

    def test_tells_its_width_and_layers(self) -> None:
        encoder = self._ready()
        assert encoder.width >= 1
        assert encoder.num_layers >= 0  # a stem has none

    def test_without_a_mask_everything_is_coded(self) -> None:
        encoder, tokens = self._ready(), self._fixed()
        latent = self._codes(encoder, tokens)
        assert latent.seen is None
        assert latent.values.shape[-1] == encoder.width
        if not self.coarse:
            assert latent.values.shape[:-1] == tokens.values.shape[: latent.values.ndim - 1]
        assert torch.isfinite(latent.values).all()
        pooled = latent.pool("mean", tokens.places)
        assert pooled.shape == (tokens.num_samples, encoder.width)

    def test_one_code_per_place_that_is_seen(self) -> None:
        encoder, tokens = self._ready(), self._fixed()
        for corruption in self.corruptions:
            mask = masked(tokens, self.mask(), corruption)
            latent = self._codes(encoder, tokens, mask)
            assert latent.values.shape[-1] == encoder.width, corruption
            if self.coarse:
                continue
            if mask.show is None:
                assert latent.seen is not None, f"{corruption}: `seen` must tell which places have codes"
                assert torch.equal(latent.seen.index, mask.visible.index), corruption
                assert latent.values.shape[:-1] == mask.visible.index.shape, corruption
            else:
                assert latent.seen is None, corruption
                assert latent.values.shape[:-1] == mask.hidden.shape, corruption

    def test_no_hidden_value_reaches_the_codes(self) -> None:
        """Bit for bit; while visible values do reach them."""
        encoder, tokens = self._ready(), self._fixed()
        for corruption in self.corruptions:
            drawn = self.mask()(tokens, Progress(), streams(tokens))
            shown = corruption(tokens, drawn)
            mask = shown.mask
            codes = self._codes(encoder, shown.tokens, mask)
            again = self._codes(encoder, corruption(disturbed(tokens, unseen(mask)), drawn).tokens, mask)
            first, second = (self._real(latent) for latent in (codes, again))
            assert torch.equal(first, second), f"{corruption}: a hidden value reaches the codes"
            if codes.prefix is not None and again.prefix is not None:
                assert torch.equal(codes.prefix, again.prefix), f"{corruption}: a hidden value reaches the prefix"
            for scale, level in zip(codes.pyramid or (), again.pyramid or (), strict=True):
                assert torch.equal(scale, level), f"{corruption}: a hidden value reaches the pyramid"
            other = self._codes(encoder, disturbed(tokens, ~mask.hidden), mask)
            seen = bool((~mask.hidden).any())  # a corruption may hide a part of every place
            reached = not torch.equal(first, self._real(other))
            assert reached or not seen, f"{corruption}: visible values do not reach the codes"

    def test_padding_reaches_no_code(self) -> None:
        encoder, tokens = self._ready(), self._fixed()
        if tokens.valid is None:
            return
        codes = self._codes(encoder, tokens)
        again = self._codes(encoder, disturbed(tokens, ~tokens.valid))
        for first, second in zip(codes.pool("mean", tokens), again.pool("mean", tokens), strict=True):
            torch.testing.assert_close(first, second)

    def test_the_same_input_gives_the_same_codes(self) -> None:
        encoder, tokens = self._ready(), self._fixed()
        mask = masked(tokens, self.mask(), self.corruptions[0])
        first, again = (self._codes(encoder, tokens, mask).values for _ in range(2))
        assert torch.equal(first, again)

    def test_samples_do_not_see_each_other(self) -> None:
        """Told for dense tokens on core's layouts, which can be cut from a batch."""
        encoder, tokens = self._ready(), self._fixed()
        if tokens.offsets is not None or type(tokens.layout) not in (Set, Sequence, Grid):
            return
        alone = replace(
            tokens,
            values=tokens.values[:1],
            positions=None if tokens.positions is None else tokens.positions[:1],
            valid=None if tokens.valid is None else tokens.valid[:1],
        )
        torch.testing.assert_close(
            self._codes(encoder, alone).values, self._codes(encoder, tokens).values[:1], rtol=1e-4, atol=1e-5
        )

    def test_every_layer_has_codes_and_no_other_has(self) -> None:
        encoder, tokens = self._ready(), self._fixed()
        for layer in range(1, encoder.num_layers + 1):
            with torch.no_grad():
                latent = encoder(tokens, None, layer)
            assert torch.isfinite(latent.values).all(), layer
        for layer in (0, encoder.num_layers + 1):
            with pytest.raises(ValueError, match="`layer`"):
                encoder(tokens, None, layer)

    def test_checkpointed_activations_change_nothing(self) -> None:
        """Codes, gradients and buffers in training are the same, bit for bit; encoders without blocks have nothing to
        checkpoint."""
        plain, tokens = self._ready().train(), self._fixed()
        again = copy.deepcopy(plain)
        if not checkpoint_activations(again):
            return
        mask = masked(tokens, self.mask(), self.corruptions[0])
        found = []
        for encoder in (plain, again):
            torch.manual_seed(2)
            codes = encoder(tokens, mask).values
            codes.square().sum().backward()
            found.append({name: p.grad for name, p in encoder.named_parameters()} | dict(encoder.named_buffers()))
            found[-1]["codes"] = codes
        for name, mine in found[0].items():
            other = found[1][name]
            same = mine is other if mine is None or other is None else torch.equal(mine, other)
            assert same, f"{name} differs where blocks are computed again in the backward pass"

    def _ready(self) -> Encoder:
        torch.manual_seed(0)
        return self.make().eval()

    def _fixed(self) -> Tokens:
        torch.manual_seed(1)
        return self.tokens()

    @staticmethod
    def _real(latent: Latent) -> Tensor:
        """Codes without those that fill up a short row, which stand for no place."""
        filled = latent.seen is not None and latent.seen.valid is not None
        return latent.values[latent.seen.valid] if filled else latent.values  # type: ignore[union-attr]

    @staticmethod
    @torch.no_grad()
    def _codes(encoder: Encoder, tokens: Tokens, mask: Mask | None = None) -> Latent:
        return encoder(tokens, mask)
