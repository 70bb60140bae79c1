"""YAML from anybody: what would hang or flood a run is refused in one line, at once; what people write is read."""

from __future__ import annotations

import os
import sys
import time
from itertools import pairwise

import pytest
import yaml

from unmask.cli import main
from unmask.runs.weights import read_weights
from unmask.support.errors import UserError
from unmask.support.yaml_files import parse_yaml, read_yaml
from unmask.tools.report.record import read_record

LETTERS = "abcdefghijklm"


def bomb(first="[x, x, x, x, x, x, x, x, x, x]", merge=""):
    """Ten to the power of 12 values in a few lines."""
    lines = [f"a: &a {first}"]
    for one, following in pairwise(LETTERS):
        many = f"[{', '.join([f'*{one}'] * 10)}]"
        lines.append(f"{following}: &{following} " + (f"{{<<: {many}}}" if merge else many))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(), "must hold at most 100,000 values, aliases in full, but holds more up to line 5"),
        (bomb("{x: 1}", merge="<<"), "must hold at most 100,000 values"),
        ("a: &a [1, *a]", r"must not hold itself, but `\*a` does so in line 1"),
        ("&a {x: {y: *a}}", "must not hold itself"),
        ("[" * 3000, "maximum nesting depth|nested deeper"),
        ("{a: " * 3000, "must not be nested deeper than 100 levels, but is so in line 1"),
        ("".join(" " * i + "a:\n" for i in range(500)), "nested deeper than 100 levels, but is so in line 101"),
        ("".join(f"a{i}: &a{i} [{f'*a{i - 1}' if i else 1}]\n" for i in range(200)), "nested deeper than 100 levels"),
        ("- a\n" * 200_000, "must hold at most 100,000 values"),
        ("a: " + "x" * 11_000_000, "must be at most 10 MB"),
        ("a: 1" + ":1" * 100_000, "has a number of 200,001 digits in line 1"),
        (
            "".join(f"%TAG !a{i}! x\n" for i in range(200)) + "---\na: 1",
            "must have at most 100 `%TAG` lines, but has 200",
        ),
        ("a: 1\nb: {c: 1, d: 2, c: 3}", "has the key `c` twice, in lines 2 and 2; drop one of them"),
        ("a: [", "is not valid YAML"),
        ("a: 2001-99-99", "is not valid YAML: month must be in 1..12"),
        ("a: !!int ''", "is not valid YAML"),
        ("a: *b", "is not valid YAML: found undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML: could not determine a constructor"),
    ],
)
def test_what_would_hang_or_mislead_is_refused_at_once(text, message):
    begun = time.perf_counter()
    with pytest.raises(UserError, match=message) as caught:
        parse_yaml(text, "x.yaml")
    assert time.perf_counter() - begun < 5  # a fraction of it on an idle machine
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500
    assert str(caught.value).startswith("`x.yaml` ")


def test_what_people_write_is_read_as_pyyaml_does():
    text = """
    base: &base {width: 8, depth: [1, 2.5, yes, null, 1e-3]}
    model: {<<: *base, width: 16}
    data: *base
    last: [*base, *base, 'text: with, signs', "*no alias"]
    """
    assert parse_yaml(text, "x") == yaml.safe_load(text)
    assert parse_yaml("", "x") is None
    assert parse_yaml("a: '" + "1" * 5000 + " digits'", "x")["a"].endswith("digits")


def test_only_files_of_text_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    for name, message in (("pipe", "but is none"), ("gone", "but is not there"), ("bytes", "it is no UTF-8 text")):
        with pytest.raises(UserError, match=message):
            read_yaml(tmp_path / f"{name}.yaml")


@pytest.mark.parametrize("how", [["--config", "{file}"], ["--config", "toy.yaml", "--model", "{file}"]])
def test_the_command_line_refuses_a_bomb_wherever_it_reads_a_file(toys, how, capsys):
    (toys / "bomb.yaml").write_text(bomb())
    assert main(["fit", *(word.format(file="bomb.yaml") for word in how)]) == 2
    assert "must hold at most 100,000 values" in capsys.readouterr().err


def test_a_class_path_into_pythons_own_library_is_refused_unimported(toys, capsys):
    sys.modules.pop("this", None)
    assert main(["fit", "--config", "toy.yaml", "--model", "this.X", "--print_config"]) == 2
    assert "is a module of Python's own" in capsys.readouterr().err
    assert "this" not in sys.modules


def test_a_report_and_weights_survive_nested_files(tmp_path):
    (tmp_path / "config.yaml").write_text(bomb())
    (tmp_path / "environment.json").write_text("[" * 100_000)
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2\n" + "9" * 5000 + ",3\n")
    record = read_record(tmp_path)
    assert any("environment.json is not JSON" in problem for problem in record.problems)
    assert any("config.yaml is not YAML" in problem for problem in record.problems)
    assert record.curves["loss"].steps == [1]
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"w": "model.safetensors.index.json"}}')
    with pytest.raises(UserError, match=r"must list files of weights under `weight_map`, but lists `model"):
        read_weights(index)
    index.write_text("[" * 100_000)
    with pytest.raises(UserError, match="must list its files under `weight_map`"):
        read_weights(index)
