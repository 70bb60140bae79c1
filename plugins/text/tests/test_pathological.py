"""Odd input neither crashes nor is silently dropped: it is counted and reported."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch

from unmask.data import LINE_ENDS, RAGGED
from unmask_text.data import TextFilesData
from unmask_text.data.reading import SEGMENT
from unmask_text.masks import WholeWordMask, WordSpanMask
from unmask_text.tokenizer import TextTokenizer
from unmask_text.tokenizer_training import save_tokenizer, train_tokenizer
from unmask_text.vocabulary import vocabulary

ODD = "مرحبا بالعالم שלום עולם 👩‍👩‍👧‍👦 😀 日本語のテキスト"


@pytest.fixture(scope="module")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.json"
    save_tokenizer(train_tokenizer(lambda: ["the quick brown fox " * 50], 300, "bpe"), path)
    return str(path)


def report_of(path: Path, tokenizer: str, **options: Any) -> tuple[TextFilesData, dict[str, Any]]:
    data = TextFilesData(str(path), tokenizer=tokenizer, val_ratio=0.3, batch_size=1, **options)
    return data, data.report["train"]


def test_empty_files_and_blank_ones(tmp_path: Path, tokenizer_file: str) -> None:
    odd = {"a.txt": b"", "b.txt": b" \n\n \t", "c.jsonl": b"", "d.csv": b"", "e.csv": b"text,label\n"}
    for name, content in odd.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "f.txt").write_text("the quick fox\n\n\nthe dog")
    data, report = report_of(tmp_path, tokenizer_file, document="line")
    assert report["num_empty_files"] == 5
    assert report["num_documents"] == 2
    assert "5 empty files" in str(data.stores["train"].report)
    with pytest.raises(ValueError, match="must have documents of at least 2 words for `train`, but has none"):
        report_of(tmp_path / "a.txt", tokenizer_file)[0].setup("fit")


def test_documents_of_one_word_or_none(tmp_path: Path, tokenizer_file: str) -> None:
    lines = "text,kind\n" + "the dog,a\nfox,a\nunbelievable,b\n,b\n\u200b,b\nthe fox,b\n" * 6
    (tmp_path / "t.csv").write_text(lines)
    data, report = report_of(tmp_path / "t.csv", tokenizer_file, labels="kind")
    assert report["num_documents"] == 24
    assert report["num_one_word_documents"] == 12
    assert report["num_empty_documents"] == 12
    assert len(data.splits.train) + len(data.splits.val) == 12
    # Probes see what cannot be trained on, a document each.
    assert len(data.splits.probe_train) + len(data.splits.probe_test) == 24
    for batch in data.train_dataloader():
        tokens = TextTokenizer()(batch)
        for mask in (WholeWordMask(), WordSpanMask()):
            assert 0 < mask(tokens).hidden.sum() < len(tokens.values)


@pytest.mark.parametrize(
    ("ending", "kind", "megabytes"),
    [("txt", "blanks", 1), ("txt", "one word", 1), ("jsonl", "blanks", 1), ("csv", "one word", 1)],
)
def test_a_line_of_megabytes(tmp_path: Path, byte_tokenizer: str, ending: str, kind: str, megabytes: int) -> None:
    line = ("the quick brown fox " * 50_000 if kind == "blanks" else "x" * 1_000_000) * megabytes
    line = line.strip()
    path = tmp_path / f"long.{ending}"
    path.write_text({"txt": line, "jsonl": '{"text": "' + line + '"}\n', "csv": f"text\n{line}\n"}[ending])
    data, report = report_of(path, byte_tokenizer, document="line")
    store = data.stores["train"]
    assert report["num_documents"] == 1
    assert store.lengths.max() <= 126
    if kind == "blanks":
        assert report["num_cut_words"] == 0
        assert report["num_words"] == 200_000 * megabytes
    else:
        assert report["num_cut_words"] == megabytes * 1_000_000 // SEGMENT
        assert "cuts in text without a blank" in str(store.report)
        named = vocabulary(byte_tokenizer)
        assert sum(len(named.piece(int(id))[0]) for id in store.ids) == len(line)
    tokens = TextTokenizer()(next(iter(data.train_dataloader())))
    assert WholeWordMask()(tokens).hidden.any()


def test_bytes_that_are_no_text(tmp_path: Path, byte_tokenizer: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"the \xff\xfe quick\n" + b"brown \x00\x00 fox\n" + "the \ufffd dog\n".encode())
    (tmp_path / "b.jsonl").write_text(
        '{"text": "the \\ud83d dog \\u0000"}\n{"text": 5}\nnot json\n[1]\n{"text": "fox dog"}\n'
    )
    (tmp_path / "c.txt").write_bytes(b"the d\xc3")  # cut off in the middle of a letter
    data, report = report_of(tmp_path, byte_tokenizer, document="line")
    assert report["num_invalid_bytes"] == 2 + 1 + 1
    assert report["num_nuls"] == 2 + 1
    assert report["num_unreadable_rows"] == 3
    assert report["num_documents"] == 3 + 2 + 1
    text = str(data.stores["train"].report)
    for part in ("4 bytes not in the `encoding`", "3 NULs read as blanks", "3 rows not readable"):
        assert part in text


def test_every_chunk_border_is_safe(tmp_path: Path, byte_tokenizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters of several bytes, line ends and paragraphs that lie across what is read at once."""
    from unmask_text.data import characters, reading

    text = "\r\n\r\n".join(f"{ODD} {number}" for number in range(20))
    (tmp_path / "a.txt").write_bytes(text.encode())
    results = []
    for size in (2**20, 1, 7):
        monkeypatch.setattr(characters, "CHUNK", size)
        report = reading.Report()
        options = reading.Options(document="paragraph")
        file = reading.Found(tmp_path / "a.txt", tmp_path, named=True)
        segments = list(reading.read_file(file, options, report, lambda _: None))
        results.append([segment.text.strip() for segment in segments if segment.text.strip()])
        assert report.num_invalid_bytes == 0
    assert results[0] == results[1] == results[2] == [f"{ODD} {number}" for number in range(20)]


def test_scripts_and_emoji_come_back(tmp_path: Path, byte_tokenizer: str, tokenizer_file: str) -> None:
    (tmp_path / "a.txt").write_text(f"{ODD}\nthe fox\n", encoding="utf-8")
    data, report = report_of(tmp_path, byte_tokenizer, document="line")
    assert report["num_unknown_tokens"] == 0
    sample = data.stores["train"][0]
    assert vocabulary(byte_tokenizer).tokenizer.decode(sample["ids"].tolist()).strip() == ODD
    tokens = TextTokenizer()(data.val_dataloader().collate_fn([{**sample, "index": 0}]))
    assert TextTokenizer().render(tokens)[0].ndim == 3
    assert TextTokenizer().files(tokens, torch.ones_like(tokens.values, dtype=torch.bool))[".html"][0].decode()

    data, report = report_of(tmp_path, tokenizer_file, document="line")  # a vocabulary that cannot write it
    assert report["num_unknown_tokens"] > 5
    assert "tokens not in the vocabulary" in str(data.stores["train"].report)


def test_marks_say_the_encoding(tmp_path: Path, byte_tokenizer: str) -> None:
    for name, encoding in (("a", "utf-8-sig"), ("b", "utf-16"), ("c", "utf-16-le"), ("d", "latin-1")):
        content = "the café\nthe dog".encode(encoding)
        (tmp_path / f"{name}.txt").write_bytes((b"\xff\xfe" if name == "c" else b"") + content)
    for name in "abc":
        data, report = report_of(tmp_path / f"{name}.txt", byte_tokenizer, document="line")
        assert report["num_invalid_bytes"] == 0, name
        assert vocabulary(byte_tokenizer).tokenizer.decode(data.stores["train"][0]["ids"].tolist()) == " the café"
    _, report = report_of(tmp_path / "d.txt", byte_tokenizer, document="line")
    assert report["num_invalid_bytes"] == 1
    data, report = report_of(tmp_path / "d.txt", byte_tokenizer, document="line", encoding="latin-1")
    assert report["num_invalid_bytes"] == 0
    assert vocabulary(byte_tokenizer).tokenizer.decode(data.stores["train"][0]["ids"].tolist()) == " the café"


def test_damaged_archives_are_reported(tmp_path: Path, tokenizer_file: str) -> None:
    whole = gzip.compress(b"the quick fox\n" * 100_000)
    (tmp_path / "cut.txt.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.txt.gz").write_bytes(b"no archive")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 is not all")
    (tmp_path / "good.txt").write_text("the quick fox\nthe lazy dog")
    data, report = report_of(tmp_path, tokenizer_file, document="line")
    assert report["num_unreadable_files"] == 3
    assert report["num_documents"] >= 2
    told = str(data.stores["train"].report)
    for name in ("cut.txt.gz", "no.txt.gz", "bad.parquet"):
        assert name in told


def test_special_tokens_in_a_text_are_text(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.txt").write_text("the [MASK] and [PAD] of the [CLS]\nthe dog")
    data, _ = report_of(tmp_path / "a.txt", tokenizer_file, document="line")
    named = vocabulary(tokenizer_file)
    forbidden = {id for token, id in named.special_ids.items() if token != "[UNK]"}
    assert not forbidden & set(data.stores["train"].ids.tolist())


def test_a_csv_field_with_line_ends_and_a_short_row(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.csv").write_text('kind,text\nx,"the quick\n\nbrown fox"\ny\nx,the dog\n')
    _, report = report_of(tmp_path / "a.csv", tokenizer_file, document="line", labels="kind")
    assert report["num_documents"] == 2
    assert report["findings"][RAGGED][0] == 1
    assert report["findings"][LINE_ENDS][0] == 1
