"""Writes all generated pages of the site, and the table in README.md; ``--check`` fails when one is stale."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cards
import commands
import components
import imports
import own_data
import reference
import rows

DOCS = Path(__file__).parent
FOLDERS = ("api", "components", "recipes")
"""Of these, every page is generated."""


def generated() -> dict[Path, str]:
    """Every generated file with its text."""
    pages: dict[str, str] = {}
    for maker in (components, cards, rows, commands, reference, imports, own_data):
        pages |= maker.pages()
    made = {DOCS / name: text.rstrip("\n") + "\n" for name, text in pages.items()}
    return made | {components.README: components.written(components.README.read_text(encoding="utf-8"))}


def stale() -> list[str]:
    """What a run of this would change: files that differ, and files that nothing makes."""
    made = generated()
    found = [path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    found += [path for folder in FOLDERS for path in sorted((DOCS / folder).rglob("*.md")) if path not in made]
    return [str(path.relative_to(DOCS.parent)) for path in found]


if __name__ == "__main__":
    if "--check" in sys.argv:
        names = stale()
        sys.exit(f"Stale: {', '.join(names)}. Run `python docs/generate.py`." if names else 0)
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
