"""Two objects are told apart by what they were made with, and a data module is written as a config has it."""

import copy
import pickle
from pathlib import Path

import pytest
from torch.utils.data import TensorDataset

from unmask.data import MaskedDataModule, Splits
from unmask.runs.alike import arguments_of, config_of, difference


class Numbers(MaskedDataModule):
    def __init__(self, folder, sizes=(1, 2), scale=None, batch_size=4, **more):
        super().__init__(batch_size, **more)

    def load(self):
        return Splits(TensorDataset(), TensorDataset())


PARENTS = {"val_batch_size": None, "augment": None, "drop_last": True}
"""Defaults of `MaskedDataModule` that nobody gave."""


class Others(Numbers):
    pass


class Scale:
    def __init__(self, factor):
        self.factor = factor


def test_arguments_are_kept_with_defaults():
    data = Numbers("a", scale=3, num_workers=1)
    expected = {"folder": "a", "sizes": (1, 2), "scale": 3, "batch_size": 4, "num_workers": 1} | PARENTS
    for one in (data, copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert arguments_of(one) == expected
    assert arguments_of(Scale(1)) is None


def test_what_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("link").symlink_to("there")
    for theirs, mine in (
        (Numbers("a", [1, 2]), Numbers(folder="a")),
        (Numbers("a", batch_size=1), Numbers("a", batch_size=2)),
        (Numbers("there"), Numbers(tmp_path / "there")),
        (Numbers("./link/"), Numbers("there")),
        (Numbers("a", scale=Scale(2)), Numbers("a", scale=Scale(2.0))),
        (Numbers("a", scale=Numbers("b", batch_size=1)), Numbers("a", scale=Numbers("b"))),
    ):
        assert difference(theirs, mine) is None


@pytest.mark.parametrize(
    ("theirs", "mine", "said"),
    [
        (Numbers("a"), Numbers("b"), "`folder` 'a' instead of 'b'"),
        (Numbers("a"), Others("a"), "Numbers instead of Others"),
        (
            Numbers("a", (1, 3)),
            Numbers("a", scale=0.5),
            "`sizes` [1, 3] instead of [1, 2] and `scale` None instead of 0.5",
        ),
        (Numbers("a", scale=Scale(2)), Numbers("a", scale=Scale(3)), "`scale` {'class':"),
        (Numbers("a", scale=Scale), Numbers("a", scale=Numbers), "`scale` "),
    ],
)
def test_what_is_not(theirs, mine, said):
    assert difference(theirs, mine).startswith(said)


def test_a_config():
    made = config_of(Numbers(Path("a"), scale={"x": (1, None)}))
    assert made["class_path"].endswith("test_alike.Numbers")
    assert (
        made["init_args"]
        == {"folder": "a", "sizes": [1, 2], "scale": {"x": [1, None]}, "batch_size": 4}
        | {"num_workers": None}
        | PARENTS
    )

    class Local(Numbers):
        pass

    for data, said in (
        (Numbers("a", scale=Scale(1)), "cannot say `scale`, a Scale"),
        (Local("a"), "cannot name the class Local"),
    ):
        with pytest.raises(ValueError, match=said):
            config_of(data)
