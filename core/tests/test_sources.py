"""Sources: what a folder has, and what any data module makes of the items of a source."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from unmask.data import (
    UNREADABLE,
    Findings,
    FolderSource,
    Found,
    Item,
    Report,
    Source,
    SourceDataModule,
    Unreadable,
    held_out,
)
from unmask.data.file_table import FileTable
from unmask.data.labels import check_single, one_label, ordered
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

    @pytest.mark.parametrize(("by_value", "classes"), [(True, ["c", "9", "10"]), (False, ["10", "9", "c"])])
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
    assert ordered(["10", "9", "b", "a", "9"]) == ["a", "b", "9", "10"]
    check_single(["0.5", "1.5"], "x", Findings())
