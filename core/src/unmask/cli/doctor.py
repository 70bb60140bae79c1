"""``unmask doctor``: versions, and whether everything installed can be imported.

The components of each distribution are imported in a process of their own, so that one that crashes
the interpreter is found out too and spoils no other.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata

from unmask import plugins
from unmask.cli.arguments import Arguments

_PACKAGES = ("unmask", "torch", "lightning", "jsonargparse", "numpy", "scikit-learn")

_IMPORT_ALL = """
import json, sys
from unmask import plugins
for c in plugins.components():
    if c.distribution == sys.argv[1]:
        print("\\n@@", json.dumps([c.group, c.name]), flush=True)
        try:
            c.path() if c.group == plugins.RECIPES else c.load()
        except plugins.UserError as error:
            print("\\n@!", json.dumps(str(error)), flush=True)
print("\\n@.", flush=True)
"""


def run(command: str, arguments: list[str]) -> int:
    """Print what is installed and what is wrong with it; 2 when something is."""
    Arguments(command, "Versions, and whether everything installed can be imported.").parse_args(arguments)

    distributions = sorted({component.distribution for component in plugins.components()})
    print(f"python {platform.python_version()} on {platform.platform()}")
    for package in dict.fromkeys([*_PACKAGES, *distributions]):
        try:
            print(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            print(f"{package} (version unknown)")

    problems = []
    for several in plugins.clashes():
        where = " and ".join(f"{c.distribution} ({c.value})" for c in several)
        problems.append(f"`{several[0].name}` in {several[0].group} is claimed by {where}.")
    for distribution in distributions:
        problems += broken(distribution)

    count = len(plugins.components())
    print(f"\n{count} components of {len(distributions)} distributions: {len(problems) or 'no'} problems")
    for problem in problems:
        print(f"  {problem}")
    return 2 if problems else 0


def broken(distribution: str) -> list[str]:
    """What goes wrong when the components of ``distribution`` are imported in a fresh process."""
    code = f"import sys; sys.path[:] = {sys.path!r}\n{_IMPORT_ALL}"
    done = subprocess.run([sys.executable, "-c", code, distribution], capture_output=True, text=True)
    problems, current = [], None
    for line in done.stdout.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "@@":
            current = json.loads(rest)
        elif mark == "@!":
            problems.append(json.loads(rest))
        elif mark == "@.":
            return problems
    group, name = current or ("unmask", "the first component")
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    problems.append(f"`{name}` of {distribution} ({group}) ends the interpreter: code {done.returncode}, {last}")
    return problems
