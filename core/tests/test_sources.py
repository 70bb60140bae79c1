"""Sources: what a folder has, and what any data module makes of the items of a source."""

import gzip
import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from unmask.data import (
    RAGGED,
    UNREADABLE,
    Findings,
    FolderSource,
    Found,
    Item,
    Report,
    Source,
    SourceDataModule,
    TableFormat,
    Unreadable,
    held_out,
    open_table,
)
from unmask.data.file_table import FileTable
from unmask.data.labels import check_single, labels_of, one_label, ordered
from unmask.runs.alike import config_of, difference


def _item(number, label=None, **groups):
    return Item(f"n{number}", number, label, groups)


class Numbers(Source):
    """Items ``0 .. count - 1`` whose class is what is left by ``modulo``."""

    def __init__(self, count=20, modulo=2):
        self.count, self.modulo, self.prepared = count, modulo, False

    def prepare(self):
        self.prepared = True

    def read(self, findings):
        return Found([_item(n, n % self.modulo) for n in range(self.count)], None, ["even", "odd"])


class Given(Source):
    kind = "given numbers"

    def __init__(self, train, val=None):
        self.train, self.val = train, val

    def read(self, findings):
        return Found(self.train, self.val, ["even", "odd"])


class NumberReport(Report):
    def amount(self):
        return "all small"


@dataclass
class Values:
    items: list[Item]


class Samples(Dataset):
    def __init__(self, kept, chosen, labelled):
        self.items, self.labelled = [kept.items[place] for place in chosen], labelled

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        item = self.items[index]
        sample = {"x": torch.tensor(item.read()), **item.groups}
        return sample | ({"label": item.label} if self.labelled else {})


class NumberData(SourceDataModule):
    """Refuses 13."""

    item = item_name = "number"
    keys = ("x", "label", "index")

    def __init__(self, source: Source, **shared):
        super().__init__(source=source, report=NumberReport("numbers"), num_workers=0, **shared)

    def collect(self, items):
        kept = []
        for item in items:
            try:
                if item.read() == 13:
                    raise Unreadable("unlucky")
                kept.append(item)
            except Unreadable as error:
                self.report.findings.note(UNREADABLE, f"{item.name} ({error})")
        return Values(kept)

    def samples(self, kept, chosen, labelled, trained):
        return Samples(kept, chosen, labelled)


def _names(part):
    return [item.name for item in part.items]


class TestModule:
    def test_items_are_held_out_by_one_rule_after_those_that_cannot_be_read(self):
        data = NumberData(Numbers(20), val_ratio=0.25)
        data.prepare_data()
        assert data.source.prepared
        names = [f"n{n}" for n in range(20) if n != 13]
        expected = [[names[i] for i in places] for places in held_out(19, 0.25)]
        assert [_names(part) for part in data.splits] == expected * 2
        assert data.classes == ["even", "odd"] and data.splits.val[0]["label"] in (0, 1)
        assert data.found().splitlines() == [
            "19 numbers: all small, 2 classes.",
            "  1 cannot be used and are left out: n13 (unlucky).",
            "  classes: even, odd.",
            "  14 samples to train on, 5 to validate on.",
        ]

    def test_a_part_of_its_own_and_classes_that_only_it_has(self):
        data = NumberData(Given([_item(0, 0), _item(1, 0)], [_item(2, 0), _item(3, 1)]))
        assert [_names(part) for part in data.splits] == [["n0", "n1"], ["n2", "n3"]] * 2
        assert "given numbers" in data.found()
        assert "1 numbers to validate on are of classes that none to train on is of: n3." in data.found()

    def test_probes_see_the_labelled_and_others_have_no_labels(self):
        data = NumberData(Given([_item(0, 0), _item(1), _item(2, 1)], [_item(3, 1), _item(4)]))
        assert [_names(part) for part in data.splits] == [["n0", "n1", "n2"], ["n3", "n4"], ["n0", "n2"], ["n3"]]
        assert "label" not in data.splits.train[0] and data.splits.probe_train[1]["label"] == 1
        assert "2 without a class." in data.found()

    def test_a_part_without_labels_cannot_be_probed(self):
        data = NumberData(Given([_item(0, 0), _item(1, 1)], [_item(2)]))
        assert data.splits.probe_train is None
        said = "1 parts of the data have no number with a class, so that nothing can be probed: to validate on."
        assert said in data.found()

    def test_words_are_numbered_after_classes_that_have_a_place(self):
        found = Found([_item(0, "b"), _item(1, "10"), _item(2, 0)], [_item(3, "9"), _item(4)], ["c", "b"]).numbered()
        assert found.classes == ["c", "b", "9", "10"]
        assert [[item.label for item in part] for part in found[:2]] == [[1, 3, 0], [2, None]]

    def test_one_class_is_none(self):
        data = NumberData(Numbers(8, modulo=1))
        assert data.splits.probe_train is None and list(data.classes) == []
        assert "all labels are of one class, which tells nothing; read as unlabelled." in data.found()

    @pytest.mark.parametrize(
        ("items", "said"),
        [
            ([_item(13)], r"must have a number that can be used, but has none: n13 \(unlucky\)\."),
            ([], r"must have a number that can be used, but has none\."),
            ([_item(1)], r"at least 2 numbers, to train and to validate on, but has 1\."),
            ([_item(1), _item(2, x="a")], "must not be called 'x', 'label', 'index', but one is 'x'"),
        ],
    )
    def test_errors(self, items, said):
        with pytest.raises(ValueError, match=said):
            NumberData(Given(items)).setup()

    def test_a_source_is_a_part_of_what_a_module_was_made_with(self):
        assert difference(NumberData(Numbers(4)), NumberData(source=Numbers(count=4, modulo=2))) is None
        assert difference(NumberData(Numbers(4)), NumberData(Numbers(5))).startswith("`source` ")
        made = config_of(NumberData(Numbers(4)))["init_args"]["source"]
        assert made["class_path"].endswith("test_sources.Numbers") and made["init_args"] == {"count": 4, "modulo": 2}


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        for name in ("9/a.x", "10/b.x", "c/d.x", "c/e.txt"):
            (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "t" / name).write_text(name)
        return tmp_path / "t"

    @pytest.mark.parametrize(("by_value", "classes"), [(True, ["9", "10", "c"]), (False, ["10", "9", "c"])])
    def test_folders_are_classes_in_one_of_two_orders(self, folder, by_value, classes):
        findings = Findings()
        train, val, found, *_ = FolderSource(str(folder), (".x",), by_value=by_value).read(findings).numbered()
        assert found == classes and val is None
        assert {item.name: found[item.label] for item in train} == {"9/a.x": "9", "10/b.x": "10", "c/d.x": "c"}
        assert [item.read().read_text() for item in train] == [item.name for item in train]
        assert findings.named("files with other endings are left out") == "c/e.txt"

    def test_files_beside_folders_and_in_both(self, folder):
        (folder / "f.x").write_text("")
        findings = Findings()
        train, val, classes, *_ = FolderSource(str(folder), (".x",), val_folder=str(folder / "c")).read(findings)
        assert classes == [] and [item.label for item in (*train, *val)] == [None] * 5
        assert list(findings.lines())[-2:] == [
            "2 files lie beside the folders, which are therefore no classes: f.x, d.x.",
            "1 files to validate on are also among those to train on: d.x.",
        ]

    def test_a_pattern_tells_classes_and_groups(self, folder):
        source = FolderSource(str(folder), (".x",), labels="pattern", pattern=r"(?P<label>\d+)/(?P<who>\w)")
        train, _, classes, *_ = source.read(Findings()).numbered()
        told = {item.name: (item.label, item.groups) for item in train}
        assert classes == ["9", "10"]
        assert told == {"9/a.x": (0, {"who": "a"}), "10/b.x": (1, {"who": "b"}), "c/d.x": (None, {"who": ""})}


def test_many_rows_are_looked_up_at_once(tmp_path):
    rows = [f"s{number}/audio.wav,{number % 2}" for number in range(3000)]
    (tmp_path / "t.csv").write_text("\n".join(["file,label", *rows]))
    table = FileTable(tmp_path / "t.csv", "file", {"label_column": "label"}, Findings())
    files = [(tmp_path / "x" / f"s{number}" / "audio.wav", number) for number in range(3000)]
    found = table.of([(path, path.relative_to(tmp_path / "x")) for path, _ in files])
    assert [int(row["label"]) for row in found] == [number % 2 for _, number in files]


def test_one_label():
    values = (None, math.nan, "", " ", " a ", 3, 0.9, np.int64(2), True)
    assert [one_label(value, "x") for value in values] == [None] * 4 + ["a", "3", "0.9", "2", "True"]
    for value in ([0, 1], np.array([1]), {"a": 1}):
        with pytest.raises(ValueError, match=r"x must hold one label for each sound, but holds a \w+ such as"):
            one_label(value, "x", "sound")
    assert ordered(["10", "9", "b", "2.5", "a", "9", "-1"]) == ["-1", "2.5", "9", "10", "a", "b"]
    check_single(["0.5", "1.5"], "x", Findings())


class TestNothingHeldOut:
    """`val_ratio` 0: all items are trained on; a tenth of them is validated on, and probes are fitted on the others."""

    def test_all_are_trained_on(self):
        data = NumberData(Numbers(20, modulo=2), val_ratio=0)
        train, val, fitted, scored = data.splits
        assert len(train) == 19 and len(val) == 2 and _names(val) == _names(scored)
        assert set(_names(val)) < set(_names(train))
        assert sorted(_names(fitted) + _names(scored)) == sorted(_names(train))
        assert "2 numbers are both trained on and validated on, since `val_ratio` is 0" in data.found()
        assert [len(part) for part in data.everything().values()] == [19]

    def test_a_single_item_is_enough(self):
        data = NumberData(Given([_item(1)]), val_ratio=0)
        assert _names(data.splits.train) == _names(data.splits.val) == ["n1"]


class TestEverything:
    def test_each_item_once_with_labels_where_they_are_known(self):
        data = NumberData(Given([_item(0, 0), _item(1), _item(2, 1)], [_item(3, 1), _item(4)]))
        parts = data.everything()
        assert {name: [sample["x"].item() for sample in part] for name, part in parts.items()} == {
            "train": [0, 1, 2],
            "val": [3, 4],
        }
        assert [sample["label"] for sample in parts["train"]] == [0, -100, 1]
        held = NumberData(Numbers(20)).everything()
        assert sorted(sample["x"].item() for part in held.values() for sample in part) == [
            n for n in range(20) if n != 13
        ]
        unlabelled = NumberData(Given([_item(0), _item(1)])).everything()
        assert all("label" not in sample for part in unlabelled.values() for sample in part)


def _labels(cells, kind, columns=(), separator=None):
    labels, classes = labels_of(cells, kind, "`label`", Findings(), "file", columns, separator)
    return [label.tolist() if isinstance(label, np.ndarray) else label for label in labels], classes


class TestKindsOfLabels:
    @pytest.mark.parametrize(
        ("kind", "cells", "labels", "classes"),
        [
            ("class", ["b", " ", None, "a", math.nan, 7], ["b", None, None, "a", None, "7"], ["7", "a", "b"]),
            ("multi-label", ["a,b", "", "b", None], [[1, 1], None, [0, 1], None], ["a", "b"]),
            ("multi-label", ["a;b, c", "a"], [[1, 0], [1, 1]], ["a", "b, c"]),
            ("multi-label", [["a", "b"], [], ["c"]], [[1, 1, 0], None, [0, 0, 1]], ["a", "b", "c"]),
            ("number", ["0.5", " 2 ", "", 3], [0.5, 2.0, None, 3.0], []),
            ("numbers", ["1,2", "", "3, 4.5"], [[1.0, 2.0], None, [3.0, 4.5]], []),
            ("numbers", [[1, 2], [3.5, 4]], [[1.0, 2.0], [3.5, 4.0]], []),
        ],
    )
    def test_a_cell(self, kind, cells, labels, classes):
        found, names = _labels(cells, kind)
        if kind == "multi-label" and cells[0] == "a;b, c":  # a comma comes first, so that a semicolon is none
            assert names == ["a", "a;b", "c"]
            found, names = _labels(cells, kind, separator=";")
            assert (found, names) == ([[1, 1], [1, 0]], ["a", "b, c"])
            return
        assert (found, names) == (labels, classes)

    def test_several_columns(self):
        cells = [["1", "0"], ["yes", ""], ["", ""], None]
        assert _labels(cells, "multi-label", ["x", "y"]) == ([[1, 0], [1, -100], None, None], ["x", "y"])
        numbers, classes = _labels([["1", "2.5"], ["3", "4"]], "numbers", ["x", "y"])
        assert numbers == [[1.0, 2.5], [3.0, 4.0]] and classes == []
        (gap,), _ = labels_of([["1", ""]], "numbers", "`label`", Findings(), "file", ["x", "y"])
        assert gap[0] == 1 and math.isnan(gap[1])

    @pytest.mark.parametrize(
        ("kind", "cells", "columns", "said"),
        [
            ("clas", [], (), "`label_kind` must be one of `class`, .*, but is 'clas'; nearest: `class`"),
            ("number", ["1", "high"], (), "`label` must hold a number for each file, but holds 'high'; nearest"),
            ("number", ["inf"], (), "must hold a number for each file, but holds 'inf'"),
            ("numbers", ["1,2", "3"], (), "must hold as many numbers for each file, but holds 1 and 2"),
            ("multi-label", [["2", "1"]], ("x", "y"), "must hold 0 or 1 in each column for each file, but holds '2'"),
            ("class", ["a,b", "b"], (), "or set `label_kind` to 'multi-label'"),
        ],
    )
    def test_errors(self, kind, cells, columns, said):
        with pytest.raises(ValueError, match=said):
            labels_of(cells, kind, "`label`", Findings(), "file", columns)

    def test_of_a_folder(self, tmp_path):
        for name in "abc":
            (tmp_path / f"{name}.x").write_text("")
        table = tmp_path / "t.csv"
        table.write_text("file,label,deep,wide\na,dog,1.5,2\nb,cat,2.5,\na,loud,1.5,2\n")
        source = {"folder": str(tmp_path), "endings": (".x",), "labels": "table", "table": str(table)}
        found = FolderSource(**source, label_kind="multi-label").read(Findings())
        assert [None if item.label is None else item.label.tolist() for item in found.train] == [
            [0, 1, 1],
            [1, 0, 0],
            None,
        ]
        assert found.classes == ["cat", "dog", "loud"]
        found = FolderSource(**source, label_kind="numbers", label_column=["deep", "wide"]).read(Findings())
        assert found.train[0].label.tolist() == [1.5, 2] and found.classes == []
        assert FolderSource(**source, label_kind="number", label_column="deep").read(Findings()).train[1].label == 2.5
        with pytest.raises(ValueError, match="`label_column` must be one column where `label_kind` is 'class'"):
            FolderSource(**source, label_column=["deep", "wide"])

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"labels": None, "label_kind": "number"}, "`label_kind` must be left out where `labels` is None"),
            ({"label_separator": ";"}, "`label_separator` must be left out for 'class', but is ';'"),
            ({"table_format": TableFormat(";")}, "`table_format` must be left out without a table of labels"),
        ],
    )
    def test_what_nothing_reads_is_refused(self, options, said, tmp_path):
        with pytest.raises(ValueError, match=said):
            FolderSource(str(tmp_path), (".x",), **options)


class TestTables:
    """One reader for every table."""

    ROWS = [{"file": "a", "label": "dog"}, {"file": "b", "label": "cat"}]

    def read(self, path, **form):
        findings = Findings()
        with open_table(path, findings, TableFormat(**form)) as table:
            return table.columns, list(table.rows), findings

    @pytest.mark.parametrize(
        ("name", "content", "form"),
        [
            ("t.csv", b"file,label\na,dog\nb,cat\n", {}),
            ("t.csv", b"file;label\na;dog\nb;cat\n", {}),
            ("t.csv", b"file|label\na|dog\nb|cat\n", {"delimiter": "|"}),
            ("t.csv", b"\xef\xbb\xbfsep=;\r\nfile;label\r\na;dog\r\nb;cat\r\n", {}),
            ("t.csv", b'"sep=|"\nfile|label\na|dog\nb|cat\n', {}),
            ("t.csv", b"sep=,\nfile|label\na|dog\nb|cat\n", {"delimiter": "|"}),
            ("t.tsv", b"file\tlabel\na\tdog\nb\tcat\n", {}),
            ("t.csv", "file,label\na,dog\nb,cat\n".encode("utf-16"), {}),
            ("t.csv.gz", gzip.compress(b"file,label\na,dog\nb,cat\n", mtime=0), {}),
            ("t.jsonl", b'{"file": "a", "label": "dog"}\n\n{"file": "b", "label": "cat"}\n', {}),
            ("t.json", b'[{"file": "a", "label": "dog"}, {"file": "b", "label": "cat"}]', {}),
            ("t.json", b'{"file": "a", "label": "dog"}\n{"file": "b", "label": "cat"}', {}),
        ],
    )
    def test_every_kind_is_the_same(self, name, content, form, tmp_path):
        (tmp_path / name).write_bytes(content)
        columns, rows, _ = self.read(tmp_path / name, **form)
        assert columns == ["file", "label"] and rows == self.ROWS

    def test_parquet(self, tmp_path):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        nested = [{"file": "a", "about": {"label": "dog", "who": ["x", "y"]}}, {"file": "b", "about": None}]
        parquet.write_table(pyarrow.Table.from_pylist(nested), tmp_path / "t.parquet")
        columns, rows, _ = self.read(tmp_path / "t.parquet")
        assert columns == ["file", "about.label", "about.who", "about"]
        assert rows[0] == {"file": "a", "about.label": "dog", "about.who": ["x", "y"], "about": None}
        assert rows[1]["about.label"] is None

    def test_without_a_header_columns_are_numbered(self, tmp_path):
        (tmp_path / "t.csv").write_text("a,dog\nb,cat\n")
        columns, rows, _ = self.read(tmp_path / "t.csv", header=False)
        assert columns == ["1", "2"] and rows == [{"1": "a", "2": "dog"}, {"1": "b", "2": "cat"}]

    def test_lines_above_the_first_are_counted(self, tmp_path):
        (tmp_path / "t.csv").write_text('\nsep=;\nfile;label\na;dog\nb\nc;"cat')
        with pytest.raises(ValueError, match=r"`t.csv`, line 6: a quote does not fit"):
            self.read(tmp_path / "t.csv")
        (tmp_path / "t.csv").write_text("\nsep=;\nfile;label\na;dog\nb\n")
        assert self.read(tmp_path / "t.csv")[2].odd[RAGGED] == (1, ["line 5 of t.csv"])
        (tmp_path / "t.csv").write_text("sep=;\n")
        with pytest.raises(ValueError, match="must have a first line that names its columns, but is empty"):
            self.read(tmp_path / "t.csv")

    def test_quotes_as_asked_for(self, tmp_path):
        (tmp_path / "t.csv").write_text('file,label\na,"dog\nb,cat\n')
        with pytest.raises(ValueError, match="a quote does not fit"):
            self.read(tmp_path / "t.csv")
        assert self.read(tmp_path / "t.csv", quoting="none")[1][0] == {"file": "a", "label": '"dog'}

    def test_an_encoding_as_asked_for(self, tmp_path):
        (tmp_path / "t.csv").write_bytes("file,label\na,caf\xe9\n".encode("cp1252"))
        with pytest.raises(
            ValueError, match=r"`t.csv` must be text of UTF-8, .*; name its `encoding`, such as `cp1252`"
        ):
            self.read(tmp_path / "t.csv")
        assert self.read(tmp_path / "t.csv", encoding="cp1252")[1][0]["label"] == "caf\xe9"

    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ({"encoding": "cp1251x"}, "`encoding` must be one of text that Python knows, .*; nearest: `cp1252`"),
            ({"encoding": "base64"}, "`encoding` must be one of text that Python knows, but is 'base64'"),
            ({"delimiter": "||"}, "`delimiter` must be one character, but is '||'"),
            ({"quoting": "single"}, "`quoting` must be 'doubled', 'none' or None, but is 'single'"),
        ],
    )
    def test_what_is_no_form(self, form, said):
        with pytest.raises(ValueError, match=re.escape(said).replace(r"\.\*", ".*")):
            TableFormat(**form)

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("t.jsonl", b'{"file": 1\n', "`t.jsonl`, line 1, must be a JSON object, but is not"),
            ("t.json", b"[1, 2]", "`t.json` must hold objects with fields, but record 1 is 1"),
            ("t.json", b"[]", "`t.json` must hold objects with fields, but holds none"),
            ("t.csv.gz", b"file,label\n", "`t.csv.gz` must be packed by gzip, as its name says, but is not"),
            ("t.parquet", b"file,label\n", "`t.parquet` must be a Parquet file, but is not"),
        ],
    )
    def test_what_is_no_table(self, name, content, said, tmp_path):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(said)):
            self.read(tmp_path / name)
