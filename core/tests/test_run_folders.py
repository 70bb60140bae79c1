"""Run folders are told from their files alone."""

import json
import os
from types import SimpleNamespace

import pytest
import yaml

from unmask.runs.folders import holds_a_run, is_finished, newest_checkpoint, read_environment, run_folder
from unmask.runs.settled import settled


def _run(folder, *ended, checkpoint=True):
    (folder / "checkpoints").mkdir(parents=True)
    if checkpoint:
        (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "environment.json").write_text(json.dumps([{"ended": one} for one in ended]))
    return folder


def test_a_run_goes_where_none_lies_and_resumes_the_newest(tmp_path):
    base = tmp_path / "this"
    assert run_folder(base, resume=False) == run_folder(base, resume=True) == base
    _run(base, "finished")
    _run(tmp_path / "this-9", "finished")
    (tmp_path / "this-other").mkdir()
    (tmp_path / "this-12").mkdir()  # empty: not resumed, not overwritten either
    assert run_folder(base, resume=False) == tmp_path / "this-13"
    assert run_folder(base, resume=True) == tmp_path / "this-9"


def test_the_newest_checkpoint_is_the_one_written_last(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert not holds_a_run(tmp_path)
    _run(tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    best.touch()
    os.utime(best, ns=(0, 0))
    assert newest_checkpoint(tmp_path / "run").name == "last.ckpt"
    assert holds_a_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("ended", "checkpoint", "finished"),
    [
        (["finished"], True, True),
        (["interrupted", "finished"], True, True),
        (["finished", "interrupted"], True, False),
        ([None], True, False),
        ([], True, False),
        (["finished"], False, False),
    ],
)
def test_a_run_is_finished_when_its_last_session_is(tmp_path, ended, checkpoint, finished):
    assert is_finished(_run(tmp_path / "run", *ended, checkpoint=checkpoint)) == finished


@pytest.mark.parametrize("content", ["", "{}", '{"ended": "finished"}', "[1, 2]", "[{"])
def test_a_file_of_something_else_has_no_sessions(tmp_path, content):
    (tmp_path / "environment.json").write_text(content)
    assert read_environment(tmp_path / "environment.json") == []
    assert read_environment(tmp_path / "gone.json") == []


def test_a_config_has_what_model_and_data_settled():
    text = "model:\n  class_path: a.B\n  init_args: {size: base, width: 2}\ndata:\n  class_path: c.D\n"
    model, data = SimpleNamespace(settled={"size": None}), SimpleNamespace(settled={"length": 8})
    assert settled(text, SimpleNamespace(), None) == text
    assert yaml.safe_load(settled(text, model, data)) == {
        "model": {"class_path": "a.B", "init_args": {"size": None, "width": 2}},
        "data": {"class_path": "c.D", "init_args": {"length": 8}},
    }
