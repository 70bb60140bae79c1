"""Names of columns inside of others, and tables that have some."""

from __future__ import annotations

import json

import pytest

from unmask.data import Findings, column_of, columns_in, flattened, open_table
from unmask.data.fields import INSIDE

RECORD = {"id": 1, "meta": {"label": "a", "deep": {"x": [1, 2]}}, "turns": [{"say": "hi"}, {"say": "ho", "by": 2}, 3]}


def test_names_of_a_record():
    assert dict(columns_in(RECORD)) == {
        "id": False, "meta.label": False, "meta.deep.x": False, "turns.say": True, "turns.by": True
    }  # fmt: skip


def test_a_record_by_its_names():
    plain = {"id": 1, "meta.label": "a", "meta.deep.x": [1, 2]}
    assert flattened(RECORD) == [plain | {"turns": RECORD["turns"]}]
    assert flattened(RECORD, "turns.say") == [
        plain | {"turns.say": "hi"}, plain | {"turns.say": "ho", "turns.by": 2}
    ]  # fmt: skip


def test_which_column_is_meant():
    columns = ["id", "meta.label", "meta.deep.x", "other.x"]
    findings = Findings()
    assert column_of(columns, "labels", "meta.label", findings=findings) == "meta.label"
    assert not findings.odd
    assert column_of(columns, "labels", "label", findings=findings, where="a file") == "meta.label"
    assert findings.odd == {INSIDE: (1, ["meta.label in a file"])}
    assert column_of(["a"], "labels", None, "text") == "a"
    assert column_of(["a", "b", "text"], "labels", None, "file", "text") == "text"
    with pytest.raises(ValueError, match=r"`labels` must name one column of the data, .*: `meta.deep.x`, `other.x`"):
        column_of(columns, "labels", "x")
    with pytest.raises(ValueError, match="`labels` must name a column of the data, but is 'lable'; nearest: `label`"):
        column_of(["label", "b"], "labels", "lable")


def test_a_table_of_records_finds_them_likewise(tmp_path):
    rows = [{"file": f"{number}.wav", "meta": {"label": "ab"[number]}} for number in range(2)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    findings = Findings()
    with open_table(tmp_path / "a.jsonl", findings) as table:
        column = table.column("label_column", "label")
        assert column == "meta.label"
        assert [row[column] for row in table.rows] == ["a", "b"]
    assert findings.odd == {INSIDE: (1, ["meta.label in `a.jsonl`"])}
