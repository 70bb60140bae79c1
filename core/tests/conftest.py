"""Shared by the tests of commands: a toy modality in a module of its own, and a run of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from unmask.cli import main
from unmask.plugins import registry

TOY = '''
"""Rows of numbers, their method and their data."""

import torch
from torch import nn

from unmask import (
    Corruption, Embedder, Encoder, Latent, MaskedDataModule, MaskedModel, Optimization, Sequence, Tokenizer, Tokens,
)
from unmask.data import Splits
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.nn import Transformer
from unmask.predictors import TransformerPredictor
from unmask.targets import EMATeacher, ValueTarget


class Rows(Tokenizer):
    def __init__(self):
        super().__init__()
        self.shift = 0.25
        self.register_buffer("scale", torch.tensor([2.0, 4.0]), persistent=False)

    def forward(self, batch):
        return Tokens((batch["x"] - self.shift) / self.scale, Sequence())


class Mixer(Encoder):
    def __init__(self, width=8, depth=2):
        super().__init__()
        self.width, self.num_layers = width, depth
        self.embed = nn.Linear(2, width)
        self.trunk = Transformer(width, depth, num_heads=2)

    def forward(self, tokens, mask=None, layer=None):
        seen = None if mask is None else mask.seen
        x = tokens.values if seen is None else seen.gather(tokens.values)
        return Latent(self.trunk(self.embed(x)), seen)


class Toy(MaskedModel):
    def __init__(
        self, width: int = 8, depth: int = 2, optim: Optimization = Optimization(base_lr=0.01, scale_lr=False)
    ):
        super().__init__(
            tokenizer=Rows(), mask=RandomMask(ratio=0.5), encoder=Mixer(width, depth),
            predictor=TransformerPredictor(width, 2, width=8, depth=1, num_heads=2),
            target=ValueTarget(), loss=MSELoss(), corruption=Corruption(drop=1), optim=optim,
        )


class Taught(MaskedModel):
    def __init__(
        self, width: int = 8, depth: int = 2, optim: Optimization = Optimization(base_lr=0.01, scale_lr=False)
    ):
        super().__init__(
            tokenizer=Rows(), mask=RandomMask(ratio=0.5), encoder=Mixer(width, depth),
            predictor=TransformerPredictor(width, width, width=8, depth=1, num_heads=2),
            target=EMATeacher(momentum=0.5), loss=MSELoss(), corruption=Corruption(drop=1), optim=optim,
        )

    @property
    def embedder(self):
        return Embedder(self.tokenizer, self.target.teacher)


class Numbers(MaskedDataModule):
    def __init__(self, batch_size: int = 4):
        super().__init__(batch_size=batch_size, num_workers=0)

    def load(self):
        return Splits(train=self, val=self)

    def __len__(self):
        return 16

    def __getitem__(self, i):
        return {"x": torch.randn(6, 2, generator=torch.Generator().manual_seed(i)), "label": i % 2}
'''
CONFIG = """seed_everything: 3
model: {{class_path: toy_modality.{method}, init_args: {{width: {width}}}}}
data: toy_modality.Numbers
trainer: {{max_steps: 4, accelerator: cpu, enable_progress_bar: false}}
"""
ENTRY_POINTS = """[unmask.methods]
toy.toy = toy_modality:Toy
toy.taught = toy_modality:Taught
[unmask.data]
toy.numbers = toy_modality:Numbers
"""


@pytest.fixture(scope="session")
def _toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with configs, and a run of ``toy`` and of ``taught``."""
    folder = tmp_path_factory.mktemp("toys")
    distribution = folder / "module" / "toy_modality-0.1.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-modality\nVersion: 0.1\n")
    (distribution / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "module" / "toy_modality.py").write_text(TOY)
    configs = {"toy": ("Toy", 8), "taught": ("Taught", 8), "wide": ("Toy", 12)}
    for name, (method, width) in configs.items():
        (folder / f"{name}.yaml").write_text(CONFIG.format(method=method, width=width))
    with pytest.MonkeyPatch.context() as monkeypatch, _installed(folder, monkeypatch):
        for name in ("toy", "taught"):
            assert main(["fit", "--config", str(folder / f"{name}.yaml"), "--out", str(folder / name)]) == 0
    return folder


@pytest.fixture
def toys(_toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder of a test: ``toy.yaml``, ``taught.yaml``, ``wide.yaml``, and runs ``toy`` and ``taught``."""
    for source in _toys.iterdir():
        if source.name != "module":
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / source.name)
    monkeypatch.chdir(tmp_path)
    with _installed(_toys, monkeypatch):
        yield tmp_path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a distribution with entry points and modules on the import path."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(
        name: str, entries: dict[str, dict[str, str]], modules: dict[str, str], requires: Sequence[str] = ()
    ) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-0.1.dist-info"
        info.mkdir()
        metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1", *(f"Requires-Dist: {r}" for r in requires)]
        (info / "METADATA").write_text("\n".join(metadata) + "\n")
        lines = []
        for group, members in entries.items():
            lines += [f"[unmask.{group}]", *(f"{key} = {value}" for key, value in members.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for path, text in modules.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        registry.components.cache_clear()

    yield put
    registry.components.cache_clear()
    for module in set(sys.modules) - before:
        if module.startswith("fake_"):
            del sys.modules[module]


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """From an epoch on, a sample of the toy's training data holds NaN."""
    from unmask.data import module

    given = module.Augmented.__getitem__

    def spoil_it(bad: int, epoch: int) -> None:
        def spoilt(self, key):
            sample = given(self, key)
            if isinstance(key, tuple) and key[1] >= epoch and key[2] == bad:
                sample = {**sample, "x": sample["x"].clone().fill_(float("nan"))}
            return sample

        monkeypatch.setattr(module.Augmented, "__getitem__", spoilt)

    return spoil_it


@contextmanager
def _installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy as an installed plugin, for as long as a block runs."""
    monkeypatch.syspath_prepend(str(folder / "module"))
    registry.components.cache_clear()
    try:
        yield
    finally:
        monkeypatch.undo()
        registry.components.cache_clear()
