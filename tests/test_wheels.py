"""Wheels: each, installed alone, finds all it needs among the dependencies it declares, and nothing of the others.

An environment here holds links to the packages of this one, but only those that a wheel's metadata leads to. So it is
made in seconds and from nowhere, and what is not declared cannot be imported.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """All wheels, by distribution, as `make wheels` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    packages = [ROOT / "core", *(ROOT / "plugins" / name for name in PLUGINS)]
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, *packages])
    return {path.name.split("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}


@pytest.fixture
def environment(wheels, tmp_path):
    """Makes an environment of some wheels with what they declare; returns its Python."""

    def make(*names, extra=()):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
        (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
        told = {name: requirements(wheels[name]) for name in names}
        needed = []
        for name in names:
            with zipfile.ZipFile(wheels[name]) as archive:
                archive.extractall(site)
            needed += declared(told, name, set(extra) if name == names[-1] else set())
        for distribution in closure(needed):
            link(distribution, site)
        return tmp_path / "env/bin/python"

    return make


def requirements(wheel):
    """All that a wheel's metadata requires, those of extras too."""
    with zipfile.ZipFile(wheel) as archive:
        (file,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = metadata.PathDistribution(zipfile.Path(archive, file.removesuffix("METADATA"))).requires
    return [Requirement(line) for line in lines or []]


def declared(told, name, extras):
    """What one of our packages requires with some extras, those it asks of our packages followed."""
    needed = []
    for requirement in told[name]:
        if not wanted(requirement, extras):
            continue
        if requirement.name not in told:
            needed.append(requirement)
        elif requirement.extras:
            needed += declared(told, requirement.name, requirement.extras)
    return needed


def wanted(requirement, extras):
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in {"", *extras})


def closure(needed):
    """The installed distributions that requirements lead to."""
    found, waiting, seen = {}, list(needed), set()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            pytest.fail(f"{requirement} is declared, but not installed here")
        assert requirement.specifier.contains(distribution.version, prereleases=True), requirement
        found[key[0]] = distribution
        waiting += [
            one for one in map(Requirement, distribution.requires or []) if wanted(one, set(requirement.extras))
        ]
    return list(found.values())


def link(distribution, site):
    """Links to the distribution's files; folders that several share are made, and filled with links."""
    home = Path(distribution.locate_file(""))
    for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        join(home / name, site / name)


def join(source, target):
    if not target.exists():
        if target.is_symlink() or not source.exists():
            return
        target.symlink_to(source)
    elif source.is_dir() and target.is_symlink() and target.resolve() != source.resolve():
        shared = target.resolve()
        target.unlink()
        target.mkdir()
        for child in [*shared.iterdir(), *source.iterdir()]:
            if not (target / child.name).exists():
                (target / child.name).symlink_to(child)


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=1500, **options)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


IMPORT_ALL = """
import importlib, importlib.util, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__") and "triton" not in module.name:
        importlib.import_module(module.name)
print(json.dumps([name for name in sys.argv[2:] if importlib.util.find_spec(name) is not None]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_alone_imports_and_its_neighbours_are_not_there(name, environment, tmp_path):
    python = environment("unmask", f"unmask-{name}")
    others = [f"unmask_{other}" for other in PLUGINS if other != name]
    printed = run([python, "-c", IMPORT_ALL, f"unmask_{name}", *others], cwd=tmp_path, env=clean())
    assert json.loads(printed.splitlines()[-1]) == []
    told = run([python, "-m", "unmask", "doctor"], cwd=tmp_path, env=clean())
    assert "2 distributions: no problems" in told


@pytest.mark.slow
def test_two_plugins_live_side_by_side_without_a_third(environment, tmp_path):
    """As `pip install "unmask[audio,vision]"` leaves them: pip finds all that this asks for, and not `unmask[text]`."""
    python = environment("unmask", "unmask-audio", "unmask-vision")
    told = run([python, "-m", "unmask", "list"], cwd=tmp_path, env=clean())
    assert "audio." in told and "vision." in told and "text." not in told
    modules = ["unmask_audio", "unmask_vision", "unmask_text"]
    code = "import sys; from importlib import util; print(*[util.find_spec(name) is not None for name in sys.argv[1:]])"
    assert run([python, "-c", code, *modules], cwd=tmp_path, env=clean()).split() == ["True", "True", "False"]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--dry-run",
        "--no-index",
        "--find-links",
        tmp_path,
    ]
    assert "Would install" not in run([*pip, "unmask[audio,vision]"], cwd=tmp_path, env=clean())
    refused = subprocess.run(
        [str(word) for word in [*pip, "unmask[text]"]], capture_output=True, text=True, env=clean()
    )
    assert "No matching distribution found for unmask-text" in refused.stderr


def test_an_extra_of_core_is_a_plugin_of_this_version(wheels):
    """What an installer follows from `unmask[vision,audio]`: names, and versions that fit each other."""

    def asked(*extras):
        return sorted(
            one.name for one in told if not wanted(one, set()) and wanted(one, set(extras)) and one.name in wheels
        )

    told = requirements(wheels["unmask"])
    version = wheels["unmask"].name.split("-")[1]
    assert asked("all") == [f"unmask-{name}" for name in PLUGINS]
    for name in PLUGINS:
        assert asked(name) == [f"unmask-{name}"]
        assert wheels[f"unmask-{name}"].name.split("-")[1] == version
        (core,) = [one for one in requirements(wheels[f"unmask-{name}"]) if one.name == "unmask" and not one.extras]
        assert str(core.specifier) == f"=={version}"
    assert asked("vision", "audio") == ["unmask-audio", "unmask-vision"]


@pytest.mark.parametrize("name", ["core", *(f"plugins/{name}" for name in PLUGINS)])
def test_whatever_is_imported_is_declared(name):
    """By itself or by core; in code by any extra, in tests by `test`. So nothing works only where a neighbour is."""
    projects = {}
    for file in [ROOT / "core/pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        projects[project["name"]] = project
    own = "unmask" if name == "core" else name.replace("plugins/", "unmask-")
    told = {one: lines(projects[one]) for one in {"unmask", own}}
    undeclared = []
    for folder, extras in (("src", projects[own]["optional-dependencies"]), ("tests", {"test"})):
        needed = [*declared(told, own, set(extras)), *declared(told, "unmask", {"testing"})]
        there = {canonicalize_name(one.name) for one in needed}
        for path in (ROOT / name / folder).rglob("*.py"):
            for module in imported(path) - {*sys.stdlib_module_names, "unmask", own.replace("-", "_")}:
                brought_by = {canonicalize_name(d) for d in PROVIDERS.get(module, [module])}
                if not brought_by & there:
                    undeclared.append(f"{path.relative_to(ROOT)}: {module}")
    assert not undeclared


PROVIDERS = metadata.packages_distributions() | {"triton": ["torch"]}  # torch brings it, where there are GPUs


def lines(project):
    """A project's requirements, as its wheel's metadata would have them."""
    extras = project["optional-dependencies"].items()
    optional = [f"{line}; extra == '{extra}'" for extra, several in extras for line in several]
    return [Requirement(line) for line in [*project["dependencies"], *optional]]


def imported(path):
    """Top-level packages that a file imports, wherever in it; what it tries and does without is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tried = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in tried:
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and id(node) not in tried:
            names.add(node.module.partition(".")[0])
    return names


def test_every_package_brings_what_an_index_shows():
    """Its own README, the project's licence, and types; `make release-check` looks into the built files."""
    for folder in [ROOT / "core", *(ROOT / "plugins" / name for name in PLUGINS)]:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["readme"] == "README.md"
        assert project["license-files"] == ["LICENSE"]
        assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {project['name']}:")
        assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
        assert (folder / "src" / project["name"].replace("-", "_") / "py.typed").is_file()
        assert "Typing :: Typed" in project["classifiers"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == project["version"]


@pytest.mark.slow
def test_sdists_and_wheels_pass_what_a_release_must(tmp_path):
    assert "no faults" in run([sys.executable, ROOT / "tests/release_check.py", "--out", tmp_path / "dist"])


def test_every_package_says_the_same_pythons():
    """Those of `requires-python`, and the one that this runs on among them."""
    told = set()
    for file in [ROOT / "core/pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        prefix = "Programming Language :: Python :: 3."
        minors = tuple(int(one.removeprefix(prefix)) for one in project["classifiers"] if one.startswith(prefix))
        assert project["requires-python"] == f">=3.{min(minors)}", file
        told.add(minors)
    (minors,) = told
    assert sys.version_info.minor in minors


@pytest.mark.slow
@pytest.mark.parametrize("name", ["core", *PLUGINS])
def test_a_wheel_alone_passes_its_own_tests(name, environment, tmp_path):
    names = ["unmask"] if name == "core" else ["unmask", f"unmask-{name}"]
    python = environment(*names, extra=["test"])
    tests = ROOT / "core/tests" if name == "core" else ROOT / "plugins" / name / "tests"
    shutil.copytree(tests, tmp_path / "own" / tests.parent.name / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "own")  # pytest's settings
    run([python, "-m", "pytest", "-x", tests.parent.name], cwd=tmp_path / "own", env=clean())


def clean():
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
