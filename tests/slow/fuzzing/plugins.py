"""What an installed distribution says of itself: entry points, requirements, recipes."""

from __future__ import annotations

import sys

from fuzzing.case import Case, Read
from fuzzing.configs import recipes

ENTRIES = """[unmask.masks]
evil.mask = evil_package:Mask
evil.gone = evil_package.gone:Mask

[unmask.recipes]
evil/recipe = evil_package:recipe.yaml

[unmask.commands]
evil-command = evil_package:run

[unmask.api]
1 = evil_package
"""
METADATA = (
    "Metadata-Version: 2.1\nName: evil-package\nVersion: 1.0\nRequires-Dist: torch>=2\n"
    "Requires-Dist: nothing-such>=1; extra == 'x'\n"
)
ODD = (
    "[unmask.masks]\nrandom = evil_package:Mask\n",
    "[unmask.masks]\nx = os:system\n",
    "[unmask.masks]\nx\n",
    "[unmask.recipes]\nx = ..:../../etc/passwd\n",
    "[unmask.recipes]\nx = evil_package:../../../../../etc/passwd\n",
    "[unmask.recipes]\nx = evil_package:/dev/zero\n",
    "[unmask.masks]\n" + "x = a:b\n" * 50_000,
    "[unmask.commands]\nfit = evil_package:run\n",
    "[unmask.masks]\n= a:b\n",
    "[unmask.masks]\nx = \n",
    "[unmask.masks]\n\u202e = a:b\n",
    "[unmask.]\nx = a:b\n",
    "[unmask.schedules]\nx = evil_package:no.such.thing\n",
    "[unmask.masks]\nx = a b c\n",
    "x = a:b\n",
    "[unmask.api]\n999 = evil_package\n",
    "[unmask.api]\nx = y\n",
)


def metadata(case: Case) -> Read:
    """Listed, shown and named in a config; no code of the package may run unless it is named."""
    from unmask.cli import main

    site = case.data / "site"
    package, info = site / "evil_package", site / "evil_package-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("class Mask: pass\n")
    (package / "recipe.yaml").write_bytes(case.spoilt(recipes()["vision/mae-digits"].encode(), is_text=True))
    entries, about = ENTRIES, METADATA.encode()
    if case.chance(0.4):
        entries = case.rng.choice(ODD)
    content = case.spoilt(entries.encode(), is_text=True) if case.chance(0.7) else entries.encode()
    (info / "entry_points.txt").write_bytes(content)
    (info / "METADATA").write_bytes(case.spoilt(about, is_text=True) if case.chance(0.6) else about)
    if case.chance(0.05):  # a wheel holds regular files alone, so there are no pipes, links or devices
        (info / "entry_points.txt").unlink()
    words = case.rng.choice(
        (
            ["list"],
            ["list", "masks"],
            ["list", "recipes"],
            ["show", "evil.mask"],
            ["show", "x"],
            ["show", "evil/recipe"],
            ["show", "random"],
            ["fit", "--config", "evil/recipe", "--print_config"],
            ["fit", "--config", "x", "--print_config"],
            ["evil-command"],
            ["complete", "fit", "--config", ""],
            ["fit", "--config", "vision/mae-digits", "--model.mask", "evil.mask", "--print_config"],
            ["show", "vision.mae"],
            ["--help"],
        )
    )

    def read() -> int:
        from unmask.plugins import inspection, registry

        sys.path.insert(0, str(site))
        registry.components.cache_clear()
        try:
            for look in (inspection.requirements, inspection.promise):
                look("evil-package")
            return main(words)
        finally:
            sys.path.remove(str(site))
            registry.components.cache_clear()
            for name in [name for name in sys.modules if name.startswith("evil_package")]:
                del sys.modules[name]

    return read


KINDS = {"plugin metadata": metadata}
