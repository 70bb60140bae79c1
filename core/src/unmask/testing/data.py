"""The contract of data modules: batches depend on the seed and the epoch, not on workers, kills or resumes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from unmask.data import MaskedDataModule
from unmask.testing.contract import Contract


class DataContract(Contract):
    """Tests of one data module. Subclass it under a name that starts with ``Test``::

        class TestMyData(DataContract):
            def make(self, **options):
                return MyData(folder, batch_size=4, **options)

    Attributes:
        num_batches: batches looked at; an epoch must have at least 3.
    """

    num_batches: ClassVar[int] = 4

    @abstractmethod
    def make(self, **options: Any) -> MaskedDataModule:
        """The data module in small batches; ``options`` are those of every data module (``num_workers``)."""

    # What follows are the tests.

    def test_batches_are_dicts_that_tell_their_samples(self) -> None:
        for batch in self._batches():
            index = self._index(batch)
            assert index.dtype == torch.int64
            assert index.ndim == 1

    def test_the_seed_decides_the_batches(self) -> None:
        first, again, other = (self._batches(seed=seed) for seed in (3, 3, 4))
        assert same(first, again)
        assert not self._same_order(first, other)

    def test_every_epoch_has_an_order_of_its_own(self) -> None:
        assert not self._same_order(self._batches(epoch=0), self._batches(epoch=1))
        assert same(self._batches(epoch=1), self._batches(epoch=1))

    def test_workers_change_nothing(self) -> None:
        assert same(self._batches(), self._batches(num_workers=2))

    def test_an_epoch_goes_on_where_it_stopped(self) -> None:
        whole = self._batches(epoch=2)
        assert len(whole) >= 3, "an epoch of fewer than 3 batches: make them smaller"
        rest = self._batches(epoch=2, done=2)
        assert same(whole[2:], rest[: len(whole) - 2])

    def test_what_was_found_is_said_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        datamodule = self._started(0)
        datamodule.setup("fit")
        found = datamodule.found().strip()
        assert any(letter.isdigit() for letter in found), "`found` must tell how much data there is"
        assert capsys.readouterr().out.count(found) == 1

    def test_the_seed_is_kept_in_a_checkpoint(self) -> None:
        datamodule = self._started(3)
        other = self.make()
        other.load_state_dict(datamodule.state_dict())
        torch.manual_seed(4)
        other.setup("fit")
        assert same(list(islice(other.train_dataloader(), 2)), list(islice(datamodule.train_dataloader(), 2)))

    def test_validation_sees_every_sample_once_in_order(self) -> None:
        datamodule = self._started(0)
        index = torch.cat([self._index(batch) for batch in datamodule.val_dataloader()])
        again = torch.cat([self._index(batch) for batch in datamodule.val_dataloader()])
        assert torch.equal(index, again)
        assert sorted(index.tolist()) == list(range(len(datamodule.splits.val)))  # type: ignore[arg-type]

    def _batches(self, seed: int = 3, epoch: int = 0, done: int = 0, **options: Any) -> list[Any]:
        loader = self._started(seed, **options).train_dataloader()
        loader.where = lambda: (epoch, done)
        return list(islice(loader, self.num_batches))

    def _started(self, seed: int, **options: Any) -> MaskedDataModule:
        datamodule = self.make(**options)
        torch.manual_seed(seed)
        datamodule.setup("fit")
        return datamodule

    def _same_order(self, first: list[Any], second: list[Any]) -> bool:
        return same([self._index(batch) for batch in first], [self._index(batch) for batch in second])

    @staticmethod
    def _index(batch: Any) -> Tensor:
        assert isinstance(batch, Mapping), f"a batch must be a dict, but is a {type(batch).__name__}"
        assert "index" in batch, "a batch must hold `index`, which samples it is made of"
        return batch["index"]


def same(first: Any, second: Any) -> bool:
    """Whether two nested values hold the same numbers, bit for bit."""
    if type(first) is not type(second):
        return False
    if isinstance(first, Tensor):
        return first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, Sequence) and not isinstance(first, str | bytes):
        return len(first) == len(second) and all(map(same, first, second))
    if hasattr(first, "to_dict"):
        return same(first.to_dict(), second.to_dict())
    return bool(first == second)
