"""Pages of the API reference: which names are public, for mkdocstrings to read the docstrings of.

Public is what a package's or sub-package's ``__all__`` names, and every class that is registered as a component.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

from components import FIRST_PARTY, GENERATED, TITLES, first_party

CORE = {
    "unmask": (
        "unmask",
        "Structures, parts, the step, data: what `import unmask` offers. The names are imported on first use.",
        ["unmask"],
    ),
    "masks": ("Masks", "Masks by geometry; each works on any modality whose tokens lie that way.", ["unmask.masks"]),
    "corruptions": ("Corruptions", "How hidden places are shown, beyond mask tokens.", ["unmask.corruptions"]),
    "parts": (
        "Predictors, targets, losses",
        "Those that need to know no modality.",
        ["unmask.predictors", "unmask.targets", "unmask.losses", "unmask.terms"],
    ),
    "data": ("Data", "Data modules, the sources that they read, and rules for people's own files.", ["unmask.data"]),
    "nn": ("Building blocks", "For encoders and predictors of one's own.", ["unmask.nn", "unmask.seeds"]),
    "testing": (
        "Contracts",
        "One class per family, to be subclassed in a plugin's tests; see [Write a plugin](../write-a-plugin.md).",
        ["unmask.testing"],
    ),
    "after": (
        "After training",
        "What the commands call, for use from Python, and callbacks for training.",
        ["unmask.runs.trained", "unmask.configs.building", "unmask.runs.checkpoints", "unmask.runs.match",
         "unmask.tools.exchange.exporting", "unmask.tools.exchange.importing", "unmask.tools.exchange.native",
         "unmask.tools.exchange.onnx", "unmask.tools.exchange.torch_export", "unmask.tools.results",
         "unmask.tools.finetune", "unmask.tools.finetune.trials",
         "unmask.tools.replay", "unmask.runs.saving", "unmask.runs.not_finite", "unmask.callbacks"],
    ),
    "plugins": (
        "Plugins",
        "What is installed, found without importing it; the plugin API's version; agreements and formats that a plugin "
        "may add.",
        ["unmask.plugins.registry", "unmask.plugins.api_version", "unmask.support.errors", "unmask.agreements",
         "unmask.tools.features.readable", "unmask.tools.features.spread", "unmask.runs.first_stage",
         "unmask.tools.exchange.format", "unmask.tools.exchange.release"],
    ),
}  # fmt: skip
"""Page, title, introduction and modules."""
ORDER = [f"unmask.{name}" for name in ("structures", "parts", "model", "data", "optim", "schedules")]
"""In which to read them."""


def pages() -> dict[str, str]:
    """The pages, by path below docs/."""
    made: dict[str, str] = {}
    shown: set[str] = set()  # what several modules export stands on the first page
    index = [
        "# API reference", "",
        "From the docstrings, which give shapes, units and ranges. B is the batch, N tokens, K visible ones, M hidden "
        "ones, D the width of codes, T that of targets; `hidden` is True, everywhere.", "",
        "| page | what |", "|---|---|",
    ]  # fmt: skip
    for page, (title, what, modules) in CORE.items():
        index.append(f"| [{title}]({page}.md) | {what} |")
        sections = [_module(name, len(modules) > 1, shown) for name in modules]
        made[f"api/{page}.md"] = f"{GENERATED}# {title}\n\n{what}\n\n" + "\n".join(sections)
    for distribution in FIRST_PARTY[1:]:
        package = distribution.replace("-", "_")
        page = distribution.removeprefix("unmask-")
        what = (importlib.import_module(package).__doc__ or "").split("\n\n")[0]
        index.append(f"| [{package}]({page}.md) | {what} |")
        made[f"api/{page}.md"] = f"{GENERATED}# {package}\n\n{what}\n\n" + _plugin(distribution, package)
    return {"api/index.md": GENERATED + "\n".join(index) + "\n"} | made


def _module(name: str, heading: bool, shown: set[str]) -> str:
    module = importlib.import_module(name)
    paths = [path for path in _public(module) if path not in shown]
    shown.update(paths)
    if heading:
        return "\n".join([f"## {name}", "", *(f"::: {path}\n" for path in paths)])
    by_home: dict[str, list[str]] = {}  # a heading for each module that the names come from, in the order of its own
    for path in paths:
        by_home.setdefault(path.rpartition(".")[0], []).append(path)
    homes = sorted(by_home, key=lambda home: ORDER.index(home) if home in ORDER else len(ORDER))
    return "\n".join(
        line for home in homes for line in (f"## {home}", "", *(f"::: {path}\n" for path in by_home[home]))
    )


def _plugin(distribution: str, package: str) -> str:
    lines, shown = [], set()
    for family in TITLES:
        paths = [c.class_path for c in first_party(family) if c.distribution == distribution and family != "commands"]
        if paths:
            lines += [f"## {family.capitalize()}", "", *(f"::: {path}\n" for path in dict.fromkeys(paths))]
            shown |= set(paths)
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not found.ispkg:
            continue
        module = importlib.import_module(found.name)
        paths = [path for path in _public(module) if path not in shown] if hasattr(module, "__all__") else []
        if paths:
            lines += [f"## {found.name}", "", *(f"::: {path}\n" for path in paths)]
            shown |= set(paths)
    return "\n".join(lines)


def _public(module: ModuleType) -> list[str]:
    """Full paths of what ``__all__`` names, or of what the module itself defines, where it has docstrings."""
    named = getattr(module, "__all__", None)
    if named is None:
        named = [
            name for name, thing in vars(module).items()
            if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
        ]  # fmt: skip
    paths = []
    for name in named:
        thing = getattr(module, name)
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__doc__:
            paths.append(f"{thing.__module__}.{thing.__qualname__}")
    return paths
