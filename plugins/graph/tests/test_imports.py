"""The import graph: a package written for the test, by hand; and what is installed, in seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from unmask_graph.data import ImportsData

FILES = {
    "__init__.py": "from toypack.shapes import area\n",
    "shapes.py": "import math\nfrom . import tools\ndef area(circleRadius): tools.times(math.pi, circleRadius)\n",
    "tools/__init__.py": "from .numbers import times\n",
    "tools/numbers.py": "def times(firstNumber, second_number): return firstNumber * second_number\n",
    "tools/lazy.py": "def load():\n  from ..shapes import area\n  import toypack.tools.numbers as n\n  return area\n",
    "tools/broken.py": "def (:\n",
    "tools/empty.py": "",
    "tests/test_shapes.py": "import toypack.shapes\n",
    "tools/raises.py": "raise RuntimeError('must never run'); circleRadius = times = firstNumber = 1\n",
}


@pytest.fixture
def toypack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "toypack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "toypack"


def data_of(**options: Any) -> ImportsData:
    return ImportsData(**({"packages": ["toypack"], "least": 3, "num_words": 6, "scale": "none"} | options))


def test_a_package_by_hand(toypack: Path) -> None:
    data = data_of(directed=True)
    names = data.source.modules
    assert names == [
        "toypack", "toypack.shapes", "toypack.tools", "toypack.tools.lazy", "toypack.tools.numbers",
        "toypack.tools.raises",
    ]  # fmt: skip
    sample = data.graphs.samples[0]
    edges = {(names[a], names[b]) for a, b in sample["edges"].T.tolist()}
    assert edges == {
        ("toypack", "toypack.shapes"),
        ("toypack.shapes", "toypack.tools"),
        ("toypack.tools", "toypack.tools.numbers"),
        ("toypack.tools.lazy", "toypack.shapes"),
        ("toypack.tools.lazy", "toypack.tools.numbers"),
    }
    assert data.graphs.classes == ["toypack.tools"]
    assert sample["label"].tolist() == [-100, -100, 0, 0, 0, 0]
    assert "toypack" not in sys.modules  # nothing was imported, so nothing ran


def test_words_of_identifiers(toypack: Path) -> None:
    data = data_of()
    x = data.graphs.samples[0]["x"]
    rows = dict(zip(data.source.modules, x.tolist(), strict=True))
    assert x.shape == (6, 6)  # as wide as asked for, whatever the vocabulary
    # In 3 of 6 modules: `times`. (`circle`, `radius`, `first` and `number` are in 2, `area` in 2.)
    assert {name for name, row in rows.items() if row[0]} == {
        "toypack.shapes", "toypack.tools.numbers", "toypack.tools.raises",
    }  # fmt: skip
    assert (x[:, 1:] == 0).all()


def test_it_is_kept_and_built_anew_when_a_source_changes(toypack: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = data_of(cache_folder=str(cache)).graphs
    (kept,) = cache.iterdir()
    changed = kept.stat().st_mtime_ns
    again = data_of(cache_folder=str(cache)).graphs
    assert all(torch.equal(first.samples[0][key], again.samples[0][key]) for key in ("x", "edges", "label"))
    assert kept.stat().st_mtime_ns == changed
    kept.write_bytes(b"damaged")
    assert torch.equal(data_of(cache_folder=str(cache)).graphs.samples[0]["x"], first.samples[0]["x"])
    (toypack / "more.py").write_text("import toypack.tools.lazy\n")
    assert len(data_of(cache_folder=str(cache)).source.modules) == 7
    assert len(list(cache.iterdir())) == 2  # and nothing half written


def test_mistakes(toypack: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"`packages` must name packages that are installed in .*, but 'nowhere' is not"
    ):
        data_of(packages=["nowhere"]).splits  # noqa: B018
    with pytest.raises(ValueError, match="`packages` must be a list of at least one package, but is 'numpy'"):
        data_of(packages="numpy")
    with pytest.raises(ValueError, match="`max_modules` must be at least 2, but is 1"):
        data_of(max_modules=1)
    with pytest.raises(ValueError, match="`cache_folder` must be a folder that can be written"):
        data_of(cache_folder=str(toypack / "shapes.py")).splits  # noqa: B018
    with pytest.raises(ValueError, match="`packages` must share words in their identifiers, but no word is in 3"):
        data_of(max_modules=4).splits  # noqa: B018
    assert len(data_of(packages=["networkx"], max_modules=50).source.modules) == 50


def test_what_is_installed_needs_nothing() -> None:
    data = ImportsData(packages=["networkx"], least=20)
    before = set(sys.modules)
    data.setup("fit")
    assert not {name for name in set(sys.modules) - before if name.startswith("networkx")}
    report = data.report
    assert report["num_nodes"] > 200
    assert report["num_edges"] > 300
    assert "networkx.algorithms" in data.graphs.classes
    assert data.graphs.samples[0]["x"].sum(1).max() <= 1.001  # rows are scaled
    masks = data.graphs.masks
    assert min(int(masks[part].sum()) for part in masks) > 10
