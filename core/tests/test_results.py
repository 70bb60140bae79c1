"""The one table of results: numbers worked out by hand, JSON there and back, and what it looks like."""

from __future__ import annotations

import json
import sys

import pytest

from unmask.tools.results import Cell, Measure, Results, Row, over_runs, standard_error

ACCURACY, ERROR = Measure("accuracy", percent=True), Measure("MAE", less_is_better=True, form=".3g")


def row(measure=ACCURACY, **scores):
    return Row("r", measure, {name: Cell.of(own) for name, own in scores.items()})


def results(**options):
    rows = [
        Row("kNN", ACCURACY, {"raw input": Cell.of([0.5]), "pretrained, late": Cell.of([0.75])}),
        Row("linear", ACCURACY, {"raw input": Cell.of([0.5, 0.7]), "pretrained, late": Cell.of([0.6, 0.9])}),
    ]
    given = {"title": "Accuracy, %", "columns": ["raw input", "pretrained, late"], "rows": rows, "head": "probe"}
    given |= {"gain": "gain over {}", "caption": ["After 7 steps.", "", "± standard error."]}
    return Results(**(given | options))


def test_means_errors_and_paired_gains_by_hand():
    found = row(a=[0.5, 0.7], b=[0.6, 0.9])
    assert found.cells["a"].mean == pytest.approx(0.6)
    assert found.cells["a"].error == pytest.approx(0.1)  # sqrt(0.02 / 2)
    assert found.gain("b", "a") == (pytest.approx(0.15), pytest.approx(0.05))
    assert found.best() == pytest.approx(0.75)
    assert row(a=[0.5]).cells["a"].error is None
    assert standard_error([1.0, 2.0, 6.0]) == pytest.approx((7 / 3) ** 0.5)  # of squares 4, 1, 9 a sum of 14, by 2 * 3


def test_of_an_error_less_is_better():
    found = row(ERROR, a=[3.0, 4.0], b=[2.0, 2.0])
    assert found.gain("b", "a") == (1.5, 0.5)
    assert found.best() == 2


def test_a_single_score_is_compared_with_each_of_several():
    assert row(a=[0.5], b=[0.6, 0.8]).gain("b", "a") == (pytest.approx(0.2), pytest.approx(0.1))


def test_numbers_are_written_by_their_measure():
    assert ACCURACY.text(0.1234, 0.01) == "12.3 ± 1.0"
    assert ACCURACY.text(0.05, sign=True) == "+5.0" and ACCURACY.text(-0.05, 0.01, sign=True) == "-5.0 ± 1.0"
    assert ERROR.text(12.345) == "12.3"
    assert Measure("loss", form=".4g", error_form=".2g").text(0.123456, 0.0123) == "0.1235 ± 0.012"
    assert Measure("R²").text(0.12345) == "0.123"


def test_labels_say_on_how_many_labels_and_their_unit():
    assert row(a=[1.0]).label() == "r" and row(a=[1.0]).label(unit=True) == "r, %"
    few, every = (Row("R2", Measure("R2"), {}, {"labels_per_class": number}) for number in (5, None))
    assert (few.label(unit=True), every.label()) == ("R2, 5 per class", "R2, all labels")


def test_the_text_has_the_table_and_its_caption():
    lines = results().text().splitlines()
    assert [line.split() for line in lines] == [
        ["Accuracy,", "%"],
        [],
        ["pretrained,"],
        ["probe", "raw", "input", "late", "gain", "over", "raw"],
        ["─" * len(lines[4].strip())],
        ["kNN", "50.0", "75.0", "+25.0"],
        ["linear", "60.0", "±", "10.0", "75.0", "±", "15.0", "+15.0", "±", "5.0"],
        [],
        ["After", "7", "steps."],
        ["±", "standard", "error."],
    ]
    assert "gain" not in results(gain="").text()
    assert results(title="Scores").text().splitlines()[5].split()[:2] == ["kNN,", "%"]
    long = "A title that is far longer than what stands below it, and stays in one line"
    assert results(title=long).text().startswith(long + "\n")
    assert results().about("Told first.").caption_text.startswith("Told first.\nAfter 7 steps.")


def test_bold_is_the_best_of_a_row_or_of_a_column():
    def bold(table):
        return [[cell.startswith("[bold]") for cell in column.cells] for column in list(table.table().columns)[1:3]]

    assert bold(results()) == [[False, False], [True, True]]
    assert bold(results(bold="column")) == [[False, True], [False, False]]  # 75 and 75: none is the best
    assert bold(results(bold="")) == [[False, False], [False, False]]


def test_a_missing_cell_is_a_dash_and_words_stand_last():
    rows = [Row("run/1", Measure("loss"), {"b": Cell(0.25)}, {"hidden are": "dropped"})]
    text = Results("Loss", ["a", "b"], rows, notes=["hidden are"]).text()
    assert text.splitlines()[4].split() == ["run/1", "—", "0.250", "dropped"]


def test_json_there_and_back():
    written = results(caption=["After 7 steps.", "± standard error."], details={"seed": 3, "sizes": {"train": 5}})
    content = json.loads(written.to_json())
    assert Results.from_json(content) == written
    assert content["seed"] == 3 and content["columns"] == ["raw input", "pretrained, late"]
    assert content["caption"] == "After 7 steps.\n± standard error."
    linear = content["rows"][1]
    assert (linear["name"], linear["measure"], linear["percent"], linear["higher_is_better"]) == (
        "linear", "accuracy", True, True,
    )  # fmt: skip
    assert linear["scores"] == {"raw input": [0.5, 0.7], "pretrained, late": [0.6, 0.9]}
    assert linear["mean"]["raw input"] == pytest.approx(0.6) and linear["standard_error"]["raw input"] == pytest.approx(
        0.1
    )
    assert linear["gain"] == {"raw input": pytest.approx([0.15, 0.05])}
    assert linear["draws"] is None


def test_other_spreads_are_called_what_they_are():
    written = results(spread="standard deviation", gain="")
    content = json.loads(written.to_json())
    assert "standard_error" not in content["rows"][0] and content["rows"][0]["standard_deviation"]
    assert Results.from_json(content).text() == written.text()


def test_files_of_earlier_versions_are_read():
    tuned = {"name": "R2", "labels_per_class": 5, "mean": {"scratch": 0.5, "pretrained": 2.5}, "gain": [2.0, None]}
    read = Results.from_json({"rows": [tuned], "encoders": ["scratch", "pretrained"], "about": "Tuned."})
    assert read.columns == ["scratch", "pretrained"] and read.caption_text == "Tuned."
    assert read.rows[0].label() == "R2, 5 per class" and not read.rows[0].measure.percent
    shares = Results.from_json({"rows": [{"name": "kNN", "mean": {"a": 0.5, "b": float("nan"), "c": None}}]})
    assert shares.rows[0].measure.percent and shares.columns == ["a"]


@pytest.mark.parametrize("odd", [None, [], "text", {"rows": 3}, {"rows": [1]}, {"rows": [{"mean": 3}], "spread": 1}])
def test_what_is_no_table_has_no_rows(odd):
    assert Results.from_json(odd).rows == []


def test_several_runs_have_one_score_each():
    def run(raw, scores):
        cells = ({"raw": Cell.of([0.5])} if raw else {}) | {"codes": Cell.of(scores)}
        return Results("t", list(cells), [Row("r", ACCURACY, cells)], details={"over": "2 draws", "num_runs": 1})

    one, other = run(True, [0.6, 0.8]), run(False, [0.9, 0.9])
    assert over_runs([one]) is one
    both = over_runs([one, other])
    assert both.rows[0].cells["codes"].scores == [pytest.approx(0.7), pytest.approx(0.9)]
    assert both.rows[0].cells["codes"].draws == [[0.6, 0.8], [0.9, 0.9]]
    assert both.rows[0].cells["raw"].error is None
    assert both.details == {"over": "2 runs", "num_runs": 2} and both.has_errors


def test_what_is_printed_to_a_file_has_no_colours(capsys, monkeypatch):
    results().show()
    assert capsys.readouterr().out == results().text()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    results().show()
    assert capsys.readouterr().out.endswith("After 7 steps.\n± standard error.\n")
