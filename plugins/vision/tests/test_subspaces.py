"""Main and least directions of images: projections, scikit-learn's shares, what is left to learn, the command."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA

from unmask.api import main
from unmask_vision.subspaces import Subspaces


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 8)) * np.array([5, 3, 2, 1, 0.5, 0.2, 0.1, 0.05]) @ rng.normal(size=(8, 8))


def test_shares_and_directions_are_scikit_learns(vectors):
    ours, theirs = Subspaces.of(vectors), PCA().fit(vectors)
    np.testing.assert_allclose(ours.shares, theirs.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(np.abs(ours.directions), np.abs(theirs.components_), atol=1e-8)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_two_projections_sum_to_the_input(vectors, share):
    found = Subspaces.of(vectors)
    first = found.first(share)
    assert first[0]
    total = found.projected(vectors, first) + found.projected(vectors, ~first)
    np.testing.assert_allclose(total + found.mean, vectors, atol=1e-10)
    assert found.shares[first].sum() >= share > found.shares[first][:-1].sum()
    last = found.last(share)
    assert found.shares[last].sum() >= share > found.shares[last][1:].sum()


def test_what_is_left_to_learn_by_hand(vectors):
    found = Subspaces.of(vectors)
    right = vectors - found.mean
    np.testing.assert_allclose(found.left(right, right), 1)
    assert not found.left(0 * right, right).any()
    halved = right - 0.5 * found.projected(vectors, found.first(0.5))  # half of the main directions is answered
    np.testing.assert_allclose(found.left(halved, right), np.where(found.first(0.5), 0.25, 1), rtol=1e-6)


@pytest.mark.slow  # a run and its probes
def test_the_command_on_digits_tells_both_with_its_seed(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["fit", "--config", "vision/mae-digits", "--trainer.max_steps", "30", "--out", str(run)]) == 0
    assert main(["vision-subspaces", str(run), "--max_samples", "400"]) == 0
    told = json.loads((run / "subspaces.json").read_text())
    assert set(told) == {"probes", "error"}
    out = capsys.readouterr().out
    assert "bottom 20%" in out
    assert "90% to 99% of the variance" in out
    assert main(["vision-subspaces", str(run), "--top", "1.5"]) == 2
    assert "must be in (0, 1), but is 1.5" in capsys.readouterr().err
