"""Recipe cards: what each recipe trains, with which budget, by which command, and what is known of the result.

Method, data and budget are read from the recipe, the paper from the method's file, figures from ``figures.yaml``.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import yaml
from components import GENERATED, first_party, said

from unmask.plugins.registry import Component, find

FIGURES = Path(__file__).parent / "figures.yaml"
PLUGINS = {
    "vision": "Vision", "audio": "Audio", "text": "Text", "graph": "Graphs", "pointcloud": "Point clouds",
    "multimodal": "Several modalities",
}  # fmt: skip
NONE = "not measured"

INTRODUCTION = """# Recipes

A recipe is a YAML file in a plugin: a method, a data module, a size, a schedule, a trainer. `unmask fit --config NAME`
runs it into `runs/NAME`; any part or number can be changed behind it, such as `--model.mask.ratio 0.6`.
`unmask show NAME` prints the file. *Steps* and *budget* are what the recipe says; accuracies are in per cent.

| recipe | method | budget | our number |
|---|---|---|---|
"""


def pages() -> dict[str, str]:
    """The pages, by path below docs/."""
    figures = yaml.safe_load(FIGURES.read_text(encoding="utf-8"))
    recipes = sorted(first_party("recipes"), key=lambda c: (list(PLUGINS).index(c.name.split("/")[0]), c.name))
    if unknown := figures.keys() - {recipe.name for recipe in recipes}:
        raise ValueError(f"figures.yaml names {sorted(unknown)}, but there are no such recipes.")
    rows, cards = [], {plugin: [f"# Recipes: {title.lower()}", ""] for plugin, title in PLUGINS.items()}
    for recipe in recipes:
        plugin, _, short = recipe.name.partition("/")
        known = figures.get(recipe.name, {})
        config = yaml.safe_load(recipe.path().read_text(encoding="utf-8"))
        method = config["model"]["class_path"]
        measured = "measured" if "ours" in known else NONE
        rows.append(f"| [`{recipe.name}`]({plugin}.md#{short}) | `{method}` | {budget(config)} | {measured} |")
        cards[plugin].append(_card(recipe, config, known))
    index = GENERATED + INTRODUCTION + "\n".join(rows)
    return {"recipes/index.md": index} | {
        f"recipes/{plugin}.md": GENERATED + "\n".join(parts) for plugin, parts in cards.items()
    }


def budget(config: dict[str, Any]) -> str:
    """How long a recipe trains and on how much at once, in words."""
    trainer, data = config["trainer"], config["data"].get("init_args", {})
    length = f"{trainer['max_steps']:,} steps" if "max_steps" in trainer else f"{trainer['max_epochs']:,} epochs"
    size = data.get("tokens_per_batch") or data.get("batch_size")
    kind = "tokens" if "tokens_per_batch" in data else "samples"
    at_once = f" of {size:,} {kind}" if size and "max_steps" in trainer else f", {size:,} {kind} a step" if size else ""
    precision = f", {trainer['precision']}" if "precision" in trainer else ""
    return f"{length}{at_once}{precision}"


def _card(recipe: Component, config: dict[str, Any], known: dict[str, str]) -> str:
    short = recipe.name.partition("/")[2]
    method = find(config["model"]["class_path"], "unmask.methods")
    data = find(config["data"]["class_path"], "unmask.data")
    run = f"runs/{recipe.name}"
    arguments = f" {known['arguments']}" if "arguments" in known else ""
    then = known.get("then", "unmask probe RUN").replace("RUN", run)
    rows = {
        "method": f"[`{method.name}`][{method.class_path}]: {paper(method)}",
        "data": f"[`{data.name}`][{data.class_path}]: {said(data)}",
        "budget": budget(config),
        "paper's number": known.get("paper", "none to compare with: the paper trains on other data"),
        "protocol": known.get("protocol", "none"),
        "our number": known.get("ours", NONE),
    }
    if "paper" not in known and "arguments" in known:
        rows["paper's number"] = "not compared: the data is yours" if "~" in arguments else rows["paper's number"]
    if "elsewhere" in known:
        rows["the method elsewhere"] = known["elsewhere"]
    if recipe.name == "graph/maskgae-cora":
        rows["paper's number"] = "not compared"
    lines = [f"## {recipe.name} {{ #{short} }}", "", said(recipe), ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {' '.join(text.split())} |" for name, text in rows.items()), ""]
    before = [f"unmask fit --config {name} --out runs/{name}" for name in known.get("before", "").split()]
    lines += ["```sh", *before, f"unmask fit --config {recipe.name}{arguments}", then, "```", ""]
    return "\n".join(lines)


def paper(method: Component) -> str:
    """The first line of a method's file, which says the idea and its paper, with a link."""
    text = (inspect.getdoc(inspect.getmodule(method.load())) or "").split("\n")[0].rstrip(".")
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)
