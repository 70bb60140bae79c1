"""Probes: known-separable data, chance on noise, pairing, determinism, and no traces left behind."""

from __future__ import annotations

import copy
import json
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from unmask.evaluate.features import evaluating, features, raw_features
from unmask.evaluate.probe import Row, probe_columns
from unmask.evaluate.table import plain, to_json
from unmask.families import Encoder, Tokenizer
from unmask.handoffs import Latent, Sequence, Tokens


class Rows(Tokenizer):
    """Rows of ``batch["x"]`` ``[B, N, V]``, some of them padding."""

    def forward(self, batch):
        return Tokens(batch["x"], Sequence(), valid=batch.get("valid"))


class Doubling(Encoder):
    width = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()
        self.masks = []

    def forward(self, tokens, mask=None):
        self.masks.append(mask)
        return Latent(self.frozen(self.dropout(tokens.values * self.scale)))


def samples(num=6, labels=True):
    x = torch.arange(num * 6, dtype=torch.float).reshape(num, 3, 2)
    return [{"x": x[i]} | ({"label": i % 2} if labels else {}) for i in range(num)]


def test_features_are_pooled_codes_of_everything_without_dropout():
    encoder = Doubling().train()
    encoder.frozen.eval()
    X, y = features(encoder, Rows(), DataLoader(samples(), 4))
    expected = 2 * torch.arange(36.0).reshape(6, 3, 2).mean(1)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, expected.numpy())
    assert y.tolist() == [0, 1, 0, 1, 0, 1]
    assert encoder.masks == [None, None]
    assert encoder.training
    assert encoder.dropout.training
    assert not encoder.frozen.training


def test_no_labels_no_y():
    assert features(Doubling(), Rows(), DataLoader(samples(labels=False), 4))[1] is None


def test_random_states_are_put_back_even_after_an_error():
    def states():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before = states()
    features(Doubling(), Rows(), DataLoader(samples(), 4, shuffle=True))
    assert states() == before
    encoder = Doubling().train()
    with pytest.raises(RuntimeError), evaluating(encoder):  # noqa: PT012
        torch.rand(3), random.random(), np.random.rand()
        raise RuntimeError
    assert states() == before
    assert encoder.training


def test_raw_features_are_flat_values_or_means_of_ragged_ones():
    X, _ = raw_features(Rows(), DataLoader(samples(), 4))
    np.testing.assert_array_equal(X, np.arange(36.0).reshape(6, 6))
    valid = torch.tensor([[True, True, False], [True, False, False]])
    x = torch.arange(12.0).reshape(2, 3, 2)
    X, _ = raw_features(Rows(), [{"x": x, "valid": valid}])
    np.testing.assert_array_equal(X, [[1, 2], [6, 7]])
    with pytest.raises(ValueError, match="ids"):
        raw_features(Rows(), [{"x": torch.zeros(2, 3, dtype=torch.long)}])
    with pytest.raises(ValueError, match="at least one batch"):
        raw_features(Rows(), [])


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    y_train, y_test = np.arange(90) % 3, np.arange(60) % 3
    centers = 10 * np.eye(3, 5)

    def matrix(y, informative):
        noise = rng.normal(size=(len(y), 5))
        return (noise + centers[y] if informative else noise).astype(np.float32)

    columns = {name: (matrix(y_train, good), matrix(y_test, good)) for name, good in (("noise", 0), ("good", 1))}
    return columns, y_train, y_test


def test_separable_features_are_found_and_noise_stays_at_chance(blobs):
    result = probe_columns(*blobs, labels_per_class=(5,), num_draws=4)
    assert [row.name for row in result.rows] == [
        "kNN, all labels",
        "linear, all labels",
        "linear, 5 per class",
    ]
    for row in result.rows:
        assert row.mean("good") == 1
        assert 0.1 < row.mean("noise") < 0.6
    few = result.rows[-1]
    assert len(few.scores["noise"]) == 4
    assert few.gain("good", "noise")[0] == pytest.approx(1 - few.mean("noise"))


def test_same_seed_same_numbers_and_columns_share_their_draws(blobs):
    columns, *labels = blobs
    twins = {"a": columns["noise"], "b": copy.deepcopy(columns["noise"])}
    first = probe_columns(twins, *labels, labels_per_class=(5, 10), num_draws=3, seed=1)
    assert first == probe_columns(twins, *labels, labels_per_class=(5, 10), num_draws=3, seed=1)
    assert first.rows != probe_columns(twins, *labels, labels_per_class=(5, 10), num_draws=3, seed=2).rows
    for row in first.rows:
        assert row.scores["a"] == row.scores["b"]
        assert row.gain("a", "b")[0] == 0


def test_units_of_the_features_do_not_matter(blobs):
    columns, *labels = blobs
    train, test = columns["noise"]
    result = probe_columns({"a": (train, test), "b": (64 * train + 8, 64 * test + 8)}, *labels, num_draws=2)
    for row in result.rows:
        assert row.mean("a") == pytest.approx(row.mean("b"), abs=0.02)


def test_means_errors_and_paired_gains_by_hand():
    row = Row("r", {"a": [0.5, 0.7], "b": [0.6, 0.9]})
    assert row.mean("a") == pytest.approx(0.6)
    assert row.error("a") == pytest.approx(0.1)  # sqrt(0.02 / 2)
    assert row.gain("b", "a") == (pytest.approx(0.15), pytest.approx(0.05))
    assert Row("r", {"a": [0.5]}).error("a") is None


def test_mistakes_name_the_rule(blobs):
    columns, y_train, y_test = blobs
    with pytest.raises(ValueError, match="at most 30, the labels of class 0, but is 31"):
        probe_columns(columns, y_train, y_test, labels_per_class=(31,))
    with pytest.raises(ValueError, match="at least 2 classes"):
        probe_columns(columns, y_train * 0, y_test)
    with pytest.raises(ValueError, match="`num_draws` must be at least 1, but is 0"):
        probe_columns(columns, y_train, y_test, num_draws=0)
    broken = {"x": (columns["good"][0] * np.nan, columns["good"][1])}
    with pytest.raises(ValueError, match="`x` must be finite"):
        probe_columns(broken, y_train, y_test)


def test_table_and_json_say_the_same(blobs):
    result = probe_columns(*blobs, labels_per_class=(5,), num_draws=2, seed=3)
    text = plain(result, about="After 7 steps.")
    assert "After 7 steps." in text
    assert "seed 3" in text
    assert "90 samples to fit, 60 to score" in text
    assert "100.0 ± 0.0" in text
    assert "\x1b" not in text
    numbers = json.loads(to_json(result))
    assert numbers["rows"][-1]["mean"]["good"] == 1
    assert numbers["rows"][-1]["gain"]["noise"][0] == pytest.approx(1 - numbers["rows"][-1]["mean"]["noise"])
