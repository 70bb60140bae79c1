"""The contract of formats: what goes out comes back, and what has no place is refused in words."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import pytest
import torch

from unmask.model import MaskedModel
from unmask.runs.match import compare
from unmask.runs.weights import read_weights
from unmask.testing.contract import Contract
from unmask.testing.given import shaken
from unmask.tools.exchange.format import Export, Format
from unmask.tools.exchange.matching import Reading, best_reading


class FormatContract(Contract):
    """Tests of one format. Subclass it under a name that starts with ``Test``::

    class TestMyFormat(FormatContract):
        def make(self):
            return MyFormat()

        def model(self):
            return MyMethod(encoder=MyEncoder(width=32))
    """

    @abstractmethod
    def make(self) -> Format:
        """The format to test."""

    @abstractmethod
    def model(self) -> MaskedModel:
        """A small model whose encoder the format has a place for."""

    def other(self) -> MaskedModel | None:
        """The like with an encoder of another width; None: not tested."""
        return None

    def foreign(self) -> MaskedModel | None:
        """A model whose encoder the format has no place for; None: it has one for all."""
        return None

    def batch(self) -> Any:
        """A raw batch of at least three samples, for programs."""
        raise NotImplementedError

    @pytest.fixture
    def trained(self) -> MaskedModel:
        """The model with values that no initialisation gives."""
        return shaken(self.model().eval())

    # What follows are the tests.

    def test_a_fitting_encoder_is_not_refused(self) -> None:
        assert self.make().refusal(self.model()) is None

    def test_a_foreign_encoder_is_refused_in_one_line(self) -> None:
        foreign = self.foreign()
        if foreign is None:
            return
        refusal = self.make().refusal(foreign)
        assert refusal is not None
        assert "\n" not in refusal
        assert refusal.endswith(".")
        assert "`" in refusal, "it should name a format that would do"

    def test_what_is_written_says_how_to_load_it(self, trained: MaskedModel, tmp_path: Path) -> None:
        """And the model is left as it was."""
        made, out = self.make(), tmp_path / f"written{self.make().suffix}"
        export = self._export(trained)
        before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
        made.save(export, out)
        assert out.is_dir() if not made.suffix else out.is_file()
        usage = made.usage(export, out)
        assert str(out) in usage
        compile(usage, "usage", "exec")
        assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())
        assert not any(module.training for module in trained.modules())

    def test_the_round_trip_is_exact(self, trained: MaskedModel, tmp_path: Path) -> None:
        made, out = self.make(), tmp_path / f"written{self.make().suffix}"
        if not made.reads:
            return
        made.save(self._export(trained), out)
        read = made.load(read_weights(out).tensors, trained)
        left = made.unheld(trained)
        own = trained.embedder.encoder.state_dict()
        assert set(left) < set(own) | {"mask_token"}, "a format holds something of every encoder"
        for name, tensor in own.items():
            if name not in left:
                assert torch.equal(read[f"encoder.{name}"], tensor), name
        found = {name.removeprefix("encoder."): x for name, x in read.items() if name.startswith("encoder.")}
        assert compare(trained.encoder, found, left).fits

    def test_a_prefix_and_a_wrapper_are_seen_through(self, trained: MaskedModel, tmp_path: Path) -> None:
        made, out = self.make(), tmp_path / f"written{self.make().suffix}"
        if not made.reads:
            return
        made.save(self._export(trained), out)
        wrapped = {"optimizer.step": torch.zeros(1)}
        wrapped |= {f"state.module.{name}": x for name, x in read_weights(out).tensors.items()}
        reading = best_reading(self.model(), wrapped)
        expected = Reading("", made).load(read_weights(out).tensors, trained)
        got = reading.load(wrapped, trained)
        assert reading.prefix == "state.module"
        assert all(torch.equal(got[name], expected[name]) for name in expected if name.startswith("encoder."))

    def test_another_size_is_seen(self, trained: MaskedModel, tmp_path: Path) -> None:
        made, out, other = self.make(), tmp_path / f"written{self.make().suffix}", self.other()
        if not made.reads or other is None:
            return
        made.save(self._export(trained), out)
        read = made.load(read_weights(out).tensors, other)
        found = {name.removeprefix("encoder."): x for name, x in read.items() if name.startswith("encoder.")}
        report = compare(other.encoder, found, made.unheld(other))
        assert report.mismatched
        assert not report.missing

    def _export(self, model: MaskedModel) -> Export:
        return Export(model, "model: {class_path: somewhere.Something}\n", seed=0, step=0, batch=self.batch)
