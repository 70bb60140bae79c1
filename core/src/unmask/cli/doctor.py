"""``unmask doctor``: versions, and what is wrong with what is installed, one line each.

Told of each distribution: another plugin API than core's, requirements that are not met, components that
cannot be imported or have another signature than their family's, names that two distributions claim.
"""

from __future__ import annotations

import platform
from importlib import metadata

from unmask.cli import COMMANDS
from unmask.plugins import api_version, registry
from unmask.support.arguments import Arguments

_PACKAGES = ("unmask", "torch", "lightning", "jsonargparse", "numpy", "scikit-learn")


def run(command: str, arguments: list[str]) -> int:
    """Print what is installed and what is wrong with it; 2 when something is."""
    Arguments(command, "Versions, and what is wrong with what is installed.").parse_args(arguments)
    from unmask.plugins import inspection

    distributions = sorted({component.distribution for component in registry.components()})
    print(f"python {platform.python_version()} on {platform.platform()}")
    for package in dict.fromkeys([*_PACKAGES, *distributions]):
        print(f"{package} {version(package)}")

    problems = [*clashing(), *inspection.problems_of(*distributions, commands=COMMANDS)]
    count = len(registry.components())
    print(f"\n{count} components of {len(distributions)} distributions: {len(problems) or 'no'} problems")
    for problem in problems:
        print(f"  {problem}")
    return 2 if problems else 0


def version(package: str) -> str:
    """Its version and the plugin API it has or was built for: ``0.1.0, plugin API 2.0``."""
    try:
        number = metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(version unknown)"
    promised = [api_version.API] if package == "unmask" else api_version.declared(package)
    return f"{number}, plugin API {' and '.join(promised)}" if promised else number


def clashing() -> list[str]:
    """Names that several distributions claim, a sentence each."""
    problems = []
    for several in registry.clashes():
        where = " and ".join(f"{c.distribution} ({c.value})" for c in several)
        owners = [c.distribution for c in several if api_version.owns(c.distribution, c.name)]
        meaning = f"it means {owners[0]}'s" if len(owners) == 1 else "a run that names it is refused"
        problems.append(f"`{several[0].name}` in {several[0].group} is claimed by {where}; {meaning}.")
    return problems
