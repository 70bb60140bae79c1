"""Few-shot episodes and voting, beside the same written out."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

from unmask.api import Classification, FineTuning, Settings, Task
from unmask.data import Augmented
from unmask_pointcloud.data import SolidsData
from unmask_pointcloud.data.module import View
from unmask_pointcloud.encoders import PointTransformer
from unmask_pointcloud.few_shot import episodes
from unmask_pointcloud.methods import PointMAE
from unmask_pointcloud.voting import vote


def _features(seed=0, num_classes=6, each=30):
    """Classes that lie apart in one column and nowhere in the other."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), each)
    apart = np.eye(num_classes)[labels] * 8 + rng.standard_normal((len(labels), num_classes))
    order = rng.permutation(len(labels))
    return labels[order], {"noise": rng.standard_normal(apart.shape).astype("f4"), "apart": apart[order].astype("f4")}


def test_an_episode_is_an_svm_on_few_clouds_of_few_classes():
    (labels, train), (test_labels, test) = _features(0), _features(1)
    columns = {name: (train[name], test[name]) for name in train}
    found = episodes(columns, labels, test_labels, ways=3, shots=5, count=4, seed=7)
    assert found.details == {"ways": 3, "shots": 5}
    assert np.mean(found.cells["apart"].scores) > 0.95 > 0.6 > np.mean(found.cells["noise"].scores)

    rng = np.random.default_rng((7, 3, 5, 0))  # the first episode again
    chosen = rng.choice(np.arange(6), 3, replace=False)
    fit = np.concatenate([rng.choice(np.flatnonzero(labels == one), 5, replace=False) for one in chosen])
    asked = np.isin(test_labels, chosen)
    for name in columns:
        scale = np.sqrt(train[name][fit].var(0).mean())
        search = GridSearchCV(SVC(kernel="linear"), {"C": [0.001, 0.01, 0.1, 1, 10]}, cv=StratifiedKFold(5))
        search.fit(train[name][fit] / scale, labels[fit])
        share = (search.predict(test[name][asked] / scale) == test_labels[asked]).mean()
        assert found.cells[name].scores[0] == pytest.approx(share), name


def test_episodes_are_the_same_in_all_columns_and_again():
    (labels, train), (test_labels, test) = _features(0), _features(1)
    twice = dict.fromkeys(("one", "other"), (train["apart"], test["apart"]))
    found = episodes(twice, labels, test_labels, 2, 3, count=2)
    assert found.cells["one"].scores == found.cells["other"].scores
    assert found == episodes(twice, labels, test_labels, 2, 3, count=2)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"ways": 7, "shots": 5}, "`ways` must be at most 6, the classes with 5 labels"),
        ({"ways": 2, "shots": 31}, "`ways` must be at most 0, the classes with 31 labels"),
        ({"ways": 1, "shots": 5}, "`ways` must be at least 2, but is 1"),
        ({"ways": 2, "shots": 0}, "`shots` must be at least 1, but is 0"),
    ],
)
def test_episodes_that_cannot_be_drawn_are_refused(numbers, message):
    labels, train = _features()
    with pytest.raises(ValueError, match=message):
        episodes({"apart": (train["apart"], train["apart"])}, labels, labels, **numbers)


@pytest.fixture(scope="module")
def solids():
    data = SolidsData(num_solids=36, num_points=64, stored_points=96, batch_size=8, val_ratio=0.5)
    data.setup()
    return data


def _tuned(task=Task("classification")):
    torch.manual_seed(0)
    encoder = PointTransformer(16, 2, 2, pointnet_width=8)
    model = PointMAE(num_patches=8, patch_size=8, encoder=encoder)
    tuned = FineTuning(model, Classification(12), task, Settings(), seed=0)
    torch.nn.init.normal_(tuned.head[-1].weight)  # as sure of itself as a trained one
    return tuned.eval()


def test_a_vote_is_the_mean_of_what_is_said_about_each_look(solids):
    model = _tuned()
    found = vote(model, solids, looks=3, seed=5)
    view = solids.splits.probe_test
    assert isinstance(view, View)
    looks = Augmented(View(view.clouds, view.chosen, True), solids.augment)
    right = [0, 0]
    for number in range(len(view)):
        with torch.no_grad():
            said = [model({"points": looks[5, look, number]["points"][None]}).softmax(-1) for look in range(3)]
            right[1] += int(sum(said).argmax()) == view[number]["label"]
            right[0] += int(model({"points": view[number]["points"][None]}).argmax()) == view[number]["label"]
    assert (found.single, found.voted) == (right[0] / len(view), right[1] / len(view))


def test_what_cannot_vote_is_refused(solids):
    with pytest.raises(ValueError, match="`looks` must be at least 1, but is 0"):
        vote(_tuned(), solids, looks=0)
    with pytest.raises(ValueError, match="fine-tuned on one class per cloud"):
        vote(_tuned(Task("classification", per_token=True)), solids)
