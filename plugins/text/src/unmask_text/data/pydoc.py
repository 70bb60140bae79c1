"""Text that comes with Python: the language reference in `pydoc_data` and the standard library's docstrings."""

from __future__ import annotations

import ast
import platform
import re
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

from unmask_text.data.characters import clean
from unmask_text.data.reading import Segment, cut
from unmask_text.data.report import Report
from unmask_text.data.sources import Moved, TextSource
from unmask_text.data.text import TextData

REFERENCE = "language reference"
"""The class of the language reference's topics."""
_RULE = re.compile(r"[-=+*~^_#.|]{4,}")
_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "__pycache__", "lib2to3", "pydoc_data"}


class PydocData(TextData):
    """The language reference's topics and all docstrings of the standard library, a document each.

    The class of a docstring is its module's package (``asyncio``, ``email``, ``json``, a single module by its own
    name); classes of fewer than ``least`` documents have no label. Sources are parsed and nothing is
    imported, so nothing is run. Rules and borders of tables (four signs such as ``----`` and more) are
    left out. Which text there is depends on the version of Python.

    Args:
        least: documents that a labelled class has at least, 2 or more.

    Raises:
        ValueError: a value outside its range; in `setup`, a Python without its own source.

    Further arguments are those of `TextData`; a tenth is held out, drawn evenly.
    """

    def __init__(
        self,
        least: int = 60,
        vocab_size: int = 4000,
        val_ratio: float = 0.1,
        **shared: Any,
    ) -> None:
        super().__init__(source=PydocSource(least), vocab_size=vocab_size, val_ratio=val_ratio, **shared)


@dataclass
class PydocSource(TextSource):
    """Those documents; the field is an option of `PydocData`."""

    least: int = 60

    def __post_init__(self) -> None:
        if self.least < 2:
            raise ValueError(f"`least` must be at least 2 documents, but is {self.least}.")

    def parts(self) -> dict[str, dict[str, Any]]:
        return {"train": {"python": sys.version, "on": platform.platform(), "least": self.least}}

    def read(self, part: dict[str, Any], report: Report, moved: Moved) -> Iterator[Segment]:
        documents = _documents(report, moved)
        sizes = Counter(package for package, *_ in documents)
        for number, (package, file, row, text) in enumerate(documents):
            text = _RULE.sub(" ", clean(text, report))
            yield from cut(text, package if sizes[package] >= self.least else None, report, file, row)
            moved(0.9 + 0.1 * number / len(documents))


def _documents(report: Report, moved: Moved) -> list[tuple[str, str, int, str]]:
    """All documents, few enough to keep, each behind its class, its file and its number there."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for path in library.rglob("*.py") if not _LEFT_OUT & set(path.relative_to(library).parts))
    if not files:
        raise ValueError(f"`text.pydoc` needs the standard library's source, but there is none in {library}.")
    documents = [(REFERENCE, "pydoc_data/topics.py", place, text) for place, text in enumerate(_topics(), 1)]
    for number, path in enumerate(files):
        report.num_files += 1
        try:
            texts = _docstrings(path, path.stat().st_mtime_ns)
        except (SyntaxError, ValueError, OSError) as error:
            report.unreadable(f"{path} ({type(error).__name__})")
            continue
        name = path.relative_to(library)
        package = name.parts[0].removesuffix(".py")
        documents += [(package, name.as_posix(), place, text) for place, text in enumerate(texts, 1)]
        moved(0.9 * number / len(files))
    return documents


def _topics() -> Iterator[str]:
    """The literals of the module's one dictionary."""
    spec = util.find_spec("pydoc_data")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "topics.py"
        if path.is_file():
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.Assign):
                    yield from ast.literal_eval(node.value).values()


@cache  # a corpus is read for its vocabulary, and again to be cut into tokens
def _docstrings(path: Path, changed: int) -> tuple[str, ...]:
    """Of a module, its classes and functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in old sources
        tree = ast.parse(path.read_bytes())
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    texts = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    return tuple(text for text in texts if text and text.strip())
