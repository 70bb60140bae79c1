"""Rules of the workspace that no single package can check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "src" / "unmask"
PLUGINS = sorted(ROOT.glob("plugins/*/src/unmask_*"))
TRAINING_CORE = [
    *(CORE / f"{name}.py" for name in ("handoffs", "families", "model", "data/module", "plugins")),
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


def test_training_core_stays_small():
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in TRAINING_CORE)
    assert lines < 2000


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
    others = {path.name for path in PLUGINS} - {package.name}
    for path in package.rglob("*.py"):
        assert not imported(path) & others, path


@pytest.mark.parametrize("method", ["mae", "simmim", "ijepa"])
def test_a_method_is_one_short_file_that_overrides_no_stage(method):
    path = ROOT / "plugins/vision/src/unmask_vision/methods" / f"{method}.py"
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    (method_class,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    defined = {node.name for node in method_class.body if isinstance(node, ast.FunctionDef)}
    assert defined <= {"__init__", "embedder"}


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


def test_no_address_in_requirement_files():
    for path in ROOT.glob("requirements*.txt"):
        assert "://" not in path.read_text(encoding="utf-8")
