"""Text from files, data sets and Python itself: documents, pieces, batches, exact resume, constant memory."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unmask.api import UserError, build_data
from unmask.data import OTHER
from unmask.testing import given_batches
from unmask_text.data import HubTextData, PydocData, TextFilesData
from unmask_text.data.batches import SimilarLengths, TokenBudget
from unmask_text.data.store import Store
from unmask_text.vocabulary import vocabulary

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "unbelievable", "misunderstanding"]


def sentence(rng: random.Random, longest: int = 40) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(2, longest)))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """300 documents, one per line."""
    rng = random.Random(0)
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(sentence(rng) for _ in range(300)))
    return path


def data_of(corpus: Path, tokenizer_file: str, **options: Any) -> TextFilesData:
    options = {"document": "line", "tokenizer": tokenizer_file, "max_length": 64, "batch_size": 8} | options
    return TextFilesData(str(corpus), **options)


def texts_of(data: Any, dataset: Any) -> list[str]:
    named = vocabulary(data.tokenizer)
    samples = (dataset[i] for i in range(len(dataset)))
    return [" ".join(named.words(s["ids"].tolist(), s["word"].tolist())) for s in samples]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(a, other[key]) if isinstance(a, torch.Tensor) else a == other[key] for key, a in one.items()
    )


def test_a_packed_batch(corpus: Path, tokenizer_file: str) -> None:
    data = data_of(corpus, tokenizer_file)
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {"index", "ids", "word", "offsets", "tokenizer", "name", "piece"}
    assert batch["tokenizer"] == tokenizer_file
    assert batch["offsets"].shape == (9,)
    assert batch["ids"].shape == batch["word"].shape == (batch["offsets"][-1],)
    for number, (start, end) in enumerate(zip(batch["offsets"], batch["offsets"][1:], strict=False)):
        sample = data.splits.train[int(batch["index"][number])]
        assert torch.equal(batch["ids"][start:end], sample["ids"])
        assert batch["word"][start] == 0
        assert set(batch["word"][start:end].diff().tolist()) <= {0, 1}
    special = set(vocabulary(tokenizer_file).special_ids.values())
    assert not special & set(batch["ids"].tolist())


def test_nothing_is_lost_between_text_and_pieces(corpus: Path, tokenizer_file: str) -> None:
    data = data_of(corpus, tokenizer_file, max_length=18)
    store = data.stores["train"]
    assert store.lengths.max() <= 16
    named = vocabulary(tokenizer_file)
    lines: dict[int, list[str]] = {}
    for i in range(len(store)):
        sample = store[i]
        lines.setdefault(int(store.document[i]), []).extend(
            named.words(sample["ids"].tolist(), sample["word"].tolist())
        )
    assert [" ".join(words) for words in lines.values()] == corpus.read_text().split("\n")
    assert store.words.sum() == len(corpus.read_text().split())
    assert store.lengths.min() >= 2  # pieces of a document are even: no stump of one token
    report = data.report["train"]
    assert (report["num_files"], report["num_documents"]) == (1, 300)
    assert report["num_pieces"] == len(store)
    assert report["num_tokens"] == len(store.ids)


def test_validation_holds_out_whole_documents(corpus: Path, tokenizer_file: str) -> None:
    data = data_of(corpus, tokenizer_file, max_length=18, val_ratio=0.1)
    store = data.stores["train"]
    train, val = (set(store.document[split.index].tolist()) for split in data.splits[:2])
    assert not train & val
    assert len(val) == 30
    again = data_of(corpus, tokenizer_file, max_length=18, val_ratio=0.1)
    assert np.array_equal(again.splits.val.index, data.splits.val.index)
    one = data_of(corpus, tokenizer_file, document="file", val_ratio=0.1)
    assert len(one.splits.val) == round(0.1 * len(one.stores["train"]))


@pytest.mark.parametrize(
    "options", [{}, {"tokens_per_batch": 256}, {"pack": False}], ids=["packed", "budget", "sorted"]
)
def test_batches_depend_neither_on_workers_nor_on_kills(corpus: Path, tokenizer_file: str, options: Any) -> None:
    data = data_of(corpus, tokenizer_file, **options)
    data.seed = 7
    loader = data.train_dataloader()
    epochs = [list(loader), list(loader)]
    assert len(epochs[0]) == len(epochs[1]) == len(loader)
    assert not same(epochs[0][0], epochs[1][0])

    fresh = data_of(corpus, tokenizer_file, num_workers=2, **options)
    fresh.seed = 7
    resumed = fresh.train_dataloader()
    resumed.where = lambda: (1, 5)
    rest = list(resumed)
    assert len(rest) == len(epochs[1]) - 5
    assert all(same(a, b) for a, b in zip(rest, epochs[1][5:], strict=True))


def test_a_token_budget_takes_every_document_once(corpus: Path, tokenizer_file: str) -> None:
    data = data_of(corpus, tokenizer_file, tokens_per_batch=256)
    loader = data.train_dataloader()
    for _ in range(3):
        batches = list(loader)
        seen = torch.cat([batch["index"] for batch in batches])
        assert sorted(seen.tolist()) == list(range(len(data.splits.train)))
        sizes = [len(batch["ids"]) for batch in batches]
        assert max(sizes) < 256 + 62
        assert abs(np.mean(sizes[:-1]) - 256) < 30
    for replicas in (2, 3):
        parts = []
        for rank in range(replicas):
            sampler = TokenBudget(data.splits.train, data.splits.train.lengths, 256, replicas, rank, seed=1)
            parts.append([index for keys in sampler for _, _, index in keys])
            assert len(list(sampler)) == len(sampler)
        assert sorted(chain(*parts)) == list(range(len(data.splits.train)))


def test_similar_lengths_leave_little_padding(corpus: Path, tokenizer_file: str) -> None:
    data = data_of(corpus, tokenizer_file, pack=False)
    batches = list(data.train_dataloader())
    real = sum(int(batch["valid"].sum()) for batch in batches)
    padded = sum(batch["valid"].numel() for batch in batches)
    assert real / padded > 0.9
    lengths = data.splits.train.lengths
    random_order = torch.randperm(len(lengths)).numpy()[: len(batches) * 8].reshape(-1, 8)
    assert lengths[random_order].sum() / (lengths[random_order].max(1) * 8).sum() < 0.75
    batch = batches[0]
    assert batch["ids"].shape == batch["valid"].shape == batch["word"].shape
    assert (batch["ids"][~batch["valid"]] == 0).all()
    sampler = SimilarLengths(data.splits.train, lengths, 8, 2, 1, seed=3, drop_last=False)
    assert len(list(sampler)) == len(sampler) == -(-len(lengths) // 16)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options", [{}, {"tokens_per_batch": 512}, {"pack": False}], ids=["packed", "budget", "sorted"]
)
def test_a_killed_run_goes_on_where_it_was(corpus: Path, tokenizer_file: str, options: Any, tmp_path: Path) -> None:
    def fit(folder: Path, **how: Any) -> list[list[int]]:
        return given_batches(data_of(corpus, tokenizer_file, **options), folder, 60, **how)

    whole = fit(tmp_path / "whole")
    for kill in (5, 50):  # in the first epoch and in a later one
        assert fit(tmp_path / str(kill), kill=kill) == whole[:kill]
        assert fit(tmp_path / str(kill), resume=True) == whole[kill:]


@pytest.mark.parametrize("document", ["file", "paragraph", "line"])
def test_documents_of_plain_text(tmp_path: Path, tokenizer_file: str, document: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"the quick\r\nbrown fox\r\n\r\n  \r\njumps over\r\nthe lazy")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.md").write_text("the dog\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    data = TextFilesData(str(tmp_path), document=document, tokenizer=tokenizer_file, val_ratio=0.4)
    texts = texts_of(data, data.stores["train"])
    expected = {
        "file": ["the quick brown fox jumps over the lazy", "the dog"],
        "paragraph": ["the quick brown fox", "jumps over the lazy", "the dog"],
        "line": ["the quick", "brown fox", "jumps over", "the lazy", "the dog"],
    }
    assert texts == expected[document]
    assert data.report["train"]["findings"][OTHER] == [1, ["picture.png"]]


def tables(folder: Path) -> dict[str, Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": f"the quick {word}, said the dog", "kind": kind} for word in WORDS for kind in "ab"]
    paths = {name: folder / name for name in ("a.jsonl", "b.csv", "c.tsv", "d.parquet", "e.jsonl.gz")}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    paths["a.jsonl"].write_text(lines)
    paths["e.jsonl.gz"].write_bytes(gzip.compress(lines.encode()))
    paths["b.csv"].write_text("text,kind\n" + "".join(f'"{row["text"]}",{row["kind"]}\n' for row in rows))
    paths["c.tsv"].write_text("text\tkind\n" + "".join(f"{row['text']}\t{row['kind']}\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), paths["d.parquet"])
    return paths


def test_tables_of_all_kinds(tmp_path: Path, tokenizer_file: str) -> None:
    expected = None
    for name, path in tables(tmp_path).items():
        data = TextFilesData(str(path), labels="kind", tokenizer=tokenizer_file, val_ratio=0.2, batch_size=4)
        store = data.stores["train"]
        texts = texts_of(data, store)
        expected = expected or texts
        assert texts == expected, name
        assert store.classes == ["a", "b"], name
        assert [store[i]["label"] for i in range(20)] == [0, 1] * 10, name
        assert data.splits.probe_train is not None
        assert next(iter(data.train_dataloader()))["label"].shape == (4,)


def test_labels_from_folders_and_of_other_files(tmp_path: Path, tokenizer_file: str) -> None:
    for kind in ("news", "poems"):
        (tmp_path / "plain" / kind / "deep").mkdir(parents=True)
        for number, word in enumerate(WORDS):
            (tmp_path / "plain" / kind / "deep" / f"{number}.txt").write_text(f"the {word} of the dog")
    data = TextFilesData(str(tmp_path / "plain"), labels="folder", tokenizer=tokenizer_file, val_ratio=0.2)
    assert data.stores["train"].classes == ["news", "poems"]
    assert len(data.splits.probe_train) == 16
    assert len(data.splits.probe_test) == 4

    for name, kinds in (("train.csv", "abc"), ("test.csv", "bc")):
        (tmp_path / name).write_text(
            "text,kind\n" + "".join(f"the {word} dog,{kind}\n" for word in WORDS for kind in kinds)
        )
    data = TextFilesData(
        str(tmp_path / "plain"), probe_paths=str(tmp_path / "train.csv"), probe_test_paths=str(tmp_path / "test.csv"),
        labels="kind", tokenizer=tokenizer_file, val_ratio=0.2,
    )  # fmt: skip
    assert "label" not in data.splits.train[0]
    assert Counter(data.splits.probe_train[i]["label"] for i in range(30)) == {0: 10, 1: 10, 2: 10}
    assert Counter(data.splits.probe_test[i]["label"] for i in range(20)) == {1: 10, 2: 10}
    assert list(data.everything()) == ["train", "val", "probe_train", "probe_test"]
    whole = data.elsewhere(str(tmp_path / "plain"))
    assert list(whole.everything()) == ["train"]
    assert len(whole.everything()["train"]) == len(data.splits.train) + len(data.splits.val)


def test_data_sets_from_a_folder(tmp_path: Path, tokenizer_file: str) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "topic": datasets.ClassLabel(names=["x", "y"])})
    rows = {"text": [f"the {word} dog" for word in WORDS] + [None], "topic": [i % 2 for i in range(11)]}
    part = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": part, "test": part.select(range(4))}).save_to_disk(str(tmp_path / "set"))
    data = HubTextData(str(tmp_path / "set"), tokenizer=tokenizer_file)
    assert data.stores["train"].classes == ["x", "y"]
    assert len(data.splits.train) == 10
    assert len(data.splits.val) == 4
    assert data.report["train"]["num_unreadable_rows"] == 1
    assert [data.splits.probe_test[i]["label"] for i in range(4)] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="`split` must be one of train, test, but is 'all'"):
        HubTextData(str(tmp_path / "set"), split="all", tokenizer=tokenizer_file).splits  # noqa: B018
    with pytest.raises(
        ValueError, match=r"`text_column` must name a column of the split 'train', but is 'txt'; nearest: `text`"
    ):
        HubTextData(str(tmp_path / "set"), text_column="txt", tokenizer=tokenizer_file).splits  # noqa: B018


@pytest.mark.slow
def test_pydoc_needs_nothing() -> None:
    data = PydocData(vocab_size=1000)
    before = set(sys.modules)
    data.setup("fit")
    assert not {name for name in set(sys.modules) - before if name in ("antigravity", "this", "turtle", "idlelib")}
    store = data.stores["train"]
    assert store.report.num_documents > 5000
    assert {"asyncio", "email", "unittest", "language reference"} <= set(store.classes)
    assert len(data.splits.val) > 300
    labels = [data.splits.probe_test[i]["label"] for i in range(len(data.splits.probe_test))]
    assert len(set(labels)) > 10
    assert "return" in " ".join(texts_of(data, torch.utils.data.Subset(data.splits.train, range(200))))
    again = PydocData(vocab_size=1000)
    assert again.tokenizer == data.tokenizer


def test_a_trained_vocabulary_is_kept(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"document": "line", "vocab_size": 200, "cache_folder": str(tmp_path / "cache"), "batch_size": 8}
    data = TextFilesData(str(corpus), **options)
    data.setup("fit")
    data.setup("fit")
    assert capsys.readouterr().out.count("300 documents") == 1
    content = Path(data.tokenizer).read_bytes()
    changed = Path(data.tokenizer).stat().st_mtime_ns
    assert TextFilesData(str(corpus), **options).tokenizer == data.tokenizer
    assert Path(data.tokenizer).stat().st_mtime_ns == changed
    other = TextFilesData(str(corpus), **options | {"cache_folder": str(tmp_path / "other")})
    assert Path(other.tokenizer).read_bytes() == content
    corpus.write_text(corpus.read_text() + "\nanother line of text")
    assert TextFilesData(str(corpus), **options).tokenizer != data.tokenizer
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_failure_leaves_no_half_cache(corpus: Path, tokenizer_file: str, tmp_path: Path, monkeypatch) -> None:
    data = data_of(corpus, tokenizer_file, cache_folder=str(tmp_path / "cache"))

    def broken(*given: Any) -> Any:
        yield from list(type(data.source).read(data.source, *given))[:10]
        raise KeyboardInterrupt

    monkeypatch.setattr(data.source, "read", broken)
    with pytest.raises(KeyboardInterrupt):
        data.stores  # noqa: B018
    assert not list((tmp_path / "cache" / "tokens").iterdir())
    monkeypatch.undo()
    assert len(data_of(corpus, tokenizer_file, cache_folder=str(tmp_path / "cache")).stores["train"]) > 0


COUNTED = """
from unmask_text.data import TextSource
from unmask_text.data.reading import cut


class Counted(TextSource):
    def __init__(self, count: int = 8) -> None:
        self.count = count

    def parts(self):
        return {"train": {"count": self.count}}

    def read(self, part, report, moved):
        for number in range(part["count"]):
            yield from cut(f"the dog jumps over fox number {number}", "odd" if number % 2 else "even", report)
            moved(number / part["count"])
"""


def test_a_source_of_ones_own_by_class_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options stand beside those of the data, and an error names a wrong one."""
    (tmp_path / "own_texts.py").write_text(COUNTED)
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "data.yaml"
    lines = [
        "data:",
        "  class_path: unmask_text.data.TextData",
        "  init_args:",
        "    {vocab_size: 100, batch_size: 2, val_ratio: 0.2,",
        "     source: {class_path: own_texts.Counted, init_args: {count: 20}}}",
    ]
    config.write_text("\n".join(lines))
    data = build_data(config)
    data.setup("fit")
    assert data.report["train"]["num_documents"] == 20 and data.classes == ["even", "odd"]
    assert [len(part) for part in (data.splits.train, data.splits.val)] == [16, 4]
    assert texts_of(data, data.splits.val)[0].startswith("the dog jumps over fox number")
    config.write_text("\n".join(lines).replace("count", "cuont"))
    with pytest.raises(UserError, match="cuont"):
        build_data(config)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, tokenizer_file: str) -> None:
    """Peak memory of a process that cuts 1 MB into tokens, then 8 MB in two lines: 2 million tokens more."""
    code = (
        "import resource, sys\n"
        "from unmask_text.data import TextFilesData, characters, cutting\n"
        "characters.CHUNK = cutting.BATCH = 2**16\n"
        "peaks = []\n"
        "for path in sys.argv[3:]:\n"
        "    data = TextFilesData(path, tokenizer=sys.argv[1], cache_folder=sys.argv[2], document='line')\n"
        "    data.setup('fit')\n"
        "    for _, batch in zip(range(20), data.train_dataloader()): pass\n"
        "    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
        "print(peaks, file=sys.stderr)\n"
        "print(len(data.stores['train'].ids), *peaks)\n"
    )
    rng = random.Random(0)
    block = " ".join(sentence(rng) for _ in range(700))  # about 100 kB
    paths = []
    for megabytes in (1, 8):
        paths.append(tmp_path / f"{megabytes}.txt")
        paths[-1].write_text("\n".join([" ".join([block] * (megabytes * 5))] * 2))
    command = [sys.executable, "-c", code, tokenizer_file, str(tmp_path / "cache"), *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    num_tokens, small, large = map(float, run.stdout.split()[-3:])
    assert num_tokens > 2_000_000
    assert large - small < 25, f"{small} MB, {large} MB"


def test_stores_survive_a_pickle(corpus: Path, tokenizer_file: str) -> None:
    import pickle

    store = data_of(corpus, tokenizer_file).stores["train"]
    payload = pickle.dumps(store)
    assert len(payload) < 1000
    copy = pickle.loads(payload)
    assert isinstance(copy, Store)
    assert torch.equal(copy[3]["ids"], store[3]["ids"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 10}, "`max_length` must be at least 18, but is 10"),
        ({"kind": "sentencepiece"}, "`kind` must be one of wordpiece, bpe, unigram, but is 'sentencepiece'"),
        ({"vocab_size": 50}, "`vocab_size` must be at least 100 for wordpiece, but is 50"),
        ({"val_ratio": 1.0}, r"`val_ratio` must be in \[0, 1\), but is 1.0"),
        ({"tokens_per_batch": 100}, "`tokens_per_batch` must be at least 128, twice `max_length`, but is 100"),
        ({"tokens_per_batch": 500, "pack": False}, "`tokens_per_batch` must be None where `pack` is False"),
        ({"document": "page"}, "`document` must be 'file', 'paragraph' or 'line', but is 'page'"),
        ({"encoding": "utf-9"}, "`encoding` must be one that Python knows, but is 'utf-9'"),
        ({"encoding": "base64"}, "`encoding` must be one of text, such as utf-8, but is 'base64'"),
        ({"encoding": "rot13"}, "`encoding` must be one of text"),
        ({"probe_paths": "a.csv"}, "`probe_paths` and `probe_test_paths` must be given together"),
        ({"probe_paths": "a", "probe_test_paths": "b"}, "`labels` must say where the classes of `probe_paths` are"),
        ({"labels": "kind"}, "`labels` must be 'folder' for plain text such as"),
        ({"tokenizer": "nowhere"}, "`tokenizer` must be a `tokenizer.json`, or a folder with one"),
        ({"batch_size": 10_000}, "`batch_size` must be at most"),
    ],
)
def test_mistakes_are_told(corpus: Path, tokenizer_file: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data_of(corpus, tokenizer_file, **options).setup("fit")


def test_optional_packages_are_named(tmp_path: Path, tokenizer_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = tables(tmp_path)["d.parquet"]
    for name in ("datasets", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"`text\.datasets` needs the package `datasets`: pip install datasets"):
        HubTextData("any", tokenizer=tokenizer_file).splits  # noqa: B018
    with pytest.raises(ValueError, match="needs the package `pyarrow`: pip install pyarrow"):
        data_of(parquet, tokenizer_file).splits  # noqa: B018


def test_missing_paths_and_columns_are_told(tmp_path: Path, corpus: Path, tokenizer_file: str) -> None:
    with pytest.raises(ValueError, match=r"there is no `.*corpos.txt`; nearest: `.*corpus.txt`"):
        data_of(corpus.with_name("corpos.txt"), tokenizer_file).setup("fit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"`paths` must hold texts \(\.csv, .* holds nothing"):
        data_of(tmp_path / "empty", tokenizer_file).setup("fit")
    (tmp_path / "t.csv").write_text("txt,kind\na b c,x\n")
    with pytest.raises(
        ValueError, match=r"`text_column` must name a column of `.*t\.csv`, but is 'text'; nearest: `txt`"
    ):
        data_of(tmp_path / "t.csv", tokenizer_file).setup("fit")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="`cache_folder` must be a folder that can be written"):
        data_of(corpus, tokenizer_file, cache_folder=str(tmp_path / "file" / "below")).setup("fit")


def test_everything_has_documents_of_one_word_and_pieces_of_held_out_ones(tmp_path: Path, tokenizer_file: str) -> None:
    words = "the quick brown fox jumps over the lazy dog"
    long = f"{words} {'zz' * 8}"  # the last word has as many tokens as a piece
    texts = {"a": long, "b": "dog", "c": long}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    for ratio, parts in ((0.5, {"train": {"b", "c"}, "val": {"a"}}), (0, {"train": {"a", "b", "c"}})):
        data = TextFilesData(str(tmp_path), tokenizer=tokenizer_file, max_length=18, val_ratio=ratio, batch_size=1)
        every = data.everything()
        found = {name: [(own[i]["name"][0], own[i]["piece"]) for i in range(len(own))] for name, own in every.items()}
        assert {name: {one for one, _ in own} for name, own in found.items()} == parts
        assert sorted(chain(*found.values())) == [("a", 0), ("a", 1), ("b", 0), ("c", 0), ("c", 1)]
        assert len(data.splits.train) == (1 if ratio else 2)
    data = TextFilesData(str(tmp_path / "b.txt"), tokenizer=tokenizer_file)  # can be read, but not trained on
    assert len(data.everything()["train"]) == 1
    with pytest.raises(ValueError, match="The data must have documents of at least 2 words for `train`, but has none"):
        data.setup("fit")
    (tmp_path / "d.txt").write_text(" \n")
    with pytest.raises(ValueError, match="The data must have documents of at least 2 words for `train`, but has none"):
        TextFilesData(str(tmp_path / "d.txt"), tokenizer=tokenizer_file).everything()
