"""The study of scale: its line by hand and against SciPy's, and runs that are not made twice."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SCALE = Path(__file__).parent.parent / "benchmarks" / "scale"
sys.path.insert(0, str(SCALE))
import mae_sizes  # noqa: E402
from log_linear import LogLinear  # noqa: E402


def test_planted_coefficients_are_found():
    sizes = [[n, p, r] for n in (10, 100, 1000) for p in (1e3, 1e5) for r in (64, 256)]
    scores = [30 + 5 * np.log10(n) + 2 * np.log10(p) - 1.5 * np.log10(r) for n, p, r in sizes]
    fit = LogLinear.of(sizes, scores)
    np.testing.assert_allclose(fit.coefficients, [30, 5, 2, -1.5], rtol=1e-9)
    mean, half = fit.at([1e4, 1e6, 1024])
    assert mean == pytest.approx(30 + 20 + 12 - 1.5 * np.log10(1024))
    assert half < 1e-6
    noisy = LogLinear.of(sizes, np.array(scores) + np.random.default_rng(0).normal(0, 0.3, len(scores)))
    assert (np.abs(noisy.coefficients - [30, 5, 2, -1.5]) < 4 * noisy.errors).all()


def test_errors_and_band_are_scipys_for_one_size():
    x, y = np.array([1.0, 10.0, 100.0, 1000.0]), np.array([50.0, 61.0, 69.0, 82.0])
    fit, theirs = LogLinear.of(x[:, None], y), stats.linregress(np.log10(x), y)
    np.testing.assert_allclose(fit.coefficients, [theirs.intercept, theirs.slope])
    np.testing.assert_allclose(fit.errors, [theirs.intercept_stderr, theirs.stderr])
    # At log10(size) = 4: residual deviation * sqrt(1 / 4 + (4 - 1.5)^2 / 5), by hand.
    left = y - theirs.intercept - theirs.slope * np.log10(x)
    expected = stats.t.ppf(0.975, 2) * (left @ left / 2) ** 0.5 * (1 / 4 + 2.5**2 / 5) ** 0.5
    mean, half = fit.at([1e4])
    assert half == pytest.approx(expected)
    assert mean == pytest.approx(theirs.intercept + 4 * theirs.slope)


def test_sizes_that_tell_nothing_apart_are_refused():
    with pytest.raises(ValueError, match="vary each size by itself"):
        LogLinear.of([[1, 1], [10, 10], [100, 100]], [1, 2, 3])
    with pytest.raises(ValueError, match="must be rows of numbers above 0"):
        LogLinear.of([[0.0], [1.0]], [1, 2])
    assert LogLinear.of([[1.0], [10.0]], [1, 2]).at([100.0]) == (pytest.approx(3), float("inf"))


def test_runs_are_not_made_twice_and_a_cut_line_is_made_again(tmp_path, monkeypatch, capsys):
    made = []

    def measured(**key):
        made.append(key)
        return {"parameters": 100 * key["depth"], "pixels": key["side"] ** 2, "accuracy": 10.0 * key["images"] ** 0.1}

    monkeypatch.setattr(mae_sizes, "measured", measured)
    out = tmp_path / "sizes.jsonl"
    words = ["--out", str(out), "--images", "10", "100", "1000", "--depths", "2", "4", "--sides", "8"]
    mae_sizes.main(words)
    assert len(made) == 6
    assert "for ten times the images" in capsys.readouterr().out
    mae_sizes.main(words)
    assert len(made) == 6
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:-1]) + lines[-1][:20])
    mae_sizes.main([*words, "--seeds", "0", "1"])
    assert len(made) == 6 + 1 + 6
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 12


@pytest.mark.slow
def test_a_run_of_two_sizes(tmp_path, capsys):
    words = ["--out", str(tmp_path / "sizes.jsonl"), "--images", "64", "640", "--depths", "1", "--sides", "8"]
    mae_sizes.main([*words, "--steps", "20", "--seeds", "0", "1"])
    assert "4 runs" in capsys.readouterr().out
