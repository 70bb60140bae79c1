"""Files as people have them: stray quotes, JSON of every form, links, first lines that are no names, no text at all."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unmask.data import HIDDEN, OTHER, RAGGED, STRAY, TableFormat
from unmask_text.data import HubTextData, TextFilesData, characters, reading, tables
from unmask_text.data.store import NO_LABEL
from unmask_text.vocabulary import vocabulary

TEXTS = [f"the {word} dog runs away" for word in ("quick", "lazy", "brown", "large", "old", "new")]
ROWS = [{"text": text, "label": "ab"[number % 2]} for number, text in enumerate(TEXTS)]


def data_of(path: Path | list[str], tokenizer_file: str, **options: Any) -> TextFilesData:
    options = {"tokenizer": tokenizer_file, "val_ratio": 0.3, "batch_size": 1} | options
    return TextFilesData(path if isinstance(path, list) else str(path), **options)


def texts_of(data: Any, part: str = "train") -> list[str]:
    named, store = vocabulary(data.tokenizer), data.stores[part]
    samples = (store[i] for i in range(len(store)))
    return [" ".join(named.words(one["ids"].tolist(), one["word"].tolist())) for one in samples]


def findings(data: Any, part: str = "train") -> dict[str, Any]:
    return data.report[part]["findings"]


# Tables.


@pytest.mark.parametrize("ending", [".tsv", ".tsv.gz"])
def test_stray_quotes_of_a_tsv(ending: str, tmp_path: Path, tokenizer_file: str) -> None:
    lines = ["text\tlabel", *(f"{'' if i % 3 else chr(34)}the dog {i} runs\tab" for i in range(12))]
    content = "\ufeff" + "\r\n".join(lines) + "\r\n"
    path = tmp_path / f"t{ending}"
    path.write_bytes(gzip.compress(content.encode()) if ending.endswith("gz") else content.encode())
    data = data_of(path, tokenizer_file, labels="label")
    assert data.report["train"]["num_documents"] == 12
    assert findings(data)[STRAY][0] == 4
    assert data.classes == ["ab"]


def test_stray_quotes_of_a_csv_are_refused(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "t.csv").write_text('text,label\nthe dog,a\n"the fox,b\nthe dog" runs,a\n')
    (tmp_path / "more.txt").write_text("the dog runs\n")
    for path in (tmp_path / "t.csv", tmp_path):
        with pytest.raises(ValueError, match=r"t.csv`, line 3: a quote does not fit") as error:
            data_of(path, tokenizer_file, text_column="text").setup("fit")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_rows_that_do_not_fit_are_counted(name: str, tmp_path: Path, tokenizer_file: str, capsys: Any) -> None:
    mark = "," if name == "t.csv" else "\t"
    rows = [["text", "label"], ["the dog", "a"], ["the dog", "b", "the fox"], ["fox"], ["the fox", "b"]]
    (tmp_path / name).write_text("\n".join(mark.join(row) for row in rows))
    data = data_of(tmp_path / name, tokenizer_file, labels="label")
    data.setup("fit")
    assert texts_of(data) == ["the dog", "the fox"]
    assert findings(data)[RAGGED][0] == 2
    assert f"2 {RAGGED}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_an_empty_label_is_none(kind: str, tmp_path: Path, tokenizer_file: str) -> None:
    labels = ["a", "", "b", "a", " ", "b", "a"]
    rows = [{"text": text, "label": label} for text, label in zip([*TEXTS, "the fox"], labels, strict=True)]
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([row | {"label": row["label"] or None} for row in rows]), path)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row | {"label": row["label"] or None}) + "\n" for row in rows))
    else:
        mark = "," if kind == "csv" else "\t"
        path.write_text(
            "".join(f"{text}{mark}{label}\n" for text, label in [("text", "label"), *map(dict.values, rows)])
        )
    data = data_of(path, tokenizer_file, labels="label")
    store = data.stores["train"]
    assert data.classes == ["a", "b"]
    assert [store[i]["label"] for i in range(7)] == [0, NO_LABEL, 1, 0, NO_LABEL, 1, 0]
    assert findings(data)[reading.UNLABELLED][0] == 2
    parts = (data.splits.probe_train, data.splits.probe_test)
    assert sorted(part[i]["label"] for part in parts for i in range(len(part))) == [0, 0, 0, 1, 1]


def test_labels_are_one_per_document(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row | {"label": ["a", "b"]}) + "\n" for row in ROWS))
    with pytest.raises(
        ValueError,
        match=r"`labels` must hold one label for each document, .* \['a', 'b'\]; for several, set `label_kind`",
    ):
        data_of(tmp_path / "t.jsonl", tokenizer_file, labels="label").setup("fit")


def test_classes_of_several_parts_have_one_order(tmp_path: Path, tokenizer_file: str) -> None:
    for name, labels in (("train.csv", "2 10"), ("val.csv", "10 3")):
        lines = [f"the {label} dog {i},{label}" for i in range(4) for label in labels.split()]
        (tmp_path / name).write_text("\n".join(["text,label", *lines]))
    data = data_of(tmp_path / "train.csv", tokenizer_file, val_paths=str(tmp_path / "val.csv"), labels="label")
    assert data.classes == ["2", "3", "10"]
    for part in (data.splits.train, data.splits.probe_train):
        assert [part[i]["label"] for i in range(2)] == [0, 2]
    for part in (data.splits.val, data.splits.probe_test):
        assert [part[i]["label"] for i in range(2)] == [2, 1]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz"])
def test_a_first_line_that_may_be_no_name(name: str, tmp_path: Path, tokenizer_file: str) -> None:
    def write(first: str) -> Path:
        content = "\n".join([first, *TEXTS]).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        return tmp_path / name

    data = data_of(write("quick fox"), tokenizer_file)
    assert len(texts_of(data)) == len(TEXTS)
    assert findings(data)[tables.ONE_COLUMN] == [1, [f"'quick fox' in {tmp_path / name}"]]
    for sure, column in (("text", None), ("quick fox", "quick fox")):
        assert tables.ONE_COLUMN not in findings(data_of(write(sure), tokenizer_file, text_column=column))
    for prose in ("the dog has run away from the fox", "It was good."):
        with pytest.raises(
            ValueError, match=r"The first line of .* must name its columns, but has '.*`table_format.header`"
        ):
            data_of(write(prose), tokenizer_file).setup("fit")
    (tmp_path / "two.tsv").write_text("\n".join(f"{text}\t{number}" for number, text in enumerate(TEXTS)))
    with pytest.raises(ValueError, match=r"must name its columns, but has 'the quick dog runs away'; set"):
        data_of(tmp_path / "two.tsv", tokenizer_file).setup("fit")
    (tmp_path / "two.tsv").write_text("No.\tbody\n1\tthe dog\n")
    with pytest.raises(ValueError, match="`text_column` must name a column of"):
        data_of(tmp_path / "two.tsv", tokenizer_file).setup("fit")


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_rows_that_hold_no_text_say_what_they_hold(name: str, tmp_path: Path, tokenizer_file: str) -> None:
    rows = [{"text": text.split(), "label": 1} for text in TEXTS]
    data = data_of(written(rows, tmp_path / name), tokenizer_file)
    with pytest.raises(ValueError, match="6 rows hold a value of type list in `text` instead of text; `text_column`"):
        data.setup("fit")
    assert data.report["train"]["num_unreadable_rows"] == 6 and data.report["train"]["num_empty_files"] == 0
    numbers = data_of(written(rows, tmp_path / name), tokenizer_file, text_column="label")
    assert "rows hold a value of type int in `label` instead of text" in str(numbers.stores["train"].report)


def test_several_labels_in_one_are_refused_unless_they_are_folders(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "t.csv").write_text(
        "text;label\n" + "".join(f"{text};{'ab'[i % 2]},b\n" for i, text in enumerate(TEXTS))
    )
    with pytest.raises(ValueError, match=r"`labels` must hold one label for each document, .* set `label_kind`"):
        data_of(tmp_path / "t.csv", tokenizer_file, labels="label").setup("fit")
    for folder in ("a,b", "b"):
        (tmp_path / "texts" / folder).mkdir(parents=True)
        (tmp_path / "texts" / folder / "1.txt").write_text(TEXTS[0])
    assert data_of(tmp_path / "texts", tokenizer_file, labels="folder").classes == ["a,b", "b"]


# JSON.

FORMS = {
    "lines": lambda rows: "\n".join(map(json.dumps, rows)),
    "array": json.dumps,
    "indented array": lambda rows: "\n\n" + json.dumps(rows, indent=4) + "\n",
    "array in lines": lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]",
    "indented objects": lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows),
}


@pytest.mark.parametrize("chunk", [2**20, 1, 7])
@pytest.mark.parametrize("form", FORMS)
def test_json_of_every_form(form: str, chunk: int, tmp_path: Path, tokenizer_file: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(characters, "CHUNK", chunk)
    rows = [row | {"more": {"deep": ['"}', "\u00e9\\", 1.5]}} for row in ROWS]
    (tmp_path / "a.json").write_text(FORMS[form](rows))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(FORMS[form](rows).encode()))
    for path, times in ((tmp_path / "a.json", 1), (tmp_path / "b.json.gz", 1), (tmp_path, 2)):
        data = data_of(path, tokenizer_file, labels="label")
        assert texts_of(data) == TEXTS * times
        assert data.stores["train"].label.tolist() == [0, 1] * 3 * times


def test_one_object_is_a_document(tmp_path: Path, tokenizer_file: str) -> None:
    for number, row in enumerate(ROWS):
        (tmp_path / f"{number}.json").write_text(json.dumps(row, indent=2 if number % 2 else None))
    assert texts_of(data_of(tmp_path, tokenizer_file)) == TEXTS
    assert texts_of(data_of(tmp_path / "1.json", tokenizer_file)) == TEXTS[1:2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "has '\\[' where object 1 should begin"),
        ('["a text", "another"]', "where object 1 should begin"),
        ("the dog runs away", "has 't' where object 1 should begin"),
        ('[{"text": "the dog"}, 5]', "has '5' where object 2 should begin"),
        ('[{"text": "the dog"} {"text": "the fox"}]', "has no comma behind object 1"),
        ('[{"text": "the dog"}', "has no comma behind object 1"),
        ('[{"text": "the dog"},', "has '' where object 2 should begin"),
        ('[{"text": "the dog"}, {"text": "the', "has a fault in object 2"),
        ('[{"text": "the dog"}] {"text": "the fox"}', "goes on after its array"),
        ('{"text": \n "the dog"', "has a fault in object 1"),
        ('{"text": 1,, \n' + " " * 100 + "}", "has a fault in object 1"),
        ('[{"a": ' + "[" * 100_000, "nests object 1 too deep"),
        ('{"data": [{"body": "the dog", "title": "a"}], \n "version": 1}', "`text_column` must name a column"),
        ('{"data": [{"text": "the dog"}], \n "more": [{"text": "a"}]}', "several times: `data.text`, `more.text`"),
        ('{"title": "a", "body": "b"}', "`text_column` must name a column"),
    ],
)
def test_other_json_is_refused(content: str, message: str, tmp_path: Path, tokenizer_file: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        data_of(path, tokenizer_file).setup("fit")
    assert "\n" not in str(error.value)


def test_json_without_documents_among_texts_is_left_out(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.txt").write_text(TEXTS[0])
    (tmp_path / "settings.json").write_text('{"model_type": "bert", "layers": 2}')
    data = data_of(tmp_path, tokenizer_file)
    assert texts_of(data) == TEXTS[:1]
    assert findings(data)[reading.NO_ROWS] == [1, [str(tmp_path / "settings.json")]]
    assert data.report["train"]["num_files"] == 1
    (tmp_path / "b.json").write_text('[{"text": "the dog"}, 5]')  # this one has begun to be read
    with pytest.raises(ValueError, match="where object 2 should begin"):
        data_of(tmp_path, tokenizer_file).setup("fit")


def test_an_array_under_another_ending(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(ROWS))
    assert texts_of(data_of(tmp_path / "a.jsonl", tokenizer_file)) == TEXTS


def test_an_array_is_read_as_far_as_it_is_needed(tmp_path: Path) -> None:
    read = 0

    def chunks() -> Any:
        nonlocal read
        text = json.dumps(ROWS * 1000)
        for start in range(0, len(text), 500):
            read += 500
            yield text[start : start + 500]

    rows = tables.json_rows(chunks(), tmp_path / "a.json", reading.Report())
    assert [next(rows) for _ in range(6)] == list(enumerate(ROWS, 1))
    assert read < 2000


# Fields inside of others.


NESTED = [{"meta": {"body": {"text": row["text"]}, "kind": row["label"]}} for row in ROWS]


def written(rows: list[dict[str, Any]], path: Path) -> Path:
    """Rows as a table of the kind that the ending says."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    lines = "\n".join(map(json.dumps, rows)) + "\n"
    content = json.dumps(rows, indent=1) if ".json" in path.suffixes and ".jsonl" not in path.suffixes else lines
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz", "a.jsonl.gz", "a.parquet"])
def test_fields_inside_of_others(name: str, tmp_path: Path, tokenizer_file: str) -> None:
    path = written(NESTED, tmp_path / name)
    data = data_of(path, tokenizer_file, text_column="meta.body.text", labels="meta.kind")
    assert texts_of(data) == TEXTS
    assert [data.stores["train"][i]["label"] for i in range(6)] == [0, 1] * 3
    assert not findings(data)
    told = data_of(path, tokenizer_file, labels="kind")  # found by the ends of their names
    assert texts_of(told) == TEXTS
    named = [f"meta.body.text in `{path}`", f"meta.kind in `{path}`"]
    assert findings(told) == {"columns are found inside of objects": [2, named]}
    with pytest.raises(ValueError, match=r"`text_column` must .* but is 'meta.body.txt'; nearest: `meta.body.text`"):
        data_of(path, tokenizer_file, text_column="meta.body.txt").setup("fit")


@pytest.mark.parametrize("name", ["a.json", "a.parquet"])
def test_objects_of_an_array_under_a_key(name: str, tmp_path: Path, tokenizer_file: str) -> None:
    groups = [{"lang": "ab"[i], "data": [{"body": row["text"], "no": 1} for row in ROWS[i::2]]} for i in range(2)]
    data = data_of(written(groups, tmp_path / name), tokenizer_file, text_column="data.body", labels="lang")
    assert texts_of(data) == TEXTS[::2] + TEXTS[1::2]
    samples = [data.stores["train"][i] for i in range(6)]
    assert [one["label"] for one in samples] == [0, 0, 0, 1, 1, 1]
    assert [one["name"] for one in samples] == [f"{name}:{number}" for number in range(1, 7)]


def test_a_file_of_one_object_with_an_array(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"version": "1", "data": ROWS}))
    data = data_of(tmp_path / "a.json", tokenizer_file, labels="data.label")
    assert texts_of(data) == TEXTS
    assert data.classes == ["a", "b"]


def test_a_field_that_the_first_objects_lack(tmp_path: Path, tokenizer_file: str) -> None:
    path = written([{"title": "none"}, *ROWS], tmp_path / "a.jsonl")
    data = data_of(path, tokenizer_file, labels="label")
    assert texts_of(data) == TEXTS
    assert data.report["train"]["num_unreadable_rows"] == 1


def test_large_strings_and_dictionaries_of_parquet(tmp_path: Path, tokenizer_file: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.array(TEXTS, pa.large_string())
    labels = pa.array([row["label"] for row in ROWS]).dictionary_encode()
    body = pa.StructArray.from_arrays([texts], ["text"])
    pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"body": body, "label": labels}), tmp_path / "b.parquet")
    for name in ("a.parquet", "b.parquet"):
        data = data_of(tmp_path / name, tokenizer_file, labels="label")
        assert texts_of(data) == TEXTS
        assert data.classes == ["a", "b"]


@pytest.mark.parametrize("content", ['{"text": "the dog"}\n', '[{"text": "the dog"}]', '\n [ {\n"a b" : 1}]'])
def test_json_is_not_read_as_prose(content: str, tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.txt").write_text(content)
    (tmp_path / "b.txt").write_text("{the} dog runs [away]: 1")
    with pytest.raises(ValueError, match=r"a.txt` must be text, but is JSON; give it the ending .json or .jsonl"):
        data_of(tmp_path / "a.txt", tokenizer_file).setup("fit")
    data = data_of(tmp_path, tokenizer_file)
    assert data.report["train"]["num_documents"] == 1
    assert "is JSON" in data.report["train"]["unreadable_files"][0]


# What documents are called.


def names_of(data: Any, part: str = "train") -> list[tuple[str, int]]:
    store = data.stores[part]
    return [(store[i]["name"], store[i]["piece"]) for i in range(len(store))]


def test_documents_are_called_by_file_and_row(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "1.txt").write_text("\n\nthe dog\n\n\nthe fox\nruns\n\n\n\n  the city sleeps")
    (tmp_path / "a.csv").write_text("text,label\nthe dog,a\nthe fox,b,c\nthe lazy dog,b\n")
    (tmp_path / "b.jsonl").write_text('{"text": "the dog"}\nnot json\n\n{"none": 1}\n{"text": "the fox"}\n')
    data = data_of(tmp_path, tokenizer_file, document="paragraph")
    tables = ["a.csv:1", "a.csv:3", "b.jsonl:1", "b.jsonl:4"]
    paragraphs = [f"letters/1.txt:{line}" for line in (3, 6, 11)]
    assert [name for name, _ in names_of(data)] == [*tables, *paragraphs]
    data = data_of(tmp_path / "letters" / "1.txt", tokenizer_file, document="line")
    assert [name for name, _ in names_of(data)] == [f"1.txt:{line}" for line in (3, 6, 7, 11)]
    data = data_of([str(tmp_path / "letters"), str(tmp_path / "a.csv")], tokenizer_file)
    assert names_of(data)[0] == (str(tmp_path / "letters" / "1.txt"), 0)  # of two folders


def test_pieces_say_which_document_they_are_of(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.txt").write_text("the quick brown fox jumps over the lazy dog " * 20 + "\n\nthe dog")
    data = data_of(tmp_path, tokenizer_file, document="paragraph", max_length=32, pack=False)
    named = names_of(data)
    assert len(named) > 3
    assert named == [*(("a.txt:1", number) for number in range(len(named) - 1)), ("a.txt:3", 0)]
    batch = next(iter(data.train_dataloader()))
    assert len(batch["name"]) == len(batch["piece"]) == len(batch["index"])


# Folders and files.


def test_links_are_followed(tmp_path: Path, tokenizer_file: str) -> None:
    for folder, kind in (("texts", "dog"), ("store", "fox")):
        (tmp_path / folder).mkdir()
        for number in range(3):
            (tmp_path / folder / f"{number}.txt").write_text(f"the {kind} {number}")
    (tmp_path / "texts" / "more").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "back").symlink_to(tmp_path / "texts")
    data = data_of(tmp_path / "texts", tokenizer_file, labels="folder")
    assert data.report["train"]["num_files"] == 6
    assert data.classes == ["more"]
    assert findings(data)[reading.UNLABELLED][0] == 3
    (tmp_path / "linked").symlink_to(tmp_path / "texts")
    assert data_of(tmp_path / "linked", tokenizer_file).report["train"]["num_files"] == 6


def test_what_is_left_out_is_told(tmp_path: Path, tokenizer_file: str, capsys: Any) -> None:
    for name in ("a.txt", ".hidden.txt", "b.docx", "c.html"):
        (tmp_path / name).write_text("the dog runs\nthe fox runs")
    os.mkfifo(tmp_path / "pipe.txt")
    data = data_of(tmp_path, tokenizer_file, document="line")
    data.setup("fit")
    assert findings(data)[HIDDEN] == [1, [".hidden.txt"]]
    assert findings(data)[OTHER] == [2, ["b.docx", "c.html"]]
    told = capsys.readouterr().out
    for line in (f"1 {HIDDEN}: .hidden.txt.", f"2 {OTHER}: b.docx, c.html.", "1 pipes"):
        assert line in told
    data = data_of(tmp_path, tokenizer_file, document="line")
    data.setup("fit")
    assert f"1 {HIDDEN}" in capsys.readouterr().out  # from the cache as well


def test_a_path_that_is_no_file(tmp_path: Path, tokenizer_file: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"`paths` must be files or folders, but `.*pipe` is a pipe"):
        data_of(tmp_path / "pipe", tokenizer_file).setup("fit")
    for empty in ([], [""]):
        with pytest.raises(ValueError, match="`paths` must be files or folders, but"):
            data_of(empty, tokenizer_file).setup("fit")
    (tmp_path / "a.txt").write_text(TEXTS[0])
    data = data_of(tmp_path / "a.txt", tokenizer_file, val_paths=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="`val_paths` must be files or folders, but there is no"):
        data.setup("fit")


def test_a_file_is_read_once(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.txt").write_text("the dog runs\nthe fox runs")
    data = data_of([str(tmp_path), str(tmp_path / "a.txt")], tokenizer_file, document="line")
    assert data.report["train"]["num_documents"] == 2
    assert findings(data)[reading.AGAIN][0] == 1
    data = data_of(tmp_path, tokenizer_file, document="line", val_paths=str(tmp_path / "a.txt"))
    assert findings(data, "val")["files of `val_paths` are in `paths` as well"][0] == 1


def test_other_endings_by_name(tmp_path: Path, tokenizer_file: str) -> None:
    for name in ("a.html", "b.log", "README"):
        (tmp_path / name).write_text("the dog runs away")
        data = data_of(tmp_path / name, tokenizer_file)
        assert texts_of(data) == ["the dog runs away"]
        assert findings(data)[reading.AS_PLAIN] == [1, [str(tmp_path / name)]]


def binary(kind: str, path: Path) -> None:
    import bz2
    import io
    import tarfile

    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("word/document.xml", "<w>the dog</w>")
    elif kind == "tar":
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.txt"))
        path.write_bytes(content.getvalue())
    else:
        noise = bytes((i * i * 31 + i // 7) % 256 for i in range(5000))
        contents = {
            "pdf": b"%PDF-1.7\n1 0 obj",
            "gzip": gzip.compress(b"the dog"),
            "bzip2": bz2.compress(b"the dog"),
            "png": b"\x89PNG\r\n\x1a\n",
            "noise": noise,
            "utf-16": "the dog runs".encode("utf-16-le"),
        }
        path.write_bytes(contents[kind])


@pytest.mark.parametrize("ending", ["docx", "txt", "csv", "json"])
@pytest.mark.parametrize("kind", ["zip", "tar", "pdf", "gzip", "bzip2", "png", "noise", "utf-16"])
def test_files_of_no_text(kind: str, ending: str, tmp_path: Path, tokenizer_file: str) -> None:
    path = tmp_path / f"a.{ending}"
    binary(kind, path)
    with pytest.raises(ValueError, match=f"a.{ending}` must be text, but (is|has)") as error:
        data_of(path, tokenizer_file).setup("fit")
    assert "\n" not in str(error.value)
    (tmp_path / "b.txt").write_text("the dog runs away")
    data = data_of(tmp_path, tokenizer_file)
    assert texts_of(data) == ["the dog runs away"]
    assert data.report["train"]["num_unreadable_files"] == (ending != "docx")


def test_utf_32_says_so(tmp_path: Path, tokenizer_file: str) -> None:
    (tmp_path / "a.txt").write_bytes("the dog".encode("utf-32"))
    (tmp_path / "b.txt").write_bytes("the dog".encode("utf-16-be"))
    assert texts_of(data_of(tmp_path / "a.txt", tokenizer_file)) == ["the dog"]
    assert texts_of(data_of(tmp_path / "b.txt", tokenizer_file, encoding="utf-16-be")) == ["the dog"]


def test_caches_of_an_earlier_version_are_not_read(tmp_path: Path, tokenizer_file: str, monkeypatch: Any) -> None:
    from unmask_text.data import text

    (tmp_path / "a.txt").write_text(TEXTS[0])
    monkeypatch.setattr(text, "VERSION", text.VERSION - 1)
    old = data_of(tmp_path / "a.txt", tokenizer_file).stores["train"].folder
    (old / "about.json").write_text(json.dumps({"report": {"num_ignored_files": 1}}))
    monkeypatch.undo()
    assert texts_of(data_of(tmp_path / "a.txt", tokenizer_file)) == TEXTS[:1]


# Data sets of the hub.


def hub(folder: Path, tokenizer_file: str, label: Any, **options: Any) -> HubTextData:
    import datasets

    rows = {"text": [*TEXTS, None], "label": label}
    datasets.Dataset.from_dict(rows).save_to_disk(str(folder))
    return HubTextData(str(folder), tokenizer=tokenizer_file, val_ratio=0.3, batch_size=1, **options)


def test_hub_labels_of_every_kind(tmp_path: Path, tokenizer_file: str) -> None:
    data = hub(tmp_path / "a", tokenizer_file, [0.9, 0.1, None, 0.9, float("nan"), 0.1, 1.0])
    assert data.classes == ["0.1", "0.9"]
    assert [data.stores["train"][i]["label"] for i in range(6)] == [1, 0, NO_LABEL, 1, NO_LABEL, 0]
    assert data.report["train"]["num_unreadable_rows"] == 1
    assert findings(data)[reading.UNLABELLED][0] == 2
    lists = [[0], [1], [0, 1], [], [1], [0], [0]]
    data = hub(tmp_path / "b", tokenizer_file, lists)
    assert data.classes == []
    assert any("hold lists" in what for what in findings(data))
    with pytest.raises(ValueError, match="`label_column` must hold one label for each document, but holds a list"):
        hub(tmp_path / "c", tokenizer_file, lists, label_column="label").setup("fit")


def test_hub_columns_inside_of_others_and_labels_of_every_kind(tmp_path: Path, tokenizer_file: str) -> None:
    import datasets

    ab = datasets.ClassLabel(names=["a", "b"])
    given = {
        "meta": {"body": [{"text": text} for text in TEXTS], "kind": [0, 1, -1, 0, 1, 0]},
        "marks": [[1], [0, 1], [], [0], [1], [0]],
        "score": [0.5, None, 2.0, -1.0, 3.0, 4.0],
        "words": ["x|y", "y", None, "z,z", "x", "y"],
        "turns": [[{"say": text}, {"say": "the dog"}] for text in TEXTS],
    }
    meta = [{"body": body, "kind": kind} for body, kind in zip(*given.pop("meta").values(), strict=True)]
    value = datasets.Value
    features = {
        "meta": {"body": {"text": value("string")}, "kind": ab}, "marks": datasets.List(ab), "score": value("float64"),
        "words": value("string"), "turns": datasets.List({"say": value("string")}),
    }  # fmt: skip
    rows = datasets.Dataset.from_dict({"meta": meta, **given}, features=datasets.Features(features))
    rows.save_to_disk(str(tmp_path / "set"))

    def opened(**options: Any) -> HubTextData:
        return HubTextData(str(tmp_path / "set"), tokenizer=tokenizer_file, val_ratio=0.3, batch_size=1, **options)

    def labels(data: HubTextData) -> list[Any]:
        return [data.stores["train"][number]["label"] for number in range(6)]

    data = opened(text_column="text")
    assert texts_of(data) == TEXTS and data.classes == ["a", "b"]
    assert labels(data) == [0, 1, NO_LABEL, 0, 1, 0]
    assert "meta.body.text in the split 'train'" in findings(data)["columns are found inside of objects"][1]
    named = opened(text_column="meta.body.text", label_column="marks", label_kind="multi-label")
    none = [NO_LABEL, NO_LABEL]
    assert [one.tolist() for one in labels(named)] == [[0, 1], [1, 1], none, [1, 0], [0, 1], [1, 0]]
    assert named.classes == ["a", "b"]
    scored = labels(opened(text_column="text", label_column="score", label_kind="number"))
    assert [None if label != label else label for label in scored] == given["score"]
    several = opened(text_column="text", label_column="words", label_kind="multi-label", label_separator="|")
    assert several.classes == ["x", "y", "z,z"]
    turns = opened(text_column="turns.say", label_column="score", label_kind="number")
    assert turns.report["train"]["num_documents"] == 12 and texts_of(turns)[:2] == [TEXTS[0], "the dog"]
    with pytest.raises(ValueError, match=r"`label_column` must hold a number for each document, but holds 'x\|y'"):
        opened(text_column="text", label_column="words", label_kind="number").setup("fit")
    with pytest.raises(ValueError, match="`label_separator` must be left out for 'class', but is ';'"):
        opened(label_separator=";")


# Labels that are no single class.


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_labels_that_are_numbers(name: str, tmp_path: Path, tokenizer_file: str) -> None:
    scores = [0.05, 5.95, -1.5, None, 2.0, 1e3]
    path = tmp_path / name
    if name == "a.csv":
        lines = (f"{text},{'' if score is None else score}" for text, score in zip(TEXTS, scores, strict=True))
        path.write_text("\n".join(["text,score", *lines]))
    else:
        written([{"text": text, "score": score} for text, score in zip(TEXTS, scores, strict=True)], path)
    data = data_of(path, tokenizer_file, labels="score", label_kind="number", batch_size=2)
    store = data.stores["train"]
    labels = [store[i]["label"] for i in range(6)]
    assert [None if label != label else label for label in labels] == scores
    assert data.classes == []
    assert findings(data)["documents have no label"][0] == 1
    batch = next(iter(data.train_dataloader()))
    assert batch["label"].is_floating_point()
    probed = [data.splits.probe_train, data.splits.probe_test]
    assert sum(map(len, probed)) == 5  # type: ignore[arg-type]


def test_a_table_that_the_rules_do_not_fit(tmp_path: Path, tokenizer_file: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        "\n".join(f'{number}^the "caf\xe9 dog {number}^{"ab"[number % 2]}' for number in range(6)).encode("cp1252")
    )
    form = TableFormat(delimiter="^", encoding="cp1252", quoting="none", header=False)
    data = data_of(path, tokenizer_file, text_column="2", labels="3", table_format=form)
    assert data.stores["train"][0]["name"] == "a.csv:1"
    assert data.classes == ["a", "b"] and data.report["train"]["num_documents"] == 6
    assert data.report["train"]["num_invalid_bytes"] == 0
    assert (
        data_of(path, tokenizer_file, text_column="2", table_format=replace(form, encoding=None)).report["train"][
            "num_invalid_bytes"
        ]
        == 6
    )
    (tmp_path / "b.csv").write_text("\n".join(TEXTS))  # one column without a name
    assert texts_of(data_of(tmp_path / "b.csv", tokenizer_file, table_format=TableFormat(header=False))) == TEXTS
    joined = "text,label\n" + "\n".join(f"{text},x;y/z" for text in TEXTS)
    (tmp_path / "c.csv").write_text(joined)
    several = data_of(tmp_path / "c.csv", tokenizer_file, labels="label", label_kind="multi-label", label_separator="/")
    assert several.classes == ["x;y", "z"]


def test_labels_of_several_classes_and_of_several_numbers(tmp_path: Path, tokenizer_file: str) -> None:
    several = [["y", "x"], ["z"], [], None, "x;z", "y"]
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, several, strict=True)]
    data = data_of(written(rows, tmp_path / "a.jsonl"), tokenizer_file, labels="label", label_kind="multi-label")
    assert data.classes == ["x", "y", "z"]
    given = [data.stores["train"][i]["label"].tolist() for i in range(6)]
    none = [NO_LABEL] * 3
    assert given == [[1, 1, 0], [0, 0, 1], none, none, [1, 0, 1], [0, 1, 0]]

    other = tmp_path / "other.jsonl"
    written([{"text": TEXTS[0], "label": "w,z"}], other)  # classes of all parts are numbered together
    data = data_of(tmp_path / "a.jsonl", tokenizer_file, labels="label", label_kind="multi-label", val_paths=str(other))
    assert data.classes == ["w", "x", "y", "z"]
    assert data.splits.val[0]["label"].tolist() == [1, 0, 0, 1]
    assert data.splits.train[0]["label"].tolist() == [0, 1, 1, 0]

    rows = [{"text": text, "label": [i, 0.5]} for i, text in enumerate(TEXTS)]
    data = data_of(written(rows, tmp_path / "b.jsonl"), tokenizer_file, labels="label", label_kind="numbers")
    assert [data.stores["train"][i]["label"].tolist() for i in range(6)] == [[i, 0.5] for i in range(6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_kind": "numbr"}, "`label_kind` must be one of .*; nearest: `number`"),
        ({"label_kind": "number"}, "`labels` must name a column where `label_kind` is 'number', but is None"),
        ({"label_kind": "number", "labels": "folder"}, "`labels` must name a column .*, but is 'folder'"),
        ({"label_kind": "number", "labels": "label"}, "`labels` must hold a number for each document, but holds 'a'"),
    ],
)
def test_labels_of_another_kind_are_refused(
    options: dict[str, str], message: str, tmp_path: Path, tokenizer_file: str
) -> None:
    with pytest.raises(ValueError, match=message):
        data_of(written(ROWS, tmp_path / "a.jsonl"), tokenizer_file, **options).setup("fit")


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_documents_called_by_a_column(name: str, tmp_path: Path, tokenizer_file: str) -> None:
    """Two captions of one file have its name; a row without one is called by its place."""
    rows = [
        {"file": file, "text": text} for file, text in zip(["a/1.png", "a/1.png", "2.png", ""], TEXTS, strict=False)
    ]
    path = written(rows, tmp_path / name)
    if name == "t.csv":
        path.write_text("\n".join(["file,text", *(f"{row['file']},{row['text']}" for row in rows)]))
    data = data_of(path, tokenizer_file, name_column="file")
    store = data.stores["train"]
    assert [store[place]["name"] for place in range(len(store))] == ["a/1.png", "a/1.png", "2.png", f"{name}:4"]
    pool = data.pool()
    assert pool.keys("name") == ["a/1.png", "a/1.png", "2.png", f"{name}:4"]
    assert list(pool.numbers) == [0, 1, 2, 3]
    assert 0 < sum(pool.held) < 4
    with pytest.raises(ValueError, match="`name_column` must name a column"):
        data_of(path, tokenizer_file, name_column="picture").setup("fit")
