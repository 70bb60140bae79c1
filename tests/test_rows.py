"""The list of papers, docs/rows.yaml: what it names is registered, and the tests that it calls proof are there."""

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from unmask.plugins.registry import RECIPES, components
from unmask.support.nearest import nearest, quoted

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
from components import first_party  # noqa: E402
from rows import FIELDS, read  # noqa: E402

ENTRIES = read()
NAMES = [entry["name"] for entry in ENTRIES]


@cache
def collected(path: Path) -> set[str]:
    """What pytest collects from a file, as far as its text tells: functions, classes, and functions of classes."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            found.add(node.name)
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            found.add(node.name)
            found |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


def among(name: str, known: set[str]) -> str:
    """What to say of a name that is not known."""
    return "" if name in known else f"`{name}`; nearest: {quoted(nearest(name, known))}"


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_a_row_names_what_is_there(entry):
    assert tuple(entry) == FIELDS
    assert re.search(r"\b(19|20)\d\d\b", entry["paper"]), "`paper` must say the year"
    assert entry["row"] is None or isinstance(entry["row"], int)
    assert entry["method"] or entry["parts"], "a row must name a method or a part"
    assert entry["differs"] is None or "\n" not in entry["differs"].strip()
    known = {family: {c.name for c in first_party(family)} for family in ("methods", "recipes")}
    parts = {c.name for c in components() if c.group != RECIPES}
    assert not among(entry["method"] or "vision.mae", known["methods"])
    assert not among(entry["recipe"] or "vision/mae-digits", known["recipes"])
    assert not [bad for name in entry["parts"] if (bad := among(name, parts))]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_a_rows_proof_exists(entry):
    assert entry["proof"], "a row must name a test that proves it"
    for proof in entry["proof"]:
        file, _, name = proof.partition("::")
        assert (ROOT / file).is_file(), file
        assert not among(name.partition("[")[0], collected(ROOT / file))


def test_names_and_numbers_are_given_once():
    numbers = [entry["row"] for entry in ENTRIES if entry["row"] is not None]
    assert len(set(NAMES)) == len(NAMES)
    assert len(set(numbers)) == len(numbers)


def test_every_method_has_a_row():
    first_stages = {"pointcloud.dvae", "vision.dvae", "vision.vq-vae"}  # of Point-BERT and BEiT
    named = {entry["method"] for entry in ENTRIES} | first_stages
    assert not {method.name for method in first_party("methods")} - named
