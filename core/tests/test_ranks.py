"""Several processes that share features: the bytes of a file and the numbers of a probe are those of one process."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import nn

from unmask import Encoder, Latent, MaskedDataModule, MaskedModel, Sequence, Tokenizer, Tokens
from unmask.cli import main
from unmask.data import Splits
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask.tools.features.embed import embed
from unmask.tools.features.ranks import Ranks
from unmask.tools.features.samples import batches, split_of
from unmask.tools.features.shares import spans
from unmask.tools.features.vectors import raw_vectors, vectors


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Sequence())


class Codes(Encoder):
    width, num_layers = 2, 1

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, tokens, mask=None, layer=None):
        return Latent(self.linear(tokens.values))


class Numbers(MaskedDataModule):
    """Samples ``[3, 2]``, with whatever ``extra`` says of each."""

    def __init__(self, num, extra, hook):
        super().__init__(batch_size=4, num_workers=0)
        self.num, self.extra, self.hook = num, extra, hook

    def load(self):
        return Splits(train=self, val=self)

    def __len__(self):
        return self.num

    def __getitem__(self, i):
        self.hook(i)
        return {"x": torch.arange(6.0).reshape(3, 2) / 7 + i, **self.extra(i)}


def model():
    torch.manual_seed(0)
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Codes(), predictor=LinearPredictor(2, 2),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


PIECES = {"name": lambda i: f"file-{i // 3}", "piece": lambda i: i % 3}


@dataclass
class Table:
    """What processes exchange, between threads."""

    barrier: Barrier
    given: dict[int, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Thread(Ranks):
    """A process that is a thread."""

    table: Table | None = None

    def gathered(self, own):
        self.table.given[self.rank] = own
        self.table.barrier.wait(30)
        everybody = [self.table.given[rank] for rank in range(self.world)]
        self.table.barrier.wait(30)
        return everybody


def on(world, work):
    """``work`` by each of several; what each gives, or the first error."""
    table = Table(Barrier(world))
    with ThreadPoolExecutor(world) as pool:
        waiting = [pool.submit(work, Thread(rank, world, "cpu", table)) for rank in range(world)]
        return [one.result() for one in waiting]


def data(num=22, hook=lambda i: None):
    return Numbers(num, lambda i: {"label": i // 3, **{key: of(i) for key, of in PIECES.items()}}, hook)


MODEL = model()  # once, as weights are drawn from a generator that threads share


def embedded(out, ranks, hook=lambda i: None, **options):
    return embed(copy.deepcopy(MODEL), data(hook=hook), out, split="val", ranks=ranks, batch_size=4, **options)


def digests(out: Path) -> dict[str, str]:
    names = (out.name, f"{out.name}.json", f"{out.name}.ids.csv")
    found = {name: out.with_name(name) for name in names if out.with_name(name).exists()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


@pytest.mark.parametrize("world", [1, 2, 4, 7])  # 7: more than batches
def test_shares_follow_each_other_without_overlap_or_loss(world):
    own = [Ranks(rank, world).share(6) for rank in range(world)]
    assert [one for share in own for one in share] == list(range(6))
    assert max(map(len, own)) - min(map(len, own)) <= 1


def test_batches_of_parts_and_those_that_are_left():
    whole = spans({"train": 5, "val": 3}, 2, 0)
    assert [tuple(one) for one in whole] == [
        ("train", 0, 2, 0), ("train", 2, 4, 2), ("train", 4, 5, 4), ("val", 0, 2, 5), ("val", 2, 3, 7)
    ]  # fmt: skip
    assert spans({"train": 5, "val": 3}, 2, 5) == whole[3:]
    assert spans({"train": 5, "val": 3}, 2, 8) == []


@pytest.mark.parametrize("world", [2, 3, 7])
@pytest.mark.parametrize("options", [{}, {"whole": True}, {"per_token": True}], ids=["samples", "wholes", "tokens"])
def test_the_file_has_the_bytes_that_one_process_writes(tmp_path, world, options):
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    alone = embedded(tmp_path / "one" / "x.npy", Ranks(), **options)
    made = on(world, lambda ranks: embedded(tmp_path / "many" / "x.npy", ranks, **options))
    assert digests(tmp_path / "many" / "x.npy") == digests(tmp_path / "one" / "x.npy")
    assert len(digests(tmp_path / "one" / "x.npy")) == 3
    assert {one.num_rows for one in made} == {alone.num_rows}
    assert {path.name for path in (tmp_path / "many").iterdir()} == set(digests(tmp_path / "one" / "x.npy"))


class StopError(OSError):
    """In place of a kill."""


@pytest.mark.parametrize("again", [1, 2, 3])
def test_what_was_begun_is_carried_on_by_as_many_processes_or_others(tmp_path, again):
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    out, seen = tmp_path / "many" / "x.npy", []
    embedded(tmp_path / "one" / "x.npy", Ranks())

    def stop(i):
        if i in (9, 21):  # in the third batch of the one process, and in the third of the other
            raise StopError("stopped")

    with pytest.raises((OSError, ValueError), match="stopped"):
        on(2, lambda ranks: embedded(out, ranks, stop))
    assert not out.exists()
    with pytest.raises(ValueError, match="was begun with layer None, not 1"):
        embedded(out, Ranks(), layer=1)
    work = lambda ranks: embedded(out, ranks, seen.append)  # noqa: E731
    made = [work(Ranks())] if again == 1 else on(again, work)
    assert digests(out) == digests(tmp_path / "one" / "x.npy")
    assert made[0].num_found == (16 if again == 2 else 8)
    assert sorted(set(seen) - {0}) == ([*range(8, 12), 20, 21] if again == 2 else list(range(8, 22)))


def test_an_error_of_one_process_is_told_by_all(tmp_path):
    def stop(i):
        if i == 20:
            raise StopError("sample 20 is no file")

    told = []

    def work(ranks):
        try:
            embedded(tmp_path / "x.npy", ranks, stop)
        except (OSError, ValueError) as error:
            told.append(str(error))

    on(3, work)
    assert told == ["sample 20 is no file"] * 3


@pytest.mark.parametrize("world", [2, 7])
def test_vectors_are_those_of_one_process_wholes_included(world):
    source = data()
    split = split_of(source, "val")
    loaders = {1: [batches(source, split, 4)]}
    for count in (world,):
        shares = [Ranks(rank, count).share(6) for rank in range(count)]
        loaders[count] = [batches(source, split, 4, one.start * 4, min(one.stop * 4, 22)) for one in shares]
    for make in (vectors, raw_vectors):
        alone = make(copy.deepcopy(MODEL).embedder, loaders[1][0])
        shared = on(
            world, lambda ranks, make=make: make(copy.deepcopy(MODEL).embedder, loaders[world][ranks.rank], ranks=ranks)
        )
        assert len(alone.values) == 8  # files of three pieces
        for one in shared:
            assert np.array_equal(one.values, alone.values)
            assert np.array_equal(one.label, alone.label)


def test_processes_that_were_started_otherwise_are_refused(toys, monkeypatch, capsys):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert main(["embed", "toy", "--devices", "2"]) == 2
    assert "must be the number of processes that were started on a node, 4" in capsys.readouterr().err
    assert main(["embed", "toy", "--devices", "0"]) == 2


@pytest.mark.slow
def test_commands_on_two_processes_equal_those_on_one(toys):
    def command(*words, launcher=()):
        paths = os.pathsep.join(path for path in sys.path if path)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        words = [sys.executable, "-m", *launcher, "unmask", *words]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        return done.stdout

    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    for name, options, launcher in (("one", (), ()), ("two", ("--devices", "2"), ()), ("run", (), torchrun)):
        Path(name).mkdir()
        said = command("embed", "toy", "--out", f"{name}/x.npy", "--batch_size", "3", *options, launcher=launcher)
        assert said.count("16 vectors of width 8") == 1
    assert digests(Path("one/x.npy")) == digests(Path("two/x.npy")) == digests(Path("run/x.npy"))

    results = []
    for options, launcher in (((), ()), (("--devices", "2"), ()), ((), torchrun)):
        words = ("probe", "toy", "--probes", "knn,ridge", "--labels_per_class", "3", "--num_draws", "2")
        assert command(*words, *options, launcher=launcher).count("Written to") == 1
        results.append(json.loads(Path("toy/probe.json").read_text()))
    assert results[0] == results[1] == results[2]
