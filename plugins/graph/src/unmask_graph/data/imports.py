"""The import graph of installed packages: modules are nodes, imports edges, and identifiers bags of words."""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from unmask.api import IGNORED, at_least
from unmask.data import Findings
from unmask_graph.data.cache import cached
from unmask_graph.data.graphs import RawGraph, RawGraphs
from unmask_graph.data.module import GraphData
from unmask_graph.data.sources import GraphSource

PACKAGES = ("lightning", "networkx", "numpy", "scipy", "sklearn", "torch_geometric", "torchmetrics")
"""Packages that this one needs, so they are there; of them as many as stay within the cap."""
LONGEST = 200_000
"""Bytes of a source that is read; longer ones are tables, mostly."""
COMMON = 0.05
"""Words of more modules than this share tell little of any, and would be all that a cosine loss learns."""
_LEFT_OUT = {"test", "tests", "testing", "_vendor", "vendored", "externals", "__pycache__"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class ImportsData(GraphData):
    """Modules of packages that are installed anyway, so there is nothing to download.

    A module's features say which words its identifiers are made of (``load_state_dict`` has three): 1 or 0 for
    each word of the vocabulary. An edge joins a module with one that it imports, anywhere in it. Its
    class is the sub-package it lies in (``sklearn.cluster``), or its package where it lies in none; modules of classes
    with fewer than ``least`` modules have no label. Tests, vendored packages and sources of more than 200 kB are left
    out; sources are parsed and nothing is imported, so nothing is run. Built once for each state of the
    packages and kept in ``cache_folder``. Which graph it is depends on the packages' versions.

    Args:
        packages: names of installed packages; those of the default are what this package itself needs.
        max_modules: modules at most, 2 or more: packages are read in the order given until there are so many.
        num_words: F: most frequent words that make the vocabulary, of those in 3 modules at least and in a
            twentieth of them at most. Where there are fewer words, the last columns are 0.
        least: modules that a class has at least, 2 or more.
        cache_folder: where the graph is kept; None: ``unmask/graph`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        ValueError: a value outside its range; in `setup`, a package that is not installed or has no source.

    Further arguments are those of `GraphData`.
    """

    source: ImportsSource

    def __init__(
        self,
        packages: Sequence[str] = PACKAGES,
        max_modules: int = 3000,
        num_words: int = 1000,
        least: int = 20,
        cache_folder: str | None = None,
        scale: Literal["none", "rows", "columns"] = "rows",
        train_ratio: float = 0.3,
        **shared: Any,
    ) -> None:
        source = ImportsSource(
            packages, max_modules=max_modules, num_words=num_words, least=least, cache_folder=cache_folder
        )
        super().__init__(source=source, scale=scale, train_ratio=train_ratio, **shared)


@dataclass
class ImportsSource(GraphSource):
    """That graph; the fields are options of `ImportsData`."""

    packages: Sequence[str] = PACKAGES
    max_modules: int = 3000
    num_words: int = 1000
    least: int = 20
    cache_folder: str | None = None

    def __post_init__(self) -> None:
        at_least(2, max_modules=self.max_modules)
        at_least(1, num_words=self.num_words)
        at_least(2, least=self.least)
        if isinstance(self.packages, str) or not self.packages:
            raise ValueError(f"`packages` must be a list of at least one package, but is {self.packages!r}.")

    def prepare(self) -> None:
        self._stored()  # one process builds it, before all others read it

    def read(self, findings: Findings) -> RawGraphs:
        stored = self._stored()
        x = np.unpackbits(stored["words"], axis=1, count=self.num_words).astype(np.float32)
        names = [str(name) for name in stored["modules"]]
        words = [str(word) for word in stored["vocabulary"]]
        words += [""] * (self.num_words - len(words))
        graph = RawGraph(x, stored["edges"], label=stored["label"], name="The import graph", node_names=names)
        return RawGraphs([graph], [str(name) for name in stored["classes"]], names=words, features="words")

    @property
    def modules(self) -> list[str]:
        """Names of the nodes."""
        return [str(name) for name in self._stored()["modules"]]

    def _stored(self) -> dict[str, np.ndarray]:
        files = _files(self.packages, self.max_modules)
        state = [[name, path.stat().st_size, path.stat().st_mtime_ns] for name, path in files.items()]
        key = ["imports", state, self.num_words, self.least]
        return cached(key, self.cache_folder, "Reading imports", lambda moved: self._built(files, moved))

    def _built(self, files: dict[str, Path], moved: Callable[[float], None]) -> dict[str, np.ndarray]:
        read = {}
        for number, (name, path) in enumerate(files.items()):
            module = _module(name, path)
            if module is not None:
                read[name] = module
            moved(number / len(files))
        if len(read) < 2:
            raise ValueError(f"`packages` must have at least 2 modules that can be parsed, but have {len(read)}.")
        number_of = {name: number for number, name in enumerate(read)}
        edges = {
            (number_of[name], number_of[found])
            for name, module in read.items()
            for found in _resolved(module.imports, number_of)
        }
        groups = [_group(name, path.name == "__init__.py") for name, path in files.items() if name in read]
        sizes = Counter(groups)
        classes = sorted(group for group, size in sizes.items() if size >= self.least)
        vocabulary = _vocabulary([module.words for module in read.values()], self.num_words)
        column = {word: place for place, word in enumerate(vocabulary)}
        words = np.zeros((len(read), self.num_words), dtype=bool)  # as wide wherever it is built
        for row, module in enumerate(read.values()):
            words[row, [column[word] for word in module.words if word in column]] = True
        return {
            "modules": np.array(list(read)),
            "edges": np.array(sorted(edges), dtype=np.int64).reshape(-1, 2).T,
            "label": np.array([classes.index(group) if group in classes else IGNORED for group in groups]),
            "classes": np.array(classes, dtype=str),
            "vocabulary": np.array(vocabulary, dtype=str),
            "words": np.packbits(words, axis=1),
        }


class _Module(NamedTuple):
    """What is told of a module: names that it imports (longest form), and words of its identifiers."""

    imports: set[str]
    words: set[str]


def _files(packages: Sequence[str], max_modules: int) -> dict[str, Path]:
    """Sources by module, in order, up to the cap."""
    files: dict[str, Path] = {}
    for package in packages:
        folder = _folder(package)
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            if len(files) == max_modules:
                return files
            if not _LEFT_OUT & set(parts) and all(part.isidentifier() for part in parts):
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                if 0 < path.stat().st_size <= LONGEST:
                    files[name] = path
    return files


def _folder(package: str) -> Path:
    """Where an installed package lies; found without importing it."""
    spec = util.find_spec(package) if package.isidentifier() else None
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        place = sysconfig.get_path("purelib")
        raise ValueError(f"`packages` must name packages that are installed in {place}, but {package!r} is not one.")
    return Path(folders[0])


def _module(name: str, path: Path) -> _Module | None:
    """None where a source is of another Python, or damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in old sources
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError, RecursionError):
            return None
    home = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports: set[str] = set()
    identifiers: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            identifiers.add(node.id)
        elif isinstance(node, ast.Attribute):
            identifiers.add(node.attr)
        elif isinstance(node, ast.arg | ast.keyword):
            identifiers.add(node.arg or "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            identifiers.add(node.name)
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home.split(".")
            base = ".".join(above[: len(above) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module or "") if part)
            imports.update(f"{origin}.{alias.name}" for alias in node.names)
    words = {word.lower() for identifier in identifiers for word in _WORD.findall(identifier) if len(word) > 2}
    return _Module(imports - {name}, words)


def _resolved(imports: set[str], known: dict[str, int]) -> Iterator[str]:
    """The modules that imported names are, or lie in: ``a.b.c`` may be a function of ``a.b``."""
    for name in imports:
        while name and name not in known:
            name = name.rpartition(".")[0]
        if name:
            yield name


def _group(name: str, is_package: bool) -> str:
    """``sklearn.cluster`` of all within it, ``sklearn`` of modules that lie in no sub-package."""
    parts = name.split(".")
    return ".".join(parts[:2] if len(parts) > 2 or is_package else parts[:1])


def _vocabulary(bags: list[set[str]], num_words: int) -> list[str]:
    counts: Counter[str] = Counter(word for bag in bags for word in bag)
    usable = [(-count, word) for word, count in counts.items() if 3 <= count <= max(COMMON * len(bags), 3)]
    if not usable:
        raise ValueError("`packages` must share words in their identifiers, but no word is in 3 modules.")
    return sorted(word for _, word in sorted(usable)[:num_words])
