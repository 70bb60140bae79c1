"""The contract of agreements: what agrees passes, what does not is told in a line, and strangers are no concern."""

from __future__ import annotations

from abc import abstractmethod
from typing import get_args, get_type_hints

import lightning as L
import pytest

from unmask.agreements import Agreement
from unmask.testing.contract import Contract

Pair = tuple[L.LightningModule, L.LightningDataModule]


class AgreementContract(Contract):
    """Tests of one agreement. Subclass it under a name that starts with ``Test``::

    class TestMyAgreement(AgreementContract):
        def make(self):
            return MyAgreement()

        def agreeing(self):
            return MyMethod(length=128), MyData(length=128)

        def differing(self):
            return MyMethod(length=128), MyData(length=64)
    """

    @abstractmethod
    def make(self) -> Agreement:
        """The agreement to test."""

    @abstractmethod
    def agreeing(self) -> Pair:
        """A model and data that agree."""

    @abstractmethod
    def differing(self) -> Pair | None:
        """A model and data that do not; None: there are none at hand."""

    # What follows are the tests.

    def test_it_says_what_it_compares(self) -> None:
        kind = type(self.make())
        assert len(kind.between) == 2
        assert all(isinstance(side, str) and side for side in kind.between)
        allowed = get_args(get_args(get_type_hints(Agreement)["otherwise"])[0])
        assert kind.otherwise in allowed, f"`otherwise` must be one of {allowed}, but is {kind.otherwise!r}"
        assert "__doc__" in vars(kind), "its docstring is its row in the table of the documentation"
        assert (kind.__doc__ or "").strip()

    def test_what_agrees_passes(self) -> None:
        told = self.make().check(*self.agreeing())
        if self.make().otherwise == "told":
            assert told is None, f"nothing is odd, but it tells: {told}"
        assert told is None or is_line(told)

    def test_what_does_not_agree_is_said_in_a_line(self) -> None:
        pair = self.differing()
        if pair is None:
            return
        if self.make().otherwise == "refused":
            with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
                self.make().check(*pair)
            return
        told = self.make().check(*pair)
        assert told is not None, "they do not agree, but nothing is told"
        assert is_line(told)

    def test_what_was_made_to_agree_does(self) -> None:
        pair = self.differing()
        if pair is not None and self.make().otherwise == "made to agree":
            self.make().check(*pair)
            assert self.make().check(*pair) is None

    def test_strangers_are_no_concern(self) -> None:
        assert self.make().check(L.LightningModule(), L.LightningDataModule()) is None


def is_line(text: str) -> bool:
    """Whether a message is one line with something in it."""
    return bool(text.strip()) and len(text.splitlines()) == 1
