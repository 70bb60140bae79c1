"""Shards: what is written, what an index may say, the order of an epoch, the cache, and shards of other writers."""

import io
import json
import random
import tarfile
import threading
import time
from collections import Counter

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from torch.utils.data import Dataset

from unmask.cli import main
from unmask.cli.shard import size_of
from unmask.data import Found, Item, Report, ShardError, Shards, Source, SourceDataModule, Unreadable
from unmask.data.shards import INDEX, cache, index_folder, packed, read_index, write_shards
from unmask.data.shards.order import Nearby
from unmask.data.shards.packing import unpacked
from unmask.support.errors import UserError


class Squares(Source):
    """Arrays ``[n, n]`` of ``n``, with a label and a group; number 7 cannot be used."""

    def __init__(self, count=40, broken=()):
        self.count, self.broken = count, broken

    def read(self, findings):
        def content(n):
            if n in self.broken:
                raise Unreadable("it is broken")
            return np.full((n % 5 + 1, 3), n, dtype=np.int32)

        items = [
            Item(f"square {n}", (lambda n=n: content(n)), ("odd" if n % 2 else "even"), {"tens": str(n // 10)})
            for n in range(self.count)
        ]
        return Found(items, None, ["even", "odd"], "Two kinds.")


class Kept:
    def __init__(self, items):
        self.items = items


class Samples(Dataset):
    def __init__(self, items, labelled):
        self.of, self.labelled = items, labelled

    def __len__(self):
        return len(self.of)

    def __getitem__(self, index):
        item = self.of[index]
        sample = {"x": int(np.asarray(item.read()).ravel()[0]), "name": item.name, **item.groups}
        return sample | ({"label": item.label} if self.labelled else {})


class Told(Report):
    def amount(self):
        return "all"


class Data(SourceDataModule):
    item = "square"

    def __init__(self, source, **shared):
        super().__init__(source=source, report=Told(), **shared)

    def collect(self, items):
        return Kept(list(items))

    def samples(self, kept, chosen, labelled, trained):
        return Samples([kept.items[place] for place in chosen], labelled)


class Faked(Data):
    """One of several devices."""

    world = (1, 0)

    def _world(self):
        return self.world


def written(folder, source=None, size=2500, shuffle=True):
    plan = Data(source or Squares(), val_ratio=0.2).shard_plan(shuffle)
    return write_shards(folder, plan, size, lambda *_: None)


def epoch(module, number=0):
    loader = module.train_dataloader()
    loader.where = lambda: (number, 0)
    return [dict(batch) for batch in loader]


def test_what_was_written_is_read_with_labels_groups_and_parts(tmp_path):
    index = written(tmp_path / "s")
    assert len(index.parts["train"]) > 3
    folder, shards = Data(Squares(), val_ratio=0.2, batch_size=4), Data(Shards(str(tmp_path / "s")), batch_size=4)
    for part in ("train", "val", "probe_train", "probe_test"):
        a, b = (
            sorted((dict(sample) for sample in getattr(module.splits, part)), key=lambda one: one["name"])
            for module in (folder, shards)
        )
        assert a == b
        assert len(a) == (32 if part in ("train", "probe_train") else 8)
    assert shards.classes == folder.classes
    assert shards.report.about == "Two kinds."


def test_without_shuffling_and_in_one_window_epochs_are_those_of_the_source(tmp_path):
    written(tmp_path / "s", shuffle=False)
    torch.manual_seed(3)
    one = Data(Squares(), val_ratio=0.2, batch_size=4)
    two = Data(Shards(str(tmp_path / "s"), window=99), batch_size=4)
    for number in (0, 5):
        for a, b in zip(epoch(one, number), epoch(two, number), strict=True):
            assert torch.equal(a["x"], b["x"])
            assert torch.equal(a["index"], b["index"])
            assert a["name"] == b["name"]


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_sample_comes_once_on_any_number_of_devices_and_workers(tmp_path, world, workers):
    written(tmp_path / "s")
    torch.manual_seed(0)
    seen = Counter()
    steps = None
    for rank in range(world):
        module = Faked(Shards(str(tmp_path / "s"), window=2), batch_size=8 // world, num_workers=workers)
        module.world = world, rank
        batches = [batch["name"] for batch in epoch(module, 1)]
        seen.update(name for batch in batches for name in batch)
        steps = batches if steps is None else [[*a, *b] for a, b in zip(steps, batches, strict=True)]
    assert set(seen.values()) == {1}
    assert len(seen) == 32
    alone = Data(Shards(str(tmp_path / "s"), window=2), batch_size=8)
    assert [sorted(batch["name"]) for batch in epoch(alone, 1)] == [sorted(names) for names in steps]


def test_an_epoch_goes_through_windows_of_shards_in_an_order_of_its_own():
    shard = torch.arange(60) // 6  # 10 shards
    near = Nearby(shard, 3, lambda _: None)
    orders = []
    for seed in (0, 1):
        rng = torch.Generator().manual_seed(seed)
        orders.append(near.ordered(torch.randperm(60, generator=rng), rng))
    for order in orders:
        assert sorted(order.tolist()) == list(range(60))
        windows = [set(shard[part].tolist()) for part in order.split(18)]
        assert [len(one) for one in windows] == [3, 3, 3, 1]
        assert len(set().union(*windows)) == 10
        assert order[:18].tolist() != sorted(order[:18].tolist())
    assert orders[0].tolist() != orders[1].tolist()
    ahead = list(near.ahead(orders[0]))
    assert ahead[0][0] == 0
    assert set(ahead[0][1]) == set(shard[orders[0][:36]].tolist())
    assert near.mark not in (0, near._replace(window=2).mark)
    assert near._replace(window=10).mark == 0
    rng = torch.Generator().manual_seed(0)
    everything = torch.randperm(60, generator=rng)
    assert torch.equal(Nearby(shard, 10, lambda _: None).ordered(everything, rng), everything)


def test_a_killed_writer_goes_on_and_a_finished_one_does_nothing(tmp_path):
    whole = written(tmp_path / "whole", Squares(broken=(7, 20)))
    assert whole.left_out["cannot be used and are left out"][0] == 2

    class Stop(Exception):  # noqa: N818
        pass

    def stop(done, total, what):
        if what == "train" and done == 20:
            raise Stop

    source = Squares(broken=(7, 20))
    with pytest.raises(Stop):
        write_shards(tmp_path / "s", Data(source, val_ratio=0.2).shard_plan(True), 2500, stop)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("*.tar")}
    assert before
    assert not (tmp_path / "s" / INDEX).exists()
    assert not list((tmp_path / "s").glob("*.part"))
    with pytest.raises(ShardError, match="a part of other data"):
        written(tmp_path / "s", Squares(41))
    assert written(tmp_path / "s", Squares(broken=(7, 20))).text() == whole.text()
    for name, stamp in before.items():
        assert (tmp_path / "s" / name).stat().st_mtime_ns == stamp
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "s" / path.name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert written(tmp_path / "s", Squares(broken=(7, 20))) is None
    with pytest.raises(ShardError, match="shards of other data"):
        written(tmp_path / "s", Squares(41))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ShardError, match=r"holds notes\.txt"):
        written(tmp_path / "other")


@pytest.mark.parametrize(
    "content",
    [
        np.arange(6.0).reshape(2, 3), torch.arange(5), {"a": np.ones(2, np.int8), "b": np.zeros((0, 3))}, b"any bytes",
        np.array(3.5), np.array(["word", "longer"]),
    ],
)  # fmt: skip
def test_contents_come_back_as_they_were(content):
    made = packed(content)
    got = unpacked(made.content, made.ending)
    if isinstance(content, bytes):
        assert got.read() == content
    elif isinstance(content, dict):
        assert got.keys() == content.keys()
        assert all(np.array_equal(got[key], content[key]) and got[key].dtype == content[key].dtype for key in content)
    else:
        assert type(got) is type(content)
        assert got.dtype == content.dtype
        assert np.array_equal(np.asarray(got), np.asarray(content))


def test_arrays_that_lie_about_their_size_take_no_memory():
    held = io.BytesIO()
    np.lib.format.write_array_header_1_0(held, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(Unreadable, match="header says float64"):
        unpacked(held.getvalue() + b"12345678", "array.npy")
    held = io.BytesIO()
    np.savez_compressed(held, a=np.zeros(10**6))
    with pytest.raises(Unreadable, match="compressed"):
        unpacked(held.getvalue(), "arrays.npz")
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}]), allow_pickle=True)
    with pytest.raises(Unreadable, match="object"):
        unpacked(pickled.getvalue(), "array.npy")
    with pytest.raises(Unreadable, match="pickles"):
        packed(np.array([{}]))
    for damaged in (b"", b"PK\3\4", b"\x93NUMPY\1\0"):
        for ending in ("array.npy", "arrays.npz", "tensor.npy"):
            with pytest.raises(Unreadable):
                unpacked(damaged, ending)


LIES = {
    "beyond": (lambda shard: shard["sizes"].__setitem__(0, 10**9), "ends at byte"),
    "negative": (lambda shard: shard["offsets"].__setitem__(0, -1), "whole numbers from 0"),
    "fewer": (lambda shard: shard["names"].pop(), "are of"),
    "elsewhere": (lambda shard: shard.update(file="../../etc/passwd.tar"), "plain name"),
    "absolute": (lambda shard: shard.update(file="/tmp/x.tar"), "plain name"),
    "class": (lambda shard: shard["labels"].__setitem__(0, 99), "classes"),
    "kind": (lambda shard: shard.update(sizes="all"), "no list"),
    "ending": (lambda shard: shard["endings"].__setitem__(0, "../x"), "ends in"),
    "entry": (lambda shard: shard.update(more=1), "entries are not"),
    "true": (lambda shard: shard["crcs"].__setitem__(0, True), "whole numbers from 0"),
    "name": (lambda shard: shard["names"].__setitem__(0, 5), "no word"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_lies_is_refused_in_one_line(tmp_path, lie):
    written(tmp_path / "s")
    plain = json.loads((tmp_path / "s" / INDEX).read_text())
    change, told = LIES[lie]
    change(plain["parts"]["train"][0])
    (tmp_path / "s" / INDEX).write_text(json.dumps(plain))
    with pytest.raises(ShardError, match=told) as raised:
        Data(Shards(str(tmp_path / "s"))).splits  # noqa: B018
    assert INDEX in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("fact", [True, -1, "4", {}, [], None, 2**70])
def test_facts_of_another_kind_are_refused(tmp_path, fact):
    written(tmp_path / "s")
    file = tmp_path / "s" / INDEX
    plain = json.loads(file.read_text())
    for shard in (one for part in plain["parts"].values() for one in part):
        shard["facts"] = {"rows": [4] * len(shard["names"])}
    file.write_text(json.dumps(plain))
    assert Shards(str(tmp_path / "s"), facts={"rows": (int,)}).index.shards
    with pytest.raises(ShardError, match=r"has the facts \['rows'\] instead of \['columns'\]"):
        Shards(str(tmp_path / "s"), facts={"columns": (int,)}).index  # noqa: B018
    plain["parts"]["val"][0]["facts"]["rows"][0] = fact
    file.write_text(json.dumps(plain))
    with pytest.raises(ShardError, match=r"`rows` of 'square \d+' must be int, but is "):
        Shards(str(tmp_path / "s"), facts={"rows": (int,)}).index  # noqa: B018


def refused(text):
    """What an index is refused with; None: it is not."""
    try:
        read_index(text, "here")
    except ShardError as error:
        return str(error)
    return None


def test_damaged_indices_are_refused_whatever_they_are(tmp_path):
    text = written(tmp_path / "s").text()
    rng = random.Random(0)
    for _ in range(300):
        at = rng.randrange(len(text))
        broken = rng.choice([text[:at], text[:at] + rng.choice('{}[]",:0-9a\\') + text[at + 1 :]])
        told = refused(broken)
        assert told is None or "\n" not in told
    for odd in ("[" * 10**5, "null", "{}", '{"format": "unmask-shards-1", "parts": 3}'):
        with pytest.raises(ShardError):
            read_index(odd, "here")


def test_missing_shorter_and_damaged_shards_are_named(tmp_path):
    index = written(tmp_path / "s", shuffle=False)
    shard = index.parts["train"][0]
    path = tmp_path / "s" / shard.file
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[shard.offsets[0] + shard.sizes[0] - 1] ^= 1
    path.write_bytes(broken)
    module = Data(Shards(str(tmp_path / "s")))
    with pytest.raises(Unreadable, match=f"bytes in shard {shard.file} are damaged"):
        module.splits.train[0]
    assert module.splits.train[1]
    path.write_bytes(whole[:-512])
    with pytest.raises(ShardError, match=f"{shard.file} must have"):
        Data(Shards(str(tmp_path / "s"))).splits  # noqa: B018
    path.unlink()
    with pytest.raises(ShardError, match=f"{shard.file} is missing"):
        Data(Shards(str(tmp_path / "s"))).splits  # noqa: B018
    with pytest.raises(ShardError, match="no folder"):
        Data(Shards(str(tmp_path / "none"))).splits  # noqa: B018
    path.write_bytes(whole)
    with pytest.raises(ShardError, match=r"must hold sounds, but .* holds squares"):
        Shards(str(tmp_path / "s"), of="sound").index  # noqa: B018


class Flaky(MemoryFileSystem):
    """A store in memory whose answers fail, or are damaged, every other time."""

    protocol = "flaky"
    store = {}
    pseudo_dirs = [""]
    asked = Counter()
    fails = 0
    damages = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def _open(self, path, mode="rb", **kwargs):
        if mode == "rb":
            self.asked[path.rpartition("/")[2]] += 1
            if Flaky.fails:
                Flaky.fails -= 1
                raise ConnectionResetError("the network went away")
            if Flaky.damages and path.endswith(".tar"):
                Flaky.damages -= 1
                return io.BytesIO(self.cat_file(path)[:-1] + b"?")
        return super()._open(path, mode, **kwargs)

    def cat_file(self, path, **kwargs):
        return self.store[self._strip_protocol(path)].getvalue()


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """The URL of shards that lie in such a store, and their index."""
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    monkeypatch.setattr(cache, "WAIT_S", 0.001)
    index = written(tmp_path / "s", Squares(70))
    Flaky.asked.clear()
    Flaky.fails = Flaky.damages = 0
    system = fsspec.filesystem("flaky", skip_instance_cache=True)
    for path in (tmp_path / "s").iterdir():
        system.pipe_file(f"/bucket/s/{path.name}", path.read_bytes())
    return "flaky://bucket/s", index


def test_shards_behind_a_url_are_fetched_once_an_epoch_into_a_bounded_cache(tmp_path, remote):
    url, index = remote
    largest = max(shard.bytes for shard in index.shards)
    room = 5 * largest
    kept = tmp_path / "cache"
    source = Shards(url, window=2, cache_folder=str(kept), cache_gb=room / 2**30)
    module = Data(source, batch_size=4)
    most, ended = 0, threading.Event()

    def watch():
        nonlocal most
        while not ended.is_set():
            sizes = []
            there = sorted(kept.iterdir()) if kept.is_dir() else []
            for path in there:
                try:
                    sizes.append(path.stat().st_size if path.suffix != ".lock" else 0)
                except FileNotFoundError:
                    continue
            if kept.is_dir() and sorted(kept.iterdir()) == there:  # else one went and another came while they were read
                most = max(most, sum(sizes))
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        names = [name for number in (0, 1) for batch in epoch(module, number) for name in batch["name"]]
    finally:
        ended.set()
        watcher.join()
    assert len(names) == 112
    assert len(index.parts["train"]) > 6
    assert 0 < most <= room
    asked = [Flaky.asked[shard.file] for shard in index.parts["train"]]
    assert sum(asked) <= 2 * len(asked) + 1  # the first sample is looked at before
    with pytest.raises(ShardError, match="`cache_gb` must be at least"):
        Shards(url, window=8, cache_folder=str(kept), cache_gb=room / 2**30).index  # noqa: B018


def test_what_fails_on_the_way_is_tried_again_and_then_told(tmp_path, remote):
    url, index = remote
    shard = index.parts["train"][0]
    kept = tmp_path / "cache"

    def fresh():
        return Shards(url, cache_folder=str(kept)).store

    Flaky.fails = 3
    assert fresh().index().text() == index.text()
    Flaky.fails, Flaky.damages = 2, 2
    assert fresh().path(shard).read_bytes() == (tmp_path / "s" / shard.file).read_bytes()
    fresh().path(shard).unlink()
    Flaky.damages = 99
    with pytest.raises(ShardError, match=f"{shard.file} cannot be fetched, after 5 tries: its checksum"):
        fresh().path(shard)
    assert not list(kept.glob("*.tar"))
    assert not list(kept.glob("*.part"))
    Flaky.damages, Flaky.fails = 0, 99
    with pytest.raises(ShardError, match="after 5 tries: the network went away"):
        fresh().path(shard)
    Flaky.fails = 0
    fsspec.filesystem("flaky", skip_instance_cache=True).rm(f"/bucket/s/{shard.file}")
    with pytest.raises(ShardError, match=f"There is no shard {url}/{shard.file}"):
        fresh().path(shard)
    with pytest.raises(ShardError, match="There is no index"):
        Shards("flaky://bucket/none", cache_folder=str(kept)).index  # noqa: B018
    with pytest.raises(ShardError, match="fsspec can read"):
        Shards("nosuch://bucket", cache_folder=str(kept)).index  # noqa: B018


def tar(path, *members):
    with tarfile.open(path, "w") as file:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def indexed(folder, content=""):
    return index_folder(folder, "square", lambda given, _: packed(given), lambda *_: None, content)


def test_tar_files_of_other_writers_are_indexed(tmp_path):
    tar(
        tmp_path / "a-000.tar", ("x/001.jpg", b"one"), ("x/001.cls", b"3\n"), ("x/001.txt", b"a caption"),
        ("x/002.jpg", b"two!"), ("x/002.json", b'{"label": 10, "groups": {"who": "me"}}'),
    )  # fmt: skip
    tar(tmp_path / "val-000.tar", ("9.jpg", b"nine"), ("9.cls", b"3"))
    with pytest.raises(ShardError, match=r"write one by `unmask shard --index"):
        Shards(str(tmp_path)).index  # noqa: B018
    indexed(tmp_path)
    found = Shards(str(tmp_path)).read(Told().findings)
    assert [(item.name, item.read().read(), item.label, item.groups) for item in found.train] == [
        ("x/001", b"one", "3", {}), ("x/002", b"two!", "10", {"who": "me"})
    ]  # fmt: skip
    assert [item.read().read() for item in found.val] == [b"nine"]
    assert found.numbered().classes == ["3", "10"]
    with pytest.raises(ShardError, match="has one"):
        indexed(tmp_path)


def _link(name, kind, to=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


HOSTILE = {
    "parent": [("../../x.jpg", b"1")],
    "absolute": [("/etc/x.jpg", b"1")],
    "within": [("a/../../x.jpg", b"1")],
    "link": [(_link("x.jpg", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    "hard": [(_link("x.jpg", tarfile.LNKTYPE, "/etc/passwd"), b"")],
    "device": [(_link("x.jpg", tarfile.CHRTYPE), b"")],
    "fifo": [(_link("x.jpg", tarfile.FIFOTYPE), b"")],
    "twice": [("x.jpg", b"1"), ("x.jpg", b"2")],
    "several": [("x.jpg", b"1"), ("x.png", b"2")],
    "json": [("x.jpg", b"1"), ("x.json", b"{")],
    "huge": [("x.jpg", b"1"), ("x.json", b" " * (2**20 + 1))],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tar_files_are_refused_in_one_line(tmp_path, kind):
    tar(tmp_path / "a.tar", *HOSTILE[kind])
    with pytest.raises(ShardError, match=r"a\.tar") as raised:
        indexed(tmp_path)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_tar_files_that_break_off_or_are_none_are_refused(tmp_path):
    tar(tmp_path / "a.tar", ("1.jpg", b"x" * 5000), ("2.jpg", b"y" * 5000))
    whole = (tmp_path / "a.tar").read_bytes()
    for content in (whole[:7000], whole[:3000], b"no tar" * 1000, b""):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(ShardError, match="no whole tar file"):
            indexed(tmp_path)
    (tmp_path / "a.tar").unlink()
    with pytest.raises(ShardError, match="has none"):
        indexed(tmp_path)
    (tmp_path / "b.tar.gz").write_bytes(b"")
    with pytest.raises(ShardError, match="compressed"):
        indexed(tmp_path)


@pytest.mark.parametrize(("word", "size"), [("256MB", 256 * 10**6), ("1.5 KiB", 1536), ("2gb", 2 * 10**9)])
def test_sizes(word, size):
    assert size_of("--shard_size", word) == size


@pytest.mark.parametrize("word", ["256", "MB", "-1MB", "0MB", "1TBs", "nanMB", "1e3MB"])
def test_odd_sizes_are_refused(word):
    with pytest.raises(UserError, match="`--shard_size` must be a size"):
        size_of("--shard_size", word)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "needs either `--out`"),
        (["--out", "x"], "needs a recipe"),
        (["--index", "x"], "needs `--data`"),
        (["--out", "x", "--shuffle", "maybe", "r"], "must be one of true, false"),
        (["--out", "x", "--content", "jpg", "r"], "must come with"),
    ],
)
def test_the_command_tells_what_it_needs(words, told, capsys):
    assert main(["shard", *words]) == 2
    assert told in capsys.readouterr().err
