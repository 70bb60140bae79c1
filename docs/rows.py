"""The page of what is covered, paper by paper, from ``rows.yaml``: with its parts, its recipe and its proof."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from components import GENERATED

from unmask.plugins.registry import find

ROWS = Path(__file__).parent / "rows.yaml"
FIELDS = ("name", "row", "paper", "method", "parts", "recipe", "proof", "differs")
TITLES = {
    "vision": "Vision", "audio": "Audio", "text": "Text", "graph": "Graphs", "pointcloud": "Point clouds",
    "multimodal": "Several modalities", "": "Any modality",
}  # fmt: skip

INTRODUCTION = """# Papers

What the toolkit covers, paper by paper: the method and the parts that make it what it is, a recipe that trains it, and
the tests that hold its numbers against somebody else's, or against a case worked out by hand. *Row* is the paper's
number in the project's list. `unmask show NAME` prints what a method or a part is.
"""


def read() -> list[dict[str, Any]]:
    """The entries of the list, in its order."""
    return yaml.safe_load(ROWS.read_text(encoding="utf-8"))


def pages() -> dict[str, str]:
    """The page, by its path below docs/."""
    entries = read()
    lines = [INTRODUCTION]
    for plugin, title in TITLES.items():
        own = [entry for entry in entries if _plugin(entry) == plugin]
        if not own:
            continue
        lines += [f"## {title}", "", "| row | name | paper | method and parts | recipe | proof | differs |"]
        lines += ["|---|---|---|---|---|---|---|", *map(_line, own), ""]
    return {"rows.md": GENERATED + "\n".join(lines)}


def _plugin(entry: dict[str, Any]) -> str:
    """Of the method, the recipe, the first part or proof that has a plugin in its name."""
    names = [entry["method"], entry["recipe"], *entry["parts"], *entry["proof"]]
    found = (re.match(r"(?:plugins/)?(\w+)[./]", name) for name in names if name)
    return next((match[1] for match in found if match and match[1] in TITLES), "")


def _line(entry: dict[str, Any]) -> str:
    paper = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", entry["paper"])
    parts = ", ".join(f"`{name}`" for name in entry["parts"])
    if entry["method"]:
        method = find(entry["method"], "unmask.methods")
        parts = f"[`{method.name}`][{method.class_path}]" + (f": {parts}" if parts else "")
    recipe = "none"
    if entry["recipe"]:
        plugin, _, short = entry["recipe"].partition("/")
        recipe = f"[`{short}`](recipes/{plugin}.md#{short})"
    proof = "<br>".join(f"`{test.rpartition('/')[2]}`" for test in entry["proof"])
    differs = (entry["differs"] or "").replace("|", "&#124;")
    row = "" if entry["row"] is None else entry["row"]
    return f"| {row} | {entry['name']} | {paper} | {parts} | {recipe} | {proof} | {differs} |"
