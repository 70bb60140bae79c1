"""Which folder of core imports which: the layers, and their picture in ``architecture.md``."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

CORE = Path(__file__).parent.parent / "core" / "src" / "unmask"
LAYERS = (
    ("testing",),
    ("cli",),
    ("callbacks", "tools"),
    ("runs",),
    ("configs", "of_parts"),
    ("method", "model", "optim", "training"),
    ("corruptions", "masks", "losses", "terms", "targets", "predictors", "nn", "data"),
    ("embedder", "objectives"),
    ("joint",),
    ("parts", "frozen", "decode"),
    ("noise",),
    ("step", "agreements"),
    ("structures", "schedules"),
    ("draws", "seeds"),
    ("plugins",),
    ("support",),
)
"""Folders and single files of core, the highest first. A part imports from its own layer and from those below it."""
FACADES = ("api", "__main__")
"""Modules that only pass on what others have."""

WIDTH, HEIGHT, GAP = 920, 34, 34


def modules() -> dict[str, Path]:
    """Every module of core by its dotted name below ``unmask``; the package itself is ``""``."""
    found = {}
    for path in sorted(CORE.rglob("*.py")):
        name = ".".join(path.relative_to(CORE).with_suffix("").parts)
        found[name.removesuffix("__init__").removesuffix(".")] = path
    return found


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """The modules of core that a module imports anywhere in its file, in functions and for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "unmask":
            parent = node.module.removeprefix("unmask").removeprefix(".")
            found |= {one if (one := f"{parent}.{alias.name}".lstrip(".")) in known else parent for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {one.name[7:] for one in node.names if one.name.startswith("unmask.")}
    return found - {name}


def part(module: str) -> str:
    """The folder or file directly below ``unmask`` that a module lies in."""
    return module.partition(".")[0]


def between_parts() -> Counter[tuple[str, str]]:
    """How many modules of one part import from another; facades are left out."""
    known, found = modules(), Counter[tuple[str, str]]()
    for module in known:
        for other in {part(one) for one in imports(module, known)} - {part(module), ""}:
            if part(module) and part(module) not in FACADES:
                found[part(module), other] += 1
    return found


def picture() -> str:
    """An SVG: layers from top to bottom, an arrow for each pair of parts, thicker for more modules."""
    centres = {}
    boxes, arrows = [], []
    for row, layer in enumerate(LAYERS):
        width = min(150, WIDTH / len(layer) - 10)
        for i, name in enumerate(layer):
            x, y = WIDTH * (i + 0.5) / len(layer), row * (HEIGHT + GAP) + HEIGHT / 2 + 1
            centres[name] = x, y
            boxes.append(
                f'<rect x="{x - width / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{width:.0f}" height="{HEIGHT}" rx="6"/>'
                f'<text x="{x:.0f}" y="{y + 5:.0f}">{name}</text>'
            )
    for (above, below), count in sorted(between_parts().items()):
        (x, y), (u, v) = centres[above], centres[below]
        bend = HEIGHT if y == v else 0  # within a layer, below the boxes
        path = f"M{x:.0f},{y:.0f} C{x:.0f},{y + bend + 45:.0f} {u:.0f},{v + bend - 45:.0f} {u:.0f},{v:.0f}"
        arrows.append(f'<path d="{path}" stroke-width="{min(1 + count / 6, 5):.1f}"/>')
    height = len(LAYERS) * (HEIGHT + GAP) - GAP + 2
    style = (
        "path{fill:none;stroke:#7a8fa6;stroke-opacity:.45} rect{fill:#eef3f8;stroke:#35506b} "
        "text{font:14px sans-serif;text-anchor:middle;fill:#16283a}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>Imports of core by folder: each imports from its own row and from rows below</title>"
        f"<style>{style}</style>{''.join(arrows)}{''.join(boxes)}</svg>"
    )


def pages() -> dict[str, str]:
    """The picture by its path below ``docs``."""
    return {"assets/imports.svg": picture()}
