"""Rules of the workspace that no single package can check."""

import ast
import re
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib import import_module
from itertools import chain
from pathlib import Path
from statistics import median

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from unmask import api

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "src" / "unmask"
sys.path.insert(0, str(ROOT / "docs"))
import imports  # noqa: E402

PLUGINS = sorted(ROOT.glob("plugins/*/src/unmask_*"))
TRAINING_CORE = [
    *(CORE / f"{name}.py" for name in ("structures", "parts", "model", "data/module")),
    *sorted((CORE / "masks").glob("*.py")),
]
MODALITIES = re.compile(
    r"\b(image|pixel|vision|picture|photo|audio|spectrogram|waveform|speech|sentence|graph|node|molecule|"
    r"point.?cloud|video)s?\b",
    re.IGNORECASE,
)


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_core_imports_go_down_and_in_no_circle():
    """Training imports no tool, tools import no command line, and so on: `imports.LAYERS`, the highest first."""
    level = {name: row for row, layer in enumerate(imports.LAYERS) for name in layer}
    known = imports.modules()
    assert {imports.part(module) for module in known} - {"", *imports.FACADES, "skeletons"} == set(level)
    assert not [(above, below) for above, below in imports.between_parts() if level[above] > level[below]]
    order = TopologicalSorter({module: imports.imports(module, known) - {""} for module in known if module})
    order.prepare()  # raises CycleError, which names the files
    folders = TopologicalSorter()
    for above, below in imports.between_parts():
        folders.add(above, below)
    folders.prepare()


OUTSIDE = [
    *(path for package in PLUGINS for path in package.rglob("*.py")),
    *ROOT.glob("plugins/*/tests/**/*.py"),
    *ROOT.glob("docs/examples/**/*.py"),
    *CORE.glob("skeletons/**/*.py.template"),
]
"""Files that use core as a third party does."""


def test_plugins_import_the_declared_api_only():
    undeclared = []
    for path in OUTSIDE:
        text = re.sub(r"__([A-Z_]+)__", r"x_\1", path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                undeclared += [(path, one.name) for one in node.names if one.name.split(".")[0] == "unmask"]
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "unmask":
                undeclared += [
                    (path, f"{node.module}.{one.name}") for one in node.names if not declared(node.module, one.name)
                ]
    assert not [f"{path.relative_to(ROOT)}: {name}" for path, name in undeclared]


def declared(module: str, name: str) -> bool:
    """Whether a plugin may import ``name`` from ``module``."""
    if f"{module}.{name}" in api.MODULES:
        return True
    return module in api.MODULES and name in getattr(import_module(module), "__all__", vars(import_module(module)))


@pytest.mark.parametrize("module", [module for module in api.MODULES if module != "unmask"])
def test_what_is_declared_is_there(module):
    home = import_module(module)
    assert not [name for name in getattr(home, "__all__", ()) if not hasattr(home, name)]


def test_training_core_names_no_modality():
    """Code, that is: docstrings and comments may name the paper an idea comes from."""
    for path in TRAINING_CORE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
            name = name or getattr(node, "name", None)
            if isinstance(name, str):
                words = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)
                assert not MODALITIES.search(words), f"{path}:{node.lineno}: {name}"


@pytest.mark.parametrize("package", [CORE, *PLUGINS], ids=lambda path: path.name)
def test_no_import_crosses_the_plugin_boundary(package):
    project = tomllib.loads((package.parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {canonicalize_name(Requirement(line).name).replace("-", "_") for line in project["dependencies"]}
    others = {path.name for path in PLUGINS} - {package.name} - (named if package != CORE else set())
    for path in package.rglob("*.py"):
        assert not imported(path) & others, path


OWN_STEP = {
    "dvae": "codes are drawn, and the use of the book is evened out",
}
"""Methods with a step of their own, and why."""


def test_a_method_is_one_short_file_that_describes_its_parts():
    methods = {}
    for path in ROOT.glob("plugins/*/src/*/methods/*.py"):
        text = path.read_text(encoding="utf-8")
        classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
        if (
            classes
            and ast.unparse(classes[0].bases[0]) in ("Method", "TextMethod", "MLM", "MAE")
            and path.stem != "text_method"
        ):
            methods[path.stem] = text, {node.name for node in classes[0].body if isinstance(node, ast.FunctionDef)}
    assert len(methods) >= 24, "methods are not found where they were"
    assert {name for name, (_, defined) in methods.items() if "step" in defined} == set(OWN_STEP)
    assert not [name for name, (_, defined) in methods.items() if "__init__" in defined]
    lengths = {name: len(text.splitlines()) for name, (text, _) in methods.items()}
    stages = ("hubert", "point_bert")  # of which the first is another run
    assert max(length for name, length in lengths.items() if name not in stages) <= 150
    assert max(lengths.values()) <= 220
    assert median(lengths.values()) <= 80


def test_the_step_is_one_screen():
    (model,) = [
        node for node in ast.parse((CORE / "model.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "MaskedModel"
    ]  # fmt: skip
    (step,) = [node for node in model.body if isinstance(node, ast.FunctionDef) and node.name == "step"]
    assert step.end_lineno - step.lineno < 25


def test_versions_agree():
    versions = {
        re.search(r'^version = "(.+)"', path.read_text(encoding="utf-8"), re.MULTILINE)[1]
        for path in [ROOT / "core/pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
    }
    versions |= {
        re.search(r'^__version__ = "(.+)"', (package / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)[1]
        for package in [CORE, *PLUGINS]
    }
    assert len(versions) == 1


REFUSED = {
    "lightning": ["2.6.2", "2.6.3", "2.6.5"],  # GHSA-w37p-236h-pfx3: malicious; CVE-2026-58659
    "pytorch-lightning": ["2.6.2", "2.6.3", "2.6.5"],
    "pillow": ["10.0.0", "10.2.0", "12.2.0", "12.3.0"],  # CVE-2023-4863, CVE-2023-50447, CVE-2026-59197, ...
    "onnx": ["1.17.0", "1.20.1"],  # CVE-2025-51480, CVE-2026-27489
    "fsspec": ["2025.3.0", "2026.5.0"],  # fails on another file system; CVE-2026-104851
    "filelock": ["3.20.0", "4.2.0"],  # CVE-2025-68146, CVE-2026-112911
    "transformers": ["4.57.0", "5.2.0"],  # CVE-2025-14926, CVE-2026-5241
    "pyarrow": ["22.0.0"],  # CVE-2026-25087
    "scikit-learn": ["1.4.2"],  # CVE-2024-5206
}
"""Releases with a known hole."""
LOOKED_INTO = {"lightning": "2.7.0", "jsonargparse": "4.54.0", "torch": "3.0.0"}
"""The first release that may have changed what is private, of packages whose private parts core uses."""


def requirements():
    """Every requirement of the workspace, with the file it stands in."""
    files = [ROOT / "pyproject.toml", ROOT / "core/pyproject.toml"]
    files += [*ROOT.glob("plugins/*/pyproject.toml"), *ROOT.glob("docs/examples/*/pyproject.toml")]
    for path in [*files, *CORE.glob("skeletons/**/pyproject.toml*")]:
        text = re.sub(r"__[A-Z_]+__", "1", path.read_text(encoding="utf-8"))
        project = tomllib.loads(text).get("project", {})
        for line in chain(project.get("dependencies", []), *project.get("optional-dependencies", {}).values()):
            yield path, Requirement(line)
    for path in ROOT.glob("requirements*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line := line.partition("#")[0].strip():
                yield path, Requirement(line)
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "Makefile", *CORE.glob("skeletons/**/*.md*")]:
        for name, limits in re.findall(r"\b((?:pytorch-)?lightning)((?:[<>=!~]=?[\w.,]+)+)", path.read_text("utf-8")):
            yield path, Requirement(name + limits)


def test_no_requirement_admits_a_release_with_a_known_hole():
    admitted = [
        f"{path.relative_to(ROOT)}: {one} admits {version}"
        for path, one in requirements()
        for version in REFUSED.get(canonicalize_name(one.name), [])
        if one.specifier.contains(version)
    ]
    assert not admitted


def test_private_parts_of_a_package_limit_its_version():
    core = {canonicalize_name(one.name): one for path, one in requirements() if path == ROOT / "core/pyproject.toml"}
    assert not [name for name, version in LOOKED_INTO.items() if core[name].specifier.contains(version)]
    assert set(REFUSED) & set(core) >= {"lightning", "pillow", "onnx", "fsspec", "filelock"}


def test_pinned_versions_are_allowed():
    pinned = {canonicalize_name(one.name): one for path, one in requirements() if path.suffix == ".txt"}
    for path, one in requirements():
        exact = pinned.get(canonicalize_name(one.name))
        if exact is not None:
            (version,) = [limit.version for limit in exact.specifier]
            assert one.specifier.contains(version), f"{path}: {one}, but {exact} is pinned"


def test_no_address_in_requirement_files():
    for path in ROOT.glob("requirements*.txt"):
        assert "://" not in path.read_text(encoding="utf-8")
