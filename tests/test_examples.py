"""The worked examples of docs/examples: each a plugin of its own that lists, keeps its contracts and trains."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from unmask.plugins import api_version

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
NAMES = ("sector", "timeseries")


@pytest.fixture
def installed(tmp_path, monkeypatch, write_metadata):
    """Puts an example on the path of processes to come, with the metadata that installing it would write."""

    def put(name: str) -> str:
        folder = EXAMPLES / name
        distribution = write_metadata(folder, tmp_path)
        path = [str(folder / "src"), str(tmp_path), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in path if part))
        return distribution

    return put


def python(*words, cwd):
    return subprocess.run([sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True, timeout=900)


def test_every_example_is_tested():
    assert sorted(path.parent.name for path in EXAMPLES.glob("*/pyproject.toml")) == sorted(NAMES)


@pytest.mark.slow  # core/tests/test_new.py and the README's blocks check plugins that `unmask new` writes
@pytest.mark.parametrize("name", ["sector", "timeseries"])
def test_check_finds_nothing_wrong_and_its_own_tests_pass(name, installed, tmp_path):
    """In one process, since each of the two would import everything first."""
    both = (
        "import sys, pytest; from unmask.cli import main; "
        "sys.exit(main(['check', sys.argv[1]]) or pytest.main(['-q', '-p', 'no:cacheprovider', sys.argv[2]]))"
    )
    words = [sys.executable, "-c", both, installed(name), str(EXAMPLES / name)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert " 0 failed, 0 components not tried" in done.stdout


@pytest.mark.slow
def test_a_mask_of_one_file_serves_another_plugins_recipe(installed, tmp_path):
    pytest.importorskip("unmask_vision")
    installed("sector")
    mask = ("--model.mask", "sector.sector", "--model.mask.ratio", "0.25")
    done = python("unmask", "preview", "--config", "vision/mae-digits", *mask, "--out", "preview.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "preview.png").is_file()
    assert "SectorMask hides 25.0%; 16 tokens per sample." in done.stdout


@pytest.mark.parametrize("folder", sorted(EXAMPLES.parent.parent.glob("plugins/*")), ids=lambda path: path.name)
def test_first_party_plugins_declare_the_api_like_anybody(folder):
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(api_version.fits(version) for version in project["entry-points"][api_version.GROUP])
