"""Reports: one page that needs nothing else, of runs in every state, with curves that keep what matters."""

from __future__ import annotations

import base64
import html
import json
import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.cli import main
from unmask.tools.report import page, read_records
from unmask.tools.report.axis import count, number, round_ticks, step_axis, value_axis
from unmask.tools.report.curves import MAX_POINTS, Curve, read_curves
from unmask.tools.report.markup import VOID, Markup, element
from unmask.tools.report.pictures_section import LARGEST_BYTES, figures
from unmask.tools.report.settings_section import flatten
from unmask.tools.results import Results

CONFIG = """
seed_everything: 0
trainer: {max_steps: 100, default_root_dir: null}
model:
  class_path: plugin.methods.Method
  init_args:
    mask: {class_path: unmask.masks.random.RandomMask, init_args: {ratio: 0.5}}
    widths: [1, 2]
data: {class_path: plugin.data.Samples, init_args: {batch_size: 64}}
"""
PROBE = {
    "columns": ["raw input", "untrained encoder", "pretrained encoder"],
    "rows": [
        {
            "name": "kNN, all labels",
            "mean": {"raw input": 0.7, "untrained encoder": 0.6, "pretrained encoder": 0.8},
            "standard_error": {"raw input": None, "untrained encoder": None, "pretrained encoder": None},
        },
        {
            "name": "linear, 5 per class",
            "mean": {"raw input": 0.5, "untrained encoder": 0.4, "pretrained encoder": 0.625},
            "standard_error": {"raw input": 0.01, "untrained encoder": 0.02, "pretrained encoder": 0.031},
        },
    ],
    "caption": "After 100 steps.\n10 classes.",
}
SESSION = {
    "started": "2026-01-02T03:04:05+00:00", "command": ["unmask", "fit", "--config", "a b"], "python": "3.11.7",
    "versions": {"unmask": "0.1.0", "torch": "2.8.0"}, "device": "cpu: Chip, 2 cores", "seed": 7,
    "trainable_parameters": 1234567, "first_step": 0, "last_step": 100, "seconds": 3725.4, "ended": "finished",
}  # fmt: skip


def make_run(folder: Path, steps: int = 100, **files: str) -> Path:
    """A run folder as `unmask fit` leaves it; ``files`` by name with ``_`` for the dot, None to leave one out."""
    folder.mkdir(parents=True)
    rows = ["step,train/loss,train/lr,epoch,val/loss"]
    for step in range(steps):
        rows.append(f"{step},{2 / (1 + step)},0.001,{step // 10},")
        if step % 10 == 9:
            rows.append(f"{step},,,{step // 10},{2.5 / (1 + step)}")
    content = {"config_yaml": CONFIG, "metrics_csv": "\r\n".join(rows) + "\r\n"} | files
    for name, text in content.items():
        if text is not None:
            (folder / name.replace("_", ".")).write_text(text)
    return folder


def report(*runs: Path) -> str:
    return page(read_records(runs))


class Reader(HTMLParser):
    """Checks that tags are balanced, and collects what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] for _, attrs in self.tags if attrs.get(name) is not None]

    def charts(self) -> dict[str, dict]:
        """The numbers behind each chart, by its caption."""
        captions = re.findall(r"<figcaption><b>(.*?)</b>", self.rawdata_all)
        return dict(zip(captions, map(json.loads, self.attributes("data-chart")), strict=True))

    def feed(self, data):
        self.rawdata_all = data
        super().feed(data)


def assert_self_contained(text: str) -> Reader:
    reader = Reader(text)
    assert text.startswith("<!DOCTYPE html>")
    assert all(source.startswith("data:image/") for source in reader.attributes("src"))
    ids = reader.attributes("id")
    assert len(ids) == len(set(ids))
    assert all(link.removeprefix("#") in ids for link in reader.attributes("href"))
    assert not {"link", "iframe", "object", "base", "form"} & {tag for tag, _ in reader.tags}
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL)) + "".join(reader.attributes("style"))
    assert "url(" not in styles and "@import" not in styles
    (policy,) = [attrs["content"] for tag, attrs in reader.tags if attrs.get("http-equiv")]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == text.count("<script") == 1
    assert not re.search(r"fetch|XMLHttp|import\s*\(|https?:", scripts[0])
    assert all(attrs.get("alt") for tag, attrs in reader.tags if tag == "img")
    assert all(attrs.get("aria-label") for tag, attrs in reader.tags if tag == "svg")
    return reader


# The page


def test_a_page_needs_nothing_else_and_says_what_everybody_asks(tmp_path):
    run = make_run(tmp_path / "small", probe_json=json.dumps(PROBE), environment_json=json.dumps([SESSION]))
    (run / "pictures").mkdir()
    for epoch in range(10):
        Image.new("RGB", (4, 4), (epoch, 0, 0)).save(run / "pictures" / f"epoch-{epoch:04d}.png")
    reader = assert_self_contained(report(run))
    for words in (
        "small", "Method on Samples", "100 of 100", "validation loss 0.025 its least", "80.0 %",
        "linear, 5 per class % 50.0 ± 1.0 40.0 ± 2.0 62.5 ± 3.1",
        "After 100 steps.", "epoch 0", "1.235M", "1,234,567", "1:02:05", "2026-01-02 03:04:05 UTC",
        "unmask fit --config 'a b'", "torch 2.8.0", "plugin.data.Samples", f"unmask score {run}",
    ):  # fmt: skip
        assert words in reader.text, words
    assert "not finite" not in reader.text
    captions = re.findall(r"<figcaption>(epoch \d+)</figcaption>", reader.rawdata_all)
    assert captions == ["epoch 0", "epoch 4", "epoch 9"]
    mean = sum(2 / (1 + step) for step in range(90, 100)) / 10
    assert f"{mean:.4g} mean of the last 10 logged, from 2" in reader.text


def test_a_single_run_shows_its_losses_in_one_chart(tmp_path):
    charts = Reader(report(make_run(tmp_path / "run"))).charts()
    assert list(charts) == ["loss", "train/lr"]
    train, val = charts["loss"]["lines"]
    assert (train["label"], val["label"]) == ("train", "val")
    assert train["steps"] == list(range(100)) and val["steps"] == list(range(9, 100, 10))
    assert val["values"] == [float(f"{2.5 / (1 + step):.5g}") for step in range(9, 100, 10)]
    assert charts["loss"]["logarithmic"] and not charts["train/lr"]["logarithmic"]


def test_two_runs_of_different_columns_and_lengths_share_charts(tmp_path):
    first, second = make_run(tmp_path / "a" / "run", 100), make_run(tmp_path / "b" / "run", 30)
    text = (second / "metrics.csv").read_text().replace("train/lr", "health/rank")
    (second / "metrics.csv").write_text(text)
    reader = assert_self_contained(report(first, second))
    assert "a/run and b/run" in reader.text
    charts = reader.charts()
    assert list(charts) == ["train/loss", "val/loss", "train/lr", "health/rank"]
    assert [line["label"] for line in charts["train/loss"]["lines"]] == ["a/run", "b/run"]
    assert [line["label"] for line in charts["health/rank"]["lines"]] == ["b/run"]
    assert {tuple(chart["axes"][0]) for chart in charts.values()} == {(0, 100)}  # so that charts align
    assert "100 of 100 30 of 100" in reader.text


def test_losses_that_do_not_compare_are_said_not_to(tmp_path):
    first = make_run(tmp_path / "a")
    alike = make_run(tmp_path / "b", config_yaml=CONFIG.replace("batch_size: 64", "batch_size: 8"))
    other = make_run(tmp_path / "c", config_yaml=CONFIG.replace("ratio: 0.5", "ratio: 0.6"))
    assert "do not compare" not in Reader(report(first, alike)).text
    assert "The runs differ in their mask, so their losses do not compare" in Reader(report(first, other)).text


def test_what_differs_in_two_configs_is_shown_side_by_side(tmp_path):
    first = make_run(tmp_path / "a")
    second = make_run(tmp_path / "b", config_yaml=CONFIG.replace("ratio: 0.5", "ratio: 0.6, unit: 2"))
    text = report(first, second)
    assert "2 of 10 settings differ." in Reader(text).text
    changed = re.findall(r'<tr class="differs"><th scope="row">(.*?)</th>(.*?)</tr>', text.replace("<wbr>", ""))
    assert [(key, re.findall(r'class="value">(.*?)<', cells)) for key, cells in changed] == 2 * [
        ("model.mask.ratio", ["0.5", "0.6"]),
        ("model.mask.unit", ["—", "2"]),
    ]
    assert "The runs have the same settings." in Reader(report(first, make_run(tmp_path / "c"))).text


def test_probes_of_two_runs_are_compared(tmp_path):
    worse = json.loads(json.dumps(PROBE))
    worse["rows"][0]["mean"]["pretrained encoder"] = 0.75
    del worse["rows"][1]
    first = make_run(tmp_path / "a", probe_json=json.dumps(PROBE))
    second = make_run(tmp_path / "b", probe_json=json.dumps(worse))
    text = Reader(report(first, second)).text
    # The row that both have, and no other.
    assert "a b difference kNN, all labels % 80.0 75.0 \N{MINUS SIGN}5.0 Configuration" in text


def test_results_that_are_no_shares_or_no_table_are_shown_as_they_are(tmp_path):
    large = {"columns": ["untrained", "pretrained"], "rows": [{"name": "ridge", "mean": {"pretrained": 12.345}}]}
    run = make_run(tmp_path / "run", probe_json=json.dumps(large), score_json='{"loss": 0.25, "data": {"seed": 3}}')
    text = assert_self_contained(report(run)).text
    assert "ridge — 12.35" in text and "loss 0.25 data.seed 3" in text
    for odd in ("[]", "[1, 2]", '"text"', '{"rows": 3, "columns": []}', '{"rows": [{"mean": 3}], "columns": ["a"]}'):
        (run / "probe.json").write_text(odd)
        assert_self_contained(report(run))


def test_an_error_is_no_percentage_and_its_least_is_best(tmp_path):
    mean = {"from scratch": 0.5, "pretrained": 0.25}
    row = {"name": "absolute error", "labels_per_class": 20, "higher_is_better": False, "mean": mean}
    content = {"rows": [row, row | {"labels_per_class": None}], "encoders": list(mean), "about": "MAE, tuned."}
    text = report(make_run(tmp_path / "run", finetune_json=json.dumps(content)))
    assert "<b>0.25</b>" in text and "<b>0.5</b>" not in text
    words = (
        "from scratch pretrained absolute error, 20 per class 0.5 0.25 absolute error, all labels 0.5 0.25 MAE, tuned."
    )
    assert words in assert_self_contained(text).text


# Runs in every state


def test_an_empty_run_says_what_is_missing_and_what_makes_it(tmp_path):
    run = make_run(tmp_path / "my run", metrics_csv=None)
    text = assert_self_contained(report(run)).text
    for words in ("No curves yet", "No pictures yet", f"unmask probe '{run}'", f"unmask finetune '{run}'"):
        assert words in text, words
    assert "no environment.json, which unmask fit writes" in text


def test_metrics_without_a_config_are_enough(tmp_path):
    text = assert_self_contained(report(make_run(tmp_path / "run", config_yaml=None))).text
    assert "No config.yaml" in text and "100" in text
    assert_self_contained(report(tmp_path / "run", make_run(tmp_path / "other")))


def test_damaged_files_are_named_and_stop_nothing(tmp_path):
    run = make_run(
        tmp_path / "run", config_yaml="model: {class_path: [", probe_json='{"rows": [', environment_json="[{",
        finetune_json="\ud83d".encode("utf-16", "surrogatepass").decode("latin1"),
    )  # fmt: skip
    (run / "pictures").mkdir()
    (run / "pictures" / "latest.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    text = assert_self_contained(report(run)).text
    for file in ("config.yaml", "probe.json", "environment.json", "finetune.json"):
        assert f"{file} is not" in text, file
    assert "model: {class_path: [" in text
    assert "latest.png cannot be shown" in text


@pytest.mark.parametrize(
    ("ended", "words"),
    [(None, "still running, or was killed"), ("interrupted", "it ended with interrupted"), ("finished", None)],
)
def test_how_a_run_ended_is_said_first(tmp_path, ended, words):
    sessions = [SESSION | {"ended": "KeyError"}, SESSION | {"first_step": 100, "last_step": 110, "ended": ended}]
    run = make_run(tmp_path / "run", environment_json=json.dumps(sessions), health_txt="The codes are all the same.")
    text = Reader(report(run)).text
    assert ("Unfinished" in text) == (words is not None) and (words or "") in text
    assert text.index("The codes are all the same.") < text.index("train/lr")
    assert "first start resume 1" in text and "2:04:11" in text  # the time of both


def test_nothing_of_a_run_becomes_markup(tmp_path):
    attack = "</script><script>alert(1)</script><img src=http://evil/x onerror=alert(1)>\"'"
    config = json.dumps({"model": {"class_path": f"a.{attack}", attack: attack}, "data": {"class_path": attack}})
    probe = {"columns": [attack], "rows": [{"name": attack, "mean": {attack: 1}}], "caption": attack}
    session = {"command": [attack], attack: attack, "versions": {attack: attack}}
    run = make_run(
        tmp_path / "a<b>&'\"", config_yaml=config, probe_json=json.dumps(probe), health_txt=attack,
        environment_json=json.dumps([session]), score_json=json.dumps({attack: attack}),
        metrics_csv='step,"<b>/""x"\r\n0,1\r\n',
    )  # fmt: skip
    for text in (report(run), report(run, make_run(tmp_path / "other"))):
        reader = assert_self_contained(text)
        assert not [attrs for _, attrs in reader.tags if "onerror" in attrs]
        assert attack in reader.text and '<b>/"x' in reader.text


def test_long_values_are_cut(tmp_path):
    run = make_run(tmp_path / "run", config_yaml=f"model: {{long: {'x' * 10**6}}}")
    text = report(run)
    assert "(1,000,000 characters)" in text and len(text) < 10**5


def test_values_that_are_not_finite_break_the_curve_and_are_counted(tmp_path):
    rows = "".join(f"{step},{value},nan\r\n" for step, value in enumerate(("1.0", "nan", "inf", "2.0", "0.5")))
    run = make_run(tmp_path / "run", metrics_csv="step,train/loss,val/rank\r\n" + rows)
    reader = assert_self_contained(report(run))
    assert "2 values are not finite (NaN or infinite), the first at step 1." in reader.text
    assert "val/rank: none of its values is finite." in reader.text
    (line,) = reader.charts()["train/loss"]["lines"]
    assert line["values"] == [1, None, None, 2, 0.5]
    (path,) = [attrs["d"] for tag, attrs in reader.tags if attrs.get("class") == "line run-0"]
    assert path.count("M") == 2 and path.count("L") == 1


def test_a_curve_of_one_point_is_drawn(tmp_path):
    run = make_run(tmp_path / "run", metrics_csv="step,train/loss\r\n0,0.5\r\n")
    reader = assert_self_contained(report(run))
    (dots,) = [attrs["d"] for tag, attrs in reader.tags if attrs.get("class") == "dots run-0"]
    assert dots == "M0 500h0"


# metrics.csv


def test_a_row_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    whole = "step,train/loss,val/loss\r\n0,1.5,\r\n1,,2.5\r\n"
    for half in ("", "2", "2,0.", "2,0.1,", "2,0.1,0.", "\0\0\0", "2,1,1,1\r\n", "x,1,1\r\n", "2,0.1\r\n"):
        path.write_text(whole + half, newline="")
        curves = read_curves(path)
        assert curves == {"train/loss": Curve([0], [1.5]), "val/loss": Curve([1], [2.5])}, half
    for nothing in ("", "step", "step,a\r\n", "a,b\r\n1,2\r\n"):
        path.write_text(nothing)
        assert read_curves(path) == {}


def test_thinning_keeps_spikes_gaps_and_ends():
    values = [float(i % 7) for i in range(100_000)]
    values[54_321], values[54_322], values[77_777] = 1e6, -1e6, math.nan
    kept = Curve(range(100_000), values).kept()
    assert len(kept) <= MAX_POINTS and kept == sorted(set(kept))
    assert {0, 54_321, 54_322, 77_777, 99_999} <= set(kept)
    assert Curve(range(3), [1.0, 2.0, 3.0]).kept() == [0, 1, 2]


def test_a_long_run_makes_a_small_page_with_its_spike(tmp_path):
    rows = [f"{step},{1 + math.sin(step) / 10},\r\n" for step in range(100_000)]
    rows[54_321] = "54321,77.0,\r\n"
    run = make_run(tmp_path / "run", metrics_csv="step,train/loss,val/loss\r\n" + "".join(rows))
    text = report(run)
    assert len(text) < 150_000
    (line,) = Reader(text).charts()["train/loss"]["lines"]
    assert len(line["steps"]) <= MAX_POINTS and line["values"][line["steps"].index(54_321)] == 77


def test_smoothing_is_a_mean_that_does_not_shift_a_line():
    line = Curve(range(201), [3.0 - 0.01 * step for step in range(201)])
    smooth = line.smooth()
    assert smooth[:196] == pytest.approx(line.values[:196])  # windows of 5 steps to each side
    assert smooth[200] == pytest.approx(np.mean(line.values[195:]))
    spike = Curve(range(201), [0.0] * 100 + [11.0] + [0.0] * 100).smooth()
    assert spike == pytest.approx([0.0] * 95 + [1.0] * 11 + [0.0] * 95)
    gap = Curve(range(201), [2.0] * 100 + [math.nan] + [2.0] * 100).smooth()
    assert math.isnan(gap[100]) and gap[99] == gap[101] == pytest.approx(2)
    assert Curve(range(10), [0.0] * 10).smooth() is None


# Axes


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 300, [0, 50, 100, 150, 200, 250, 300]), (-3, 9, [-2, 0, 2, 4, 6, 8])],
)
def test_ticks_are_round(low, high, ticks):
    assert round_ticks(low, high, 5) == pytest.approx(ticks)


def test_axes_hold_their_values_whatever_they_are():
    rng = np.random.default_rng(0)
    for _ in range(500):
        center, spread = 10.0 ** rng.uniform(-300, 99, 2) * rng.choice([-1, 1], 2)
        values = (center + spread * rng.normal(size=3)).tolist()
        for held in (values, values[:1], [0.0, values[0]], [0.0]):
            axis = value_axis(held)
            assert all(0 <= axis.place(value) <= 1 for value in held)
            assert all(-1e-6 <= axis.place(tick) <= 1 + 1e-6 for tick in axis.ticks)
            labels = axis.labels()
            assert len(labels) <= 12 and len(set(labels)) == len(labels), (values, labels)


def test_a_logarithmic_axis_is_for_positive_values_that_span_decades():
    axis = value_axis([1e-4, 1.0])
    assert axis.logarithmic and axis.labels() == ["10⁻⁴", "0.001", "0.01", "0.1", "1"]
    assert axis.place(1e-2) == pytest.approx(0.5)
    assert not value_axis([0.1, 1.0]).logarithmic
    assert not value_axis([0.0, 1e-4, 1.0]).logarithmic
    assert not value_axis([1e-4, 1.0], logarithmic=False).logarithmic
    assert value_axis([0.01, 0.5]).labels() == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]


def test_numbers_are_written_for_people():
    assert [number(v) for v in (0, 0.5, 0.01234, 12.345, 1234.5, 1e-5, -2.5e-5, 3e7)] == [
        "0", "0.5", "0.0123", "12.3", "1,234", "10⁻⁵", "-2.5\N{MULTIPLICATION SIGN}10⁻⁵", "3\N{MULTIPLICATION SIGN}10⁷",
    ]  # fmt: skip
    assert [count(v) for v in (0, 1500, 20_000, 100_000, 1_500_000, 2 * 10**9)] == [
        "0", "1,500", "20k", "100k", "1.5M", "2G",
    ]  # fmt: skip
    assert step_axis(99).labels() == ["0", "20", "40", "60", "80", "100"]
    assert step_axis(0).labels() == ["0", "1"]


# Parts


def test_elements_escape_and_close():
    assert element("p", "a < b", Markup("<br>"), None, 3, class_="x", data_y='"', hidden=True, id=None) == (
        '<p class="x" data-y="&quot;" hidden>a &lt; b<br>3</p>'
    )
    assert element("br") == "<br>"
    assert element("p", "a\0\x1b\ud800b", title="\x01") == '<p title="�">a���b</p>'


def test_settings_are_flattened_by_dots_and_numbers():
    config = {"a": {"init_args": {"b": 1}, "c": None}, "d": [1, 2.5], "e": [{"f": True}, "g"], "h": {}, "i": "text"}
    assert flatten(config) == [
        ("a.b", "1"), ("a.c", "null"), ("d", "[1, 2.5]"), ("e[0].f", "true"), ("e[1]", "g"), ("h", "{}"), ("i", "text"),
    ]  # fmt: skip


def test_large_pictures_are_made_smaller_until_they_fit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size > LARGEST_BYTES
    shown = figures([("large", tmp_path / "large.png")], budget=10**9)
    assert "data:image/jpeg" in shown and len(shown) < 1.4 * LARGEST_BYTES
    assert re.search(r"made smaller: JPEG, \d+ x \d+ of 1500 x 1200", shown)
    assert "takes more than 1 kB" in figures([("large", tmp_path / "large.png")], budget=1000)


def test_small_pictures_stay_as_they_are(tmp_path):
    Image.new("RGBA", (5, 3), (1, 2, 3, 128)).save(tmp_path / "small.png")
    source = re.search(r'src="data:image/png;base64,(.*?)"', figures([("small", tmp_path / "small.png")], 10**6))
    assert base64.b64decode(html.unescape(source[1])) == (tmp_path / "small.png").read_bytes()


# The command


def test_the_command_writes_and_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = make_run(tmp_path / "first"), make_run(tmp_path / "second")
    assert main(["report", "first"]) == 0
    size = (first / "report.html").stat().st_size
    assert capsys.readouterr().out == f"Written to first/report.html ({size / 1000:,.0f} kB)\n"
    assert main(["report", "first", "second"]) == 0
    assert main(["report", str(second), "--out", "new/folder/page.html"]) == 0
    for path in (first / "report.html", Path("report.html"), Path("new/folder/page.html")):
        assert_self_contained(path.read_text("utf-8"))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one run or two, but 0 were given"),
        (["run", "run-2", "run-3"], "one run or two, but 3 were given"),
        (["run", "./run/../run"], "two different runs, but `run` was given twice"),
        (["rum"], "There is no run `rum`; nearest: `run`"),
        (["."], "`.` must be a run folder, but has neither `config.yaml` nor `metrics.csv`; runs below it: `run`"),
        (["run/config.yaml"], "`run/config.yaml` must be a run folder, but is a file"),
        (["run", "--out", "page.txt"], "`--out` must end in .html, but is `page.txt`"),
        (["run", "--out", "folder.html"], "`--out` must be a file, but `folder.html` is a folder"),
        (["run", "--out", "run/config.yaml/page.html"], "`run/config.yaml/page.html` cannot be written"),
        (["run", "--ou", "x"], "takes no `--ou`; nearest: `--out`"),
    ],
)
def test_mistakes_are_answered_in_a_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run")
    (tmp_path / "folder.html").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert main(["report", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_page_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run")
    (run / "report.html").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert main(["report", str(run)]) == 2
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert (run / "report.html").read_text() == "old"
    assert not list(run.glob(".*"))


def test_no_report_imports_torch(tmp_path):
    run = make_run(tmp_path / "run", probe_json=json.dumps(PROBE), environment_json=json.dumps([SESSION]))
    (run / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(run / "pictures" / "latest.png")
    code = (
        "import sys; from unmask.cli import main; assert main(['report', sys.argv[1]]) == 0; "
        "slow = {'torch', 'lightning', 'sklearn', 'jsonargparse'} & set(sys.modules); assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_row_says_itself_whether_it_is_percent_and_whether_less_is_better():
    row = {"name": "ridge, MAE", "percent": False, "higher_is_better": False, "mean": {"a": 0.2, "b": 0.5}}
    (read,) = Results.from_json({"columns": ["a", "b"], "rows": [row]}).rows
    assert not read.measure.percent
    assert read.best() == 0.2
    (read,) = Results.from_json({"columns": ["a"], "rows": [row | {"percent": True, "higher_is_better": True}]}).rows
    assert read.measure.percent
