"""What tests of docs and of examples share."""

import tomllib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def write_metadata():
    """Writes into a folder the metadata that installing a package would write, once; gives the package's name."""

    def write(source: Path, folder: Path) -> str:
        project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
        lines += [f"Requires-Dist: {needed}" for needed in project["dependencies"]]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        groups = project["entry-points"].items()
        entries = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in members.items()) for group, members in groups]
        (info / "entry_points.txt").write_text("\n".join(entries))
        return project["name"]

    return write
