"""Wheels: each, installed alone, finds all it needs among the dependencies it declares, and nothing of the others.

An environment here holds links to the packages of this one, but only those that a wheel's metadata leads to. So it is
made in seconds and from nowhere, and what is not declared cannot be imported.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
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
        wanted = []
        for name in names:
            wanted += [(one, ()) for one in own(wheels[name], site, set(extra) if name == names[-1] else set())]
        for distribution in closure(wanted):
            link(distribution, site)
        return tmp_path / "env/bin/python"

    return make


def own(wheel, site, extras):
    """Unpacks a wheel; the requirements of its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        (file,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    required = metadata.Distribution.at(site / file.partition("/")[0]).requires or []
    return [one for one in map(Requirement, required) if wanted(one, extras) and not one.name.startswith("unmask")]


def wanted(requirement, extras):
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in (extras or {""}) | {""})


def closure(requirements):
    """The installed distributions that requirements lead to."""
    found, waiting, seen = {}, [one for one, _ in requirements], set()
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
    for path in {
        Path(file.parts[0]) for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")
    }:
        join(home / path, site / path, [Path(file) for file in distribution.files])


def join(source, target, files):
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
missing = []
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


def test_two_plugins_live_side_by_side_without_a_third(environment, tmp_path):
    first, second, third = PLUGINS[:3]
    python = environment("unmask", f"unmask-{first}", f"unmask-{second}")
    told = run([python, "-m", "unmask", "list"], cwd=tmp_path, env=clean())
    assert f"{first}." in told and f"{second}." in told and f"{third}." not in told


def test_core_names_every_plugin_as_an_extra(wheels):
    with zipfile.ZipFile(wheels["unmask"]) as archive:
        (file,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        told = metadata.PathDistribution(zipfile.Path(archive, file.removesuffix("METADATA"))).requires
    by_extra = {extra: [] for extra in [*PLUGINS, "all"]}
    for requirement in map(Requirement, told):
        for extra, names in by_extra.items():
            if requirement.marker and not wanted(requirement, set()) and wanted(requirement, {extra}):
                names.append(requirement.name)
    assert by_extra == {name: [f"unmask-{name}"] for name in PLUGINS} | {"all": [f"unmask-{name}" for name in PLUGINS]}


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
