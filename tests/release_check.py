"""What a release must pass: sdists and wheels of all packages, their metadata, and that both hold the same.

    python tests/release_check.py [--out dist]

Builds with what is installed, so it needs no network. ``twine check --strict`` reads what an index would show. Then
`make release-check` lets each wheel pass its own tests in an environment of what it declares (`tests/test_wheels.py`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ["core", *sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob("plugins/*/pyproject.toml"))]
MALICIOUS = ("2.6.2", "2.6.3")
"""Versions of lightning that hold malicious code (GHSA-w37p-236h-pfx3)."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the files are written; must be empty")
    out = parser.parse_args().out
    if out.exists() and any(out.iterdir()):
        parser.error(f"`--out` must be empty, but {out} is not; nearest: make clean")
    for package in PACKAGES:
        build(ROOT / package, out)
    files = sorted(out.iterdir())
    run("-m", "twine", "check", "--strict", *map(str, files))
    wrong = [sentence for package in PACKAGES for sentence in faults(ROOT / package, out)]
    print("\n".join(wrong) or f"{len(files)} files of {len(PACKAGES)} packages in {out}: no faults.")
    return 1 if wrong else 0


def build(package: Path, out: Path) -> None:
    """An sdist, and a wheel from it, as an index's users get it."""
    run("-m", "build", "--no-isolation", "--outdir", str(out), str(package))


def faults(package: Path, out: Path) -> list[str]:
    """What is wrong with the files of one package, in sentences."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    stem = f"{name.replace('-', '_')}-{version}"
    found = []
    with zipfile.ZipFile(out / f"{stem}-py3-none-any.whl") as wheel, tempfile.TemporaryDirectory() as folder:
        inside = set(wheel.namelist())
        about = message_from_bytes(wheel.read(f"{stem}.dist-info/METADATA"))
        found += lacking(about, inside, name.replace("-", "_"), stem)
        found += differing(package, wheel, folder, stem)
    with tarfile.open(out / f"{stem}.tar.gz") as archive:
        inside = {member.name for member in archive.getmembers()}
    found += [
        f"the sdist lacks {one}" for one in ("LICENSE", "README.md", "pyproject.toml") if f"{stem}/{one}" not in inside
    ]
    if (package / "LICENSE").read_bytes() != (ROOT / "LICENSE").read_bytes():
        found.append("LICENSE is another than the project's")
    if version != tomllib.loads((ROOT / "core/pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]:
        found.append(f"its version is {version}, not core's")
    return [f"{name}: {sentence}." for sentence in found]


def lacking(about: Message, inside: set[str], module: str, stem: str) -> list[str]:
    """What the metadata of a wheel, and the wheel itself, should have and do not."""
    found = [
        f"the metadata lacks {key}" for key in ("Summary", "Author", "License-Expression", "License-File", "Keywords")
        if not about.get(key)
    ]  # fmt: skip
    body = about.get_payload()
    if about.get("Description-Content-Type") != "text/markdown" or not isinstance(body, str) or len(body) < 200:
        found.append("the metadata has no description in Markdown")
    for file in (f"{module}/py.typed", f"{stem}.dist-info/licenses/LICENSE"):
        if file not in inside:
            found.append(f"the wheel lacks {file}")
    for line in about.get_all("Requires-Dist") or []:
        if line.startswith("lightning") and not all(f"!={version}" in line for version in MALICIOUS):
            found.append(f"`{line}` allows malicious versions of lightning")
    return found


def differing(package: Path, wheel: zipfile.ZipFile, folder: str, stem: str) -> list[str]:
    """Files that a wheel from the tree and the one from the sdist do not share."""
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(package))
    with zipfile.ZipFile(Path(folder, f"{stem}-py3-none-any.whl")) as direct:
        here = {name: direct.read(name) for name in direct.namelist()}
    there = {name: wheel.read(name) for name in wheel.namelist()}
    return [f"{one} differs between tree and sdist" for one in sorted(here.keys() | there.keys())
            if here.get(one) != there.get(one)]  # fmt: skip


def run(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
