"""Probes: known-separable data, chance on noise, pairing, determinism, and no traces left behind."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, RidgeCV
from sklearn.metrics import (
    adjusted_rand_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn
from torch.utils.data import DataLoader, Subset

from unmask.cli import main
from unmask.data import MaskedDataModule, Splits
from unmask.embedder import Embedder
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.model import MaskedModel
from unmask.parts import Encoder, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.structures import Latent, Sequence, Tokens
from unmask.targets import ValueTarget
from unmask.tools.features.labels import REGRESSION
from unmask.tools.features.spread import TokenSpread
from unmask.tools.features.vectors import evaluating, raw_vectors, vectors
from unmask.tools.probe import fits as probe_fits
from unmask.tools.probe.probe import PRETRAINED, RAW, STATISTICS, UNTRAINED, probe, probe_columns
from unmask.tools.probe.protocol import Protocol
from unmask.tools.probe.statistics import with_statistics
from unmask.tools.score.score import score


class Rows(Tokenizer):
    """Rows of ``batch["x"]`` ``[B, N, V]``, some of them padding; or packed ``[T, V]``."""

    def forward(self, batch):
        return Tokens(batch["x"], Sequence(), valid=batch.get("valid"), offsets=batch.get("offsets"))


class Doubling(Encoder):
    width = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()
        self.masks = []

    def forward(self, tokens, mask=None, layer=None):
        self.masks.append(mask)
        return Latent(self.frozen(self.dropout(tokens.values * self.scale)))


def samples(num=6, labels=True):
    x = torch.arange(num * 6, dtype=torch.float).reshape(num, 3, 2)
    return [{"x": x[i]} | ({"label": i % 2} if labels else {}) for i in range(num)]


def test_features_are_pooled_codes_of_everything_without_dropout():
    encoder = Doubling().train()
    encoder.frozen.eval()
    X, y, _ = vectors(Embedder(Rows(), encoder), DataLoader(samples(), 4))
    expected = 2 * torch.arange(36.0).reshape(6, 3, 2).mean(1)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, expected.numpy())
    assert y.tolist() == [0, 1, 0, 1, 0, 1]
    assert encoder.masks == [None, None]
    assert encoder.training
    assert encoder.dropout.training
    assert not encoder.frozen.training


def test_no_labels_no_y():
    assert vectors(Embedder(Rows(), Doubling()), DataLoader(samples(labels=False), 4))[1] is None


def test_random_states_are_put_back_even_after_an_error():
    def states():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before = states()
    vectors(Embedder(Rows(), Doubling()), DataLoader(samples(), 4, shuffle=True))
    assert states() == before
    encoder = Doubling().train()
    with pytest.raises(RuntimeError), evaluating(encoder):  # noqa: PT012
        torch.rand(3), random.random(), np.random.rand()
        raise RuntimeError
    assert states() == before
    assert encoder.training


def test_raw_features_are_flat_values_or_means_of_ragged_ones():
    X, *_ = raw_vectors(Embedder(Rows(), Doubling()), DataLoader(samples(), 4))
    np.testing.assert_array_equal(X, np.arange(36.0).reshape(6, 6))
    valid = torch.tensor([[True, True, False], [True, False, False]])
    x = torch.arange(12.0).reshape(2, 3, 2)
    X, *_ = raw_vectors(Embedder(Rows(), Doubling()), [{"x": x, "valid": valid}])
    np.testing.assert_array_equal(X, [[1, 2], [6, 7]])
    with pytest.raises(ValueError, match="ids"):
        raw_vectors(Embedder(Rows(), Doubling()), [{"x": torch.zeros(2, 3, dtype=torch.long)}])
    with pytest.raises(ValueError, match="at least one batch"):
        raw_vectors(Embedder(Rows(), Doubling()), [])


def of_classes(name):
    """Names of the rows of a classifier with all labels."""
    return [name, f"{name}, balanced accuracy", f"{name}, macro F1"]


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
        *of_classes("kNN, all labels"),
        *of_classes("linear, all labels"),
        "linear, 5 per class",
    ]
    assert result.title == "Accuracy, %, or as its row says"
    for row in result.rows:
        assert row.cells["good"].mean == 1
        assert 0.1 < row.cells["noise"].mean < 0.6 and row.measure.percent
    few = result.rows[-1]
    assert len(few.cells["noise"].scores) == 4
    assert few.gain("good", "noise")[0] == pytest.approx(1 - few.cells["noise"].mean)


def test_same_seed_same_numbers_and_columns_share_their_draws(blobs):
    columns, *labels = blobs
    twins = {"a": columns["noise"], "b": copy.deepcopy(columns["noise"])}
    first = probe_columns(twins, *labels, labels_per_class=(5, 10), num_draws=3, seed=1)
    assert first == probe_columns(twins, *labels, labels_per_class=(5, 10), num_draws=3, seed=1)
    assert first.rows != probe_columns(twins, *labels, labels_per_class=(5, 10), num_draws=3, seed=2).rows
    for row in first.rows:
        assert row.cells["a"].scores == row.cells["b"].scores
        assert row.gain("a", "b")[0] == 0


def test_units_of_the_features_do_not_matter(blobs):
    columns, *labels = blobs
    train, test = columns["noise"]
    result = probe_columns({"a": (train, test), "b": (64 * train + 8, 64 * test + 8)}, *labels, num_draws=2)
    for row in result.rows:
        assert row.cells["a"].mean == pytest.approx(row.cells["b"].mean, abs=0.02)


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
    text = result.about("After 7 steps.").text()
    assert "After 7 steps." in text
    assert "seed 3" in text
    assert "90 samples to fit, 60 to score" in text
    assert "100.0 ± 0.0" in text
    assert "\x1b" not in text
    numbers = json.loads(result.to_json())
    assert numbers["rows"][-1]["mean"]["good"] == 1
    assert numbers["rows"][-1]["gain"]["noise"][0] == pytest.approx(1 - numbers["rows"][-1]["mean"]["noise"])


def test_raw_features_are_averaged_everywhere_as_soon_as_any_batch_is_ragged():
    x = torch.arange(12.0).reshape(2, 3, 2)
    whole, padded = {"x": x}, {"x": x, "valid": torch.tensor([[True, True, False], [True, False, False]])}
    means, short = [[2, 3], [8, 9]], [[1, 2], [6, 7]]
    np.testing.assert_array_equal(raw_vectors(Embedder(Rows(), Doubling()), [whole, padded])[0], means + short)
    np.testing.assert_array_equal(raw_vectors(Embedder(Rows(), Doubling()), [padded, whole])[0], short + means)
    np.testing.assert_array_equal(
        raw_vectors(Embedder(Rows(), Doubling()), [whole, {"x": x[:, :2]}])[0], [*means, [1, 2], [7, 8]]
    )
    packed = {"x": torch.arange(10.0).reshape(5, 2), "offsets": torch.tensor([0, 2, 5])}
    np.testing.assert_array_equal(
        raw_vectors(Embedder(Rows(), Doubling()), [whole, packed])[0], [*means, [1, 2], [6, 7]]
    )


def test_a_tokenizer_may_have_raw_features_of_its_own():
    class Own(Rows):
        def raw(self, tokens):
            return tokens.values.amax((1, 2))[:, None]

    ids = {"x": torch.arange(6).reshape(2, 3)[..., None]}
    np.testing.assert_array_equal(raw_vectors(Embedder(Own(), Doubling()), [ids])[0], [[2], [5]])


def test_flat_codes_keep_their_order_and_need_equal_lengths():
    batch = {"x": torch.arange(12.0).reshape(2, 3, 2)}
    flat, *_ = vectors(Embedder(Rows(), Doubling()), [batch], pool="flat")
    np.testing.assert_array_equal(flat, 2 * np.arange(12.0).reshape(2, 6))
    padded = batch | {"valid": torch.tensor([[True, True, False], [True, True, True]])}
    packed = {"x": batch["x"].flatten(0, 1), "offsets": torch.tensor([0, 2, 6])}
    for ragged in ([padded], [packed], [batch, {"x": batch["x"][:, :2]}]):
        with pytest.raises(ValueError, match="differ in length, but is 'flat'"):
            vectors(Embedder(Rows(), Doubling()), ragged, pool="flat")


@pytest.mark.parametrize("packed", [False, True])
def test_labels_per_token_make_a_row_of_each_token_that_has_one(packed):
    x, valid = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([[True, True, True], [True, True, False]])
    label = torch.tensor([[0, -100, 1], [1, 0, 0]])
    batch = {"x": x, "valid": valid, "label": label, "who": ["ann", "bob"]}
    if packed:
        batch |= {"x": x[valid], "valid": None, "label": label[valid], "offsets": torch.tensor([0, 3, 5])}
    expected = [[0, 1], [4, 5], [6, 7], [8, 9]]
    found = vectors(Embedder(Rows(), Doubling()), [batch], groups="who")
    np.testing.assert_array_equal(found.values, 2 * np.array(expected))
    assert found.label.tolist() == [0, 1, 1, 0]
    assert found.group.tolist() == ["ann", "ann", "bob", "bob"]
    np.testing.assert_array_equal(raw_vectors(Embedder(Rows(), Doubling()), [batch]).values, expected)
    with pytest.raises(ValueError, match="'mean' for labels per token"):
        vectors(Embedder(Rows(), Doubling()), [batch], pool="max")
    with pytest.raises(ValueError, match=r"`groups` must be a key of the samples \(x, .*, but is 'nobody'"):
        vectors(Embedder(Rows(), Doubling()), [batch], groups="nobody")


def test_samples_without_a_class_are_left_out():
    batch = {"x": torch.arange(12.0).reshape(3, 2, 2), "label": torch.tensor([1, -100, 0])}
    X, y, _ = vectors(Embedder(Rows(), Doubling()), [batch], pool="flat")
    np.testing.assert_array_equal(X, 2 * np.array([[0, 1, 2, 3], [8, 9, 10, 11]]))
    assert y.tolist() == [1, 0]


def noisy(num=60, width=4, classes=2, seed=0):
    """Classes that overlap, so that scores are neither 0 nor 1."""
    rng = np.random.default_rng(seed)
    y = np.arange(num) % classes
    return (rng.normal(size=(num, width)) + 1.2 * np.eye(classes, width)[y]).astype(np.float32), y


def test_ten_folds_of_an_rbf_machine_are_those_of_scikit_learn():
    X, y = noisy(100)
    result = probe_columns(
        {"x": (X[:70], X[70:])}, y[:70], y[70:], probes=["rbf-svm"], num_folds=10, labels_per_class=()
    )
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    expected = [
        GridSearchCV(SVC(), {"C": [1e-3, 1e-2, 1e-1, 1, 10]}, cv=5).fit(X[fit], y[fit]).score(X[held], y[held])
        for fit, held in folds.split(X, y)
    ]
    row = result.rows[0]
    assert row.cells["x"].scores == expected
    assert 0.5 < row.cells["x"].mean < 1
    assert row.cells["x"].error == pytest.approx(np.std(expected, ddof=1) / np.sqrt(10))
    assert "± standard error over 10 folds." in result.text()
    assert "100 samples, all scored in turn" in result.text()


def test_ridge_is_scikit_learns_and_chosen_for_numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6)).astype(np.float32)
    y = X @ rng.normal(size=(6, 2)) + rng.normal(size=(80, 2))
    result = probe_columns({"x": (X[:50], X[50:])}, y[:50], y[50:])
    center, scale = X[:50].mean(0), np.sqrt(X[:50].var(0).mean())
    fitted = RidgeCV(alphas=10.0 ** np.arange(-3, 6)).fit((X[:50] - center) / scale, y[:50])
    predicted = fitted.predict((X[50:] - center) / scale)
    assert [row.name for row in result.rows] == [f"ridge, all labels, {name}" for name in ("R²", "MAE", "RMSE")]
    explained, error, root = result.rows
    assert root.cells["x"].scores == [pytest.approx(root_mean_squared_error(y[50:], predicted), rel=1e-4)]
    assert explained.cells["x"].scores == [pytest.approx(r2_score(y[50:], predicted), rel=1e-4)]
    assert error.cells["x"].scores == [pytest.approx(mean_absolute_error(y[50:], predicted), rel=1e-4)]
    assert (explained.measure.less_is_better, error.measure.less_is_better) == (False, True)
    with pytest.raises(ValueError, match="among `knn`, `ridge` for regression, but has `linear`"):
        probe_columns({"x": (X, X)}, y, y, probes=["linear"])


def test_ridge_tells_classes_apart_where_nearly_all_variance_lies_in_one_direction():
    X, y = noisy(200, classes=3)
    X = np.hstack([X, 1e3 * np.random.default_rng(1).normal(size=(200, 1)).astype(np.float32)])
    result = probe_columns({"x": (X[:150], X[150:])}, y[:150], y[150:], probes=["ridge"], labels_per_class=[10])
    center, scale = X[:150].mean(0), np.sqrt(X[:150].var(0).mean())
    fitted = RidgeClassifierCV(alphas=10.0 ** np.arange(-3, 6)).fit((X[:150] - center) / scale, y[:150])
    every, balanced, f1, _ = result.rows
    assert [row.name for row in result.rows] == [*of_classes("ridge, all labels"), "ridge, 10 per class"]
    predicted = fitted.predict((X[150:] - center) / scale)
    assert balanced.cells["x"].mean == pytest.approx(balanced_accuracy_score(y[150:], predicted))
    assert f1.cells["x"].mean == pytest.approx(f1_score(y[150:], predicted, average="macro"))
    assert every.cells["x"].scores == [fitted.score((X[150:] - center) / scale, y[150:])]
    assert every.cells["x"].mean > 0.6 and "Ridge: strength of 0.001 to 100000" in result.text()
    assert "classes as 1 and -1" in result.text()


def test_several_labels_are_told_one_by_one():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=(120, 3))
    X = (y @ rng.normal(size=(3, 5)) + 0.7 * rng.normal(size=(120, 5))).astype(np.float32)
    result = probe_columns({"x": (X[:80], X[80:])}, y[:80], y[80:])
    assert [(row.name, row.measure.name) for row in result.rows] == [
        ("kNN, all labels", "mAP"),
        ("linear, all labels", "mAP"),
    ]
    center, scale = X[:80].mean(0), np.sqrt(X[:80].var(0).mean())
    by_strength = []
    for strength in (0.01, 0.1, 1, 10):  # one of them is chosen
        fits = [LogisticRegression(C=strength).fit((X[:80] - center) / scale, y[:80, c]) for c in range(3)]
        scores = np.stack([fit.predict_proba((X[80:] - center) / scale)[:, 1] for fit in fits], axis=1)
        by_strength.append(average_precision_score(y[80:], scores, average="macro"))
    assert any(result.rows[1].cells["x"].mean == pytest.approx(one, abs=1e-4) for one in by_strength)
    assert 0.6 < result.rows[1].cells["x"].mean < 1


def test_clusters_of_known_classes_are_found(blobs):
    result = probe_columns(*blobs, probes=["kmeans"])
    nmi, ari = result.rows
    assert (nmi.name, ari.name) == ("k-means, NMI", "k-means, ARI")
    assert nmi.cells["good"].mean == pytest.approx(1) and ari.cells["good"].mean == pytest.approx(1)
    columns, y_train, y_test = blobs
    X = np.concatenate(columns["noise"])
    expected = adjusted_rand_score(
        np.concatenate([y_train, y_test]), KMeans(3, n_init=10, random_state=0).fit_predict(X)
    )
    assert ari.cells["noise"].mean == pytest.approx(expected, abs=0.02)
    assert nmi.cells["noise"].mean < 0.1


def test_one_group_is_left_out_at_a_time():
    X, y = noisy(90)
    group = np.array(["ann", "bob", "cid"])[np.arange(90) // 2 % 3]
    given = {"train_groups": group[:60], "test_groups": group[60:], "labels_per_class": (5,), "num_draws": 3}
    result = probe_columns({"x": (X[:60], X[60:])}, y[:60], y[60:], probes=["knn", "linear"], **given)
    neighbors, _, _, linear, _, _, few = result.rows
    by_hand = []
    for name in ("ann", "bob", "cid"):
        alone = probe_columns(
            {"x": (X[group != name], X[group == name])}, y[group != name], y[group == name],
            labels_per_class=(5,), num_draws=3,
        )  # fmt: skip
        by_hand.append([row.cells["x"].scores for row in alone.rows])
    assert neighbors.cells["x"].scores == [one[0][0] for one in by_hand]
    assert linear.cells["x"].scores == [one[3][0] for one in by_hand]
    assert few.cells["x"].draws == [one[6] for one in by_hand]
    assert few.cells["x"].scores == [pytest.approx(np.mean(one[6])) for one in by_hand]
    assert few.cells["x"].error == pytest.approx(np.std(few.cells["x"].scores, ddof=1) / np.sqrt(3))
    assert "over 3 held-out groups, each the mean over its 3 draws of labels" in result.text()
    with pytest.raises(ValueError, match="at least 2 groups to leave one out, but there are 1"):
        probe_columns({"x": (X, X)}, y, y, train_groups=np.zeros(90), test_groups=np.zeros(90))
    with pytest.raises(ValueError, match="`num_folds` must be left out"):
        probe_columns({"x": (X[:60], X[60:])}, y[:60], y[60:], num_folds=3, **given)


def test_labels_and_neighbours_can_be_capped(blobs):
    columns, y_train, y_test = blobs
    result = probe_columns(columns, y_train, y_test, max_labels=40, max_stored=50, num_neighbors=5, labels_per_class=())
    assert [row.name for row in result.rows] == [*of_classes("kNN, 50 stored"), *of_classes("linear, 40 labels")]
    kept = np.sort(np.random.default_rng((0, 0)).permutation(90)[:50])
    part = {name: (train[kept], test) for name, (train, test) in columns.items()}
    alone = probe_columns(part, y_train[kept], y_test, probes=["knn"], num_neighbors=5)
    assert result.rows[0].cells["noise"].mean == pytest.approx(
        alone.rows[0].cells["noise"].mean, abs=0.05
    )  # other centring
    with pytest.raises(ValueError, match="`max_labels` must be at least 2, but is 1"):
        probe_columns(columns, y_train, y_test, max_labels=1)


def test_few_labels_are_asked_for_as_far_as_there_are_some(blobs):
    columns, y_train, y_test = blobs
    few = np.flatnonzero((y_train > 0) | (np.arange(90) < 24))  # class 0 has 8 labels
    columns = {name: (train[few], test) for name, (train, test) in columns.items()}
    result = probe_columns(columns, y_train[few], y_test, num_draws=1)
    assert [row.name for row in result.rows][6:] == ["linear, 5 per class"]


class Scaled(Encoder):
    """Codes ``scale * layer * x``; nothing is learned."""

    width, num_layers = 2, 3

    def __init__(self, scale=1.0, norm=False):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.norm = nn.BatchNorm1d(2) if norm else None

    def forward(self, tokens, mask=None, layer=None):
        x = tokens.values * self.scale * self.depth(layer)
        if layer == 2:
            x = x * 0  # knows nothing
        return Latent(x if self.norm is None else self.norm(x.flatten(0, 1)).view_as(x))


def model(scale=1.0, norm=False):
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Scaled(scale, norm), predictor=LinearPredictor(2, 2),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


class Data(MaskedDataModule):
    """Rows whose class is in their first value; who made them is in ``who``."""

    def __init__(self, labels=True, overlapping=False):
        super().__init__(batch_size=16, num_workers=0)
        self.labels, self.overlapping = labels, overlapping

    def load(self):
        rng = np.random.default_rng(0)
        y = np.arange(60) % 2
        x = torch.tensor(rng.normal(size=(60, 3, 2)) + np.stack([3.0 * y, 0 * y], axis=1)[:, None], dtype=torch.float32)
        samples = [
            {"x": x[i], "who": "ab"[i // 2 % 2]} | ({"label": int(y[i])} if self.labels else {}) for i in range(60)
        ]
        train = Subset(samples, range(40))
        return Splits(train, Subset(samples, range(30 if self.overlapping else 40, 60)))


def test_a_run_gets_three_columns_and_its_numbers_are_those_of_its_features():
    data = Data()
    result = probe([(model(), model(2.0))], data, num_draws=2, labels_per_class=(5,))
    assert result.columns == [RAW, UNTRAINED, PRETRAINED]
    assert result.details["widths"] == {RAW: 6, UNTRAINED: 2, PRETRAINED: 2}
    X, Z = (vectors(Embedder(Rows(), Scaled()), DataLoader(one, 16)) for one in (data.splits.train, data.splits.val))
    alone = probe_columns({"x": (X[0], Z[0])}, X[1], Z[1], num_draws=2, labels_per_class=(5,))
    assert [row.cells[PRETRAINED].scores for row in result.rows] == [row.cells["x"].scores for row in alone.rows]
    flat = probe([(model(), model())], data, pool="flat", probes=["knn"])
    assert flat.details["widths"][PRETRAINED] == 6
    with pytest.raises(ValueError, match="there is nothing to probe"):
        probe([(model(), model())], Data(labels=False))
    with pytest.raises(ValueError, match=r"`layer` must be in \[1, 3\]"):
        probe([(model(), model())], data, layer=4)


def test_data_that_the_model_does_not_go_with_is_refused(monkeypatch):
    def refused(self, model, data):
        assert data.splits.train is not None, "the data has been read"
        raise ValueError("`data` must be another.")

    monkeypatch.setattr(TokenSpread, "check_other", refused)
    for measured in (lambda: probe([(model(), model())], Data()), lambda: score(model(), model(), Data())):
        with pytest.raises(ValueError, match="`data` must be another"):
            measured()


def test_class_ids_of_measured_numbers_are_probed_as_those_numbers(capsys):
    class Measured(Data):
        classes = tuple(f"{number / 100}" for number in range(61))

        def load(self):
            train, val = super().load()[:2]
            for i, sample in enumerate(train.dataset):
                sample["label"] = (7 * i) % 60
            return Splits(train, val)

    result = probe([(model(), model(2.0))], Measured())
    assert result.details["task"] == REGRESSION
    assert "they are probed by regression" in capsys.readouterr().out
    floats = Measured()
    for sample in floats.splits.train.dataset:
        sample["label"] = sample["label"] / 100
    assert [row.cells for row in probe([(model(), model(2.0))], floats).rows] == [row.cells for row in result.rows]


def test_several_runs_have_one_score_each():
    data, scales = Data(), (1.0, 50.0, -1.0)
    settings = {"num_draws": 2, "labels_per_class": (1,), "seed": 3}
    runs = [(model(scale), model()) for scale in scales]
    alone = [probe([run], data, **settings) for run in runs]
    result = probe(runs, data, **settings)
    for number, row in enumerate(result.rows):
        means = [one.rows[number].cells[PRETRAINED].mean for one in alone]
        assert row.cells[PRETRAINED].scores == means
        assert row.cells[PRETRAINED].mean == pytest.approx(np.mean(means))
        assert row.cells[PRETRAINED].error == pytest.approx(np.std(means, ddof=1) / np.sqrt(3))
        assert row.cells[RAW].scores == [alone[0].rows[number].cells[RAW].mean]
        assert row.cells[RAW].error is None
        assert row.cells[PRETRAINED].draws == [one.rows[number].cells[PRETRAINED].scores for one in alone]
    text = result.text()
    assert "over 3 runs, each the mean over its 2 draws of labels (seed 3); raw input is the same in all runs" in text


def test_groups_and_folds_take_both_sets_and_each_sample_once():
    for overlapping, total in ((False, 60), (True, 60)):
        result = probe([(model(), model())], Data(overlapping=overlapping), groups="who", probes=["knn"])
        assert result.details["num_train"] + result.details["num_test"] == total
        assert result.details["parts"] == ("a", "b")
        assert len(result.rows[0].cells[PRETRAINED].scores) == 2
    both = Data()
    assert both.splits.probe_train is not None
    both._splits = both.splits._replace(probe_train=both.splits.val, probe_test=both.splits.val)
    assert probe([(model(), model())], both, num_folds=4, probes=["knn"]).details["num_test"] == 0


def test_tokens_of_one_sample_are_split_by_their_labels():
    class Nodes(MaskedDataModule):
        def load(self):
            generator = torch.Generator().manual_seed(0)
            label = torch.arange(40) % 2
            x = torch.randn(40, 2, generator=generator) + 3 * label[:, None]
            train, test = label.clone(), label.clone()
            train[10:], test[:30] = -100, -100
            sample = {"x": x}
            train, test = [sample | {"label": train}], [sample | {"label": test}]
            return Splits([sample], [sample], train, test)

    result = probe([(model(), model())], Nodes(num_workers=0), labels_per_class=(2,), num_draws=2)
    assert (result.details["num_train"], result.details["num_test"], result.details["num_classes"]) == (10, 10, 2)
    assert result.details["widths"] == {RAW: 2, UNTRAINED: 2, PRETRAINED: 2}
    assert result.rows[1].cells[PRETRAINED].mean > 0.8
    assert result.rows[1].cells[PRETRAINED].mean == result.rows[1].cells[RAW].mean  # codes are the values


def test_layers_are_rows_and_the_best_of_a_column_is_bold():
    result = probe([(model(), model())], Data(), layer="all", probes=["knn"])
    assert [row.name for row in result.rows] == ["layer 1", "layer 2", "layer 3", "last layer, normed"]
    assert result.rows[0].cells[RAW].scores == result.rows[3].cells[RAW].scores
    assert result.rows[1].cells[PRETRAINED].mean == 0.5 < result.rows[0].cells[PRETRAINED].mean
    assert result.rows[0].cells == probe([(model(), model())], Data(), layer=1, probes=["knn"]).rows[0].cells
    assert "Accuracy, %: kNN, all labels" in result.text()
    cells = {column.header: list(column.cells) for column in result.table().columns}
    assert [cell.startswith("[bold]") for cell in cells[PRETRAINED]] == [True, False, True, True]
    assert not any(cell.startswith("[bold]") for cell in cells[RAW])
    with pytest.raises(ValueError, match="a single one for a table by layer"):
        probe([(model(), model())], Data(), layer="all", probes=["knn", "linear"])


def test_encoders_with_batchnorm_get_a_column_with_statistics():
    encoder = Scaled(norm=True)
    before = copy.deepcopy(encoder.state_dict())
    loader = DataLoader(Data().splits.train, 10)
    collected = with_statistics(Embedder(Rows(), encoder), loader).encoder
    x = torch.stack([sample["x"] for sample in Data().splits.train]) * 3
    torch.testing.assert_close(collected.norm.running_mean, x.flatten(0, 1).mean(0))
    batchwise = torch.stack([part.flatten(0, 1).var(0) for part in x.split(10)]).mean(0)
    torch.testing.assert_close(collected.norm.running_var, batchwise)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert torch.equal(collected.scale, encoder.scale) and collected.norm.momentum == encoder.norm.momentum

    result = probe([(model(norm=True), model(norm=True))], Data(), probes=["knn"])
    assert result.columns == [RAW, UNTRAINED, STATISTICS, PRETRAINED]
    assert "statistics collected" in result.text()
    assert len(json.loads(result.to_json())["rows"][0]["gain"]) == 3


@pytest.mark.parametrize("multi_label", [False, True])
def test_small_probes_are_fitted_by_one_thread(multi_label, monkeypatch):
    """Whatever the machine allows; one of many labels has all its threads, and they are given back."""
    seen = []
    fitting = probe_fits.LogisticRegression.fit

    def spy(self, *arguments, **options):
        seen.append({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
        return fitting(self, *arguments, **options)

    monkeypatch.setattr(probe_fits.LogisticRegression, "fit", spy)
    rows = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    labels = np.arange(40) % 2
    labels = (
        np.stack([labels, np.roll(labels, 1), np.arange(40) % 3 == 0], axis=1).astype(int) if multi_label else labels
    )
    with threadpool_limits(2, "blas"):
        before = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        probe_fits.PROBES["linear"].fit(rows, labels, rows, Protocol())
        assert seen and all(threads <= {1} for threads in seen)  # Apple's BLAS tells nothing
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == before
        seen.clear()
        if not multi_label:
            monkeypatch.setattr(probe_fits, "LARGE", 30)
            probe_fits.PROBES["linear"].fit(rows, labels, rows, Protocol())
            assert seen[0] == before


def test_fewer_labels_than_features_are_fitted_in_their_span(monkeypatch):
    """Logistic regression of 30 rows of 200 numbers answers as scikit-learn's on all 200."""
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    train, test = rng.standard_normal((30, 200)), rng.standard_normal((500, 200))
    for rows, own in ((train, labels), (test, np.arange(500) % 3)):
        rows[np.arange(len(rows)), own] += 3
    monkeypatch.setattr(probe_fits, "STRENGTHS", (0.1,))
    widths = []
    fitting = probe_fits.LogisticRegression.fit
    monkeypatch.setattr(
        probe_fits.LogisticRegression, "fit", lambda self, x, y: (widths.append(x.shape[1]), fitting(self, x, y))[1]
    )
    answers = probe_fits.PROBES["linear"].fit(train, labels, test, Protocol())
    assert set(widths) == {30}
    assert np.mean(answers == LogisticRegression(C=0.1, max_iter=1000).fit(train, labels).predict(test)) > 0.995


def test_the_same_run_twice_has_no_spread_and_runs_of_other_data_are_no_repetitions(toys, capsys):
    shutil.copytree("toy", "other")
    assert main(["probe", "toy", "other", "--layer", "1", "--probes", "knn", "--labels_per_class", ""]) == 0
    twice = json.loads(Path("toy/probe.json").read_text())
    assert twice["num_runs"] == 2
    assert all(row["standard_error"]["pretrained encoder"] == 0 for row in twice["rows"])

    config = yaml.safe_load(Path("other/config.yaml").read_text())
    config["data"].setdefault("init_args", {})["batch_size"] = 3
    Path("other/config.yaml").write_text(yaml.safe_dump(config))
    assert main(["probe", "toy", "other"]) == 2
    assert "`other` has another `data`" in capsys.readouterr().err.splitlines()[-1]
