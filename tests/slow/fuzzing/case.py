"""One case: its folder, what it draws from, and the good content that it spoils."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzzing import mutations

Files = dict[str, bytes]
"""Content by the name of its file."""
Read = Callable[[], object]
"""What is watched: it may return, or refuse its input in plain words."""


@dataclass(frozen=True)
class Case:
    """One case.

    Args:
        folder: its own, with ``data`` for input, and ``work``, where alone may be written.
        rng: its own.
        values: plain values of any kind, by Hypothesis.
        shared: what was made once for all cases, such as a trained run.
    """

    folder: Path
    rng: random.Random
    values: tuple[Any, ...]
    shared: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def write(self, name: str, content: bytes | str) -> Path:
        """A file of input, now and then under an odd name or with an obstacle beside it."""
        path = self.data / Path(name).parent / mutations.file_name(self.rng, Path(name).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)  # an obstacle
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        if self.chance(0.03):
            mutations.obstacle(self.rng, path.parent / f"z{path.suffix}")
        return path

    def spoilt(self, content: bytes, others: Iterable[bytes] = (), is_text: bool = False) -> bytes:
        """The content changed: zip files by record, texts by word, and anything by byte."""
        if content[:2] == b"PK" and self.chance(0.7):
            return mutations.records_of(self.rng, content)
        if is_text and self.chance(0.75):
            text = content.decode("utf-8", "surrogateescape")
            return mutations.text_of(self.rng, text).encode("utf-8", "surrogatepass")
        return mutations.bytes_of(self.rng, content, tuple(others))

    def spoil(self, good: Files, texts: tuple[str, ...] = (), num_good: int = 4, num_bad: int = 2) -> list[Path]:
        """Writes some good files and some spoilt ones."""
        names = sorted(good)
        chosen = [*(self.rng.choice(names) for _ in range(num_good)), *(self.rng.choice(names) for _ in range(num_bad))]
        paths = []
        for number, name in enumerate(chosen):
            content = good[name]
            if number >= num_good:
                content = self.spoilt(content, good.values(), name.endswith(texts) if texts else False)
            paths.append(self.write(f"{'ab'[number % 2]}/{number}{name}", content))
        return paths


def batches(module: Any, count: int = 2) -> None:
    """What training would read first: what was found, and some batches of each part."""
    module.prepare_data()
    module.setup("fit")
    module.found()
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for number, _ in enumerate(loader):
            if number >= count:
                break
