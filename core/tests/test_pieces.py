"""Pieces of one thing as one row: values by hand, things that are called alike, and kills that leave no trace."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow.parquet
import pytest
import torch

from unmask import Latent, MaskedModel, Sequence, Tokens
from unmask.data import MaskedDataModule, Splits
from unmask.losses import MSELoss
from unmask.masks.random import RandomMask
from unmask.parts import Encoder, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask.tools.features import pieces
from unmask.tools.features.embed import embed
from unmask.tools.features.pieces import means

# Two documents, b cut into three pieces of which the second is held out, and another file that is called a.
TRAIN = [("a", 0, 1.0), ("b", 0, 2.0), ("b", 2, 6.0)]
VAL = [("b", 1, 7.0), ("a", 0, 30.0), ("a", 1, 50.0)]


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Sequence())


class Same(Encoder):
    width, num_layers = 2, 1

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, tokens, mask=None, layer=None):
        return Latent(tokens.values * self.weight)


class Cut(MaskedDataModule):
    classes = ("cat", "dog")

    def __init__(self, extra=lambda name: {"label": int(name == "b")}, hook=lambda i: None, cut=True):
        super().__init__(batch_size=2, num_workers=0)
        self.extra, self.hook, self.cut = extra, hook, cut

    def load(self):
        return Splits(*(Part(self, part) for part in (TRAIN, VAL)))


class Part(torch.utils.data.Dataset):
    def __init__(self, data, rows):
        self.data, self.rows = data, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        self.data.hook(i)
        name, piece, value = self.rows[i]
        own = {"x": torch.tensor([[value, -value]]), "name": name, **self.data.extra(name)}
        return own | ({"piece": piece} if self.data.cut else {})


def model():
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Same(), predictor=LinearPredictor(2, 2),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


def test_means_of_owners_by_hand_whatever_is_summed_at_once(monkeypatch):
    values = np.array([[1, 2], [5, 6], [3, 4], [10, 0], [8, 8]], dtype=np.float32)
    owner = np.array([0, 1, 0, 2, 0])
    for size in (1, 2, 3, 100):
        monkeypatch.setattr(pieces, "NUM_ROWS", size)
        blocks = list(means(values, owner))
        assert np.concatenate(blocks) == pytest.approx(np.array([[4, 14 / 3], [5, 6], [10, 0]]))
        assert len(blocks) == 3 or size > 1
    assert not list(means(np.empty((0, 2), np.float32), np.empty(0, np.int64)))


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_row_for_each_whole_thing(suffix, tmp_path):
    made = embed(model(), Cut(), tmp_path / f"f{suffix}", whole=True)
    assert (made.num_rows, made.num_samples) == (3, 6)
    if suffix == ".parquet":
        rows = pyarrow.parquet.read_table(made.path).to_pylist()
        features = np.array([row["features"] for row in rows])
    else:
        rows, features = list(csv.DictReader(made.ids.open(newline=""))), np.load(made.path)
    assert features.tolist() == [[1, -1], [5, -5], [40, -40]]
    assert [row["name"] for row in rows] == ["a", "b", "a"]
    assert [row["class"] for row in rows] == ["cat", "dog", "cat"]
    assert [row["split"] for row in rows] == ["train", "train;val", "val"]
    assert [int(row["num_pieces"]) for row in rows] == [1, 3, 2]
    assert [int(row["index"]) for row in rows] == [0, 1, 1]
    assert "piece" not in rows[0]
    assert embed(model(), Cut(), tmp_path / f"f{suffix}", whole=True).num_found == 6  # finished already
    with pytest.raises(ValueError, match="was made with whole True, not None"):
        embed(model(), Cut(), tmp_path / f"f{suffix}")


def test_samples_that_are_no_pieces_stay_as_they_are(tmp_path):
    made = embed(model(), Cut(cut=False), tmp_path / "f.npy", whole=True)
    assert np.load(made.path)[:, 0].tolist() == [1, 2, 6, 7, 30, 50]


@pytest.mark.parametrize("at", [5, 7])
def test_a_kill_leaves_no_trace(at, tmp_path):  # the first sample of each part is looked at before
    def stop(i):
        met.append(i)
        if len(met) == at:
            raise KeyboardInterrupt

    made = embed(model(), Cut(), tmp_path / "whole.npy", whole=True, batch_size=1)
    met = []
    with pytest.raises(KeyboardInterrupt):
        embed(model(), Cut(hook=stop), tmp_path / "cut.npy", whole=True, batch_size=1)
    again = embed(model(), Cut(), tmp_path / "cut.npy", whole=True, batch_size=1)
    assert again.num_found > 0
    assert again.path.read_bytes() == made.path.read_bytes() and again.ids.read_bytes() == made.ids.read_bytes()
    assert not (tmp_path / "cut.npy.partial").exists()


def test_what_cannot_be_put_together_is_refused(tmp_path):
    labels = iter(range(20))
    with pytest.raises(ValueError, match="All pieces of `b` must have one label to become one row, but have 4 and 5"):
        embed(model(), Cut(lambda name: {"label": next(labels)}), tmp_path / "f.npy", whole=True, batch_size=3)
    unknown = Cut(lambda name: {"label": float("nan")})
    assert embed(model(), unknown, tmp_path / "g.npy", whole=True).num_rows == 3
    with pytest.raises(ValueError, match="`whole` must be False with `per_token`"):
        embed(model(), Cut(), tmp_path / "h.npy", whole=True, per_token=True)
