"""`unmask new` writes a plugin that keeps its contracts as it stands; `unmask check` says what is wrong with one.

That it says so of a modality that was written a moment ago is tested with the README.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib

import pytest

from unmask.cli import check, main
from unmask.plugins import api_version


@pytest.fixture
def written(tmp_path, monkeypatch, capsys):
    """Writes a plugin and puts it on the path of processes to come, as if installed."""

    def put(*words):
        monkeypatch.chdir(tmp_path)
        assert main(["new", *words]) == 0
        assert "Next:" in capsys.readouterr().out
        folder = tmp_path / words[0]
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        info = tmp_path / f"{words[0].replace('-', '_')}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {words[0]}\nVersion: 0.1.0\nRequires-Dist: unmask\n"
        )
        groups = project["entry-points"].items()
        entries = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in members.items()) for group, members in groups]
        (info / "entry_points.txt").write_text("\n".join(entries))
        path = [str(folder / "src"), str(tmp_path), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(part for part in path if part))
        return folder

    return put


def unmask(*words):
    return subprocess.run([sys.executable, "-m", "unmask", *words], capture_output=True, text=True, timeout=600)


LIST_AND_TEST = """
import sys, pytest
from unmask.cli import main
sys.exit(main(["list"]) or pytest.main(["-q", "-p", "no:cacheprovider", "."]))
"""


def code_lines(path):
    """Lines to edit: without blank ones, comments, docstrings and imports."""
    text = path.read_text(encoding="utf-8")
    left = set()
    for node in ast.walk(ast.parse(text)):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or isinstance(node, ast.Import | ast.ImportFrom):
            left |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for at, line in lines if line.strip() and not line.strip().startswith("#") and at not in left)


def test_a_modality_is_short_and_whole(written):
    folder = written("unmask-waves")
    assert sum(code_lines(path) for path in (folder / "src").rglob("*.py")) < 60
    lint = [sys.executable, "-m", "ruff", "check", "--no-cache", str(folder)]
    linted = subprocess.run(lint, capture_output=True, text=True)
    assert linted.returncode == 0 or "No module named ruff" in linted.stderr, linted.stdout
    for path in folder.rglob("*"):
        assert "__" not in path.name.replace("__init__", ""), path
        assert path.is_dir() or "__NAME__" not in path.read_text(encoding="utf-8")


@pytest.mark.slow  # tests/test_docs_blocks.py checks one that the README writes
def test_a_modality_passes_its_own_tests(written):
    folder = written("unmask-waves")
    words = [sys.executable, "-c", LIST_AND_TEST]  # one process, which imports everything once
    tested = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=900)
    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr
    for name in ("waves.waves", "waves.transformer", "waves.mae"):
        assert re.search(rf"^  {name}  .*\[unmask-waves\]$", tested.stdout, re.MULTILINE), tested.stdout


@pytest.fixture
def mask(written):
    """The folder of a plugin with a mask alone."""
    folder = written("unmask-waves", "--kind", "mask", "--modality", "tide")
    assert '"tide.nearby"' in (folder / "pyproject.toml").read_text()
    return folder


@pytest.mark.slow  # tests/test_examples.py checks a mask, too
def test_a_mask_passes_its_own_tests(mask):
    checked = unmask("check", "unmask_waves")  # pip's spelling is taken too
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "masks tide.nearby" in checked.stdout


def test_a_broken_mask_is_told_by_what_it_breaks(mask):
    code = mask / "src" / "unmask_waves" / "mask.py"
    code.write_text(code.read_text().replace("return lowest(", "return ~lowest("))
    checked = unmask("check", "unmask-waves")
    assert checked.returncode == 2
    assert " failed" in checked.stdout
    assert "padding is never chosen: AssertionError" in checked.stdout


def test_check_says_what_it_does_not_try(install, capsys, monkeypatch):
    from unmask.testing.installed import plan

    code = "import unmask\n\n\nclass Wide(unmask.Encoder):\n    def __init__(self, width: int): ...\n"
    code += "    def forward(self, tokens, mask=None, layer=None): ...\n"
    entries = {"api": {api_version.API: "fake_apple"}, "encoders": {"apple.wide": "fake_apple:Wide"}}
    install("unmask-apple", entries, {"fake_apple/__init__.py": code})
    assert plan("unmask-apple").classes == {}
    assert list(plan("unmask-apple").untried.values()) == ["no recipe that can be built here uses it."]
    monkeypatch.setattr("unmask.cli.check.contracts", lambda distribution, commands: check.Verdicts())
    assert main(["check", "unmask-apple"]) == 0
    assert "encoders apple.wide  not tried: no recipe that can be built here uses it." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("shapes cannot be multiplied\nat length"), "RuntimeError: shapes cannot be multiplied"),
        (ValueError("`width` must be 8, but is 4."), "`width` must be 8, but is 4."),
    ],
)
def test_check_says_which_recipe_fails_as_it_stands(error, said, install, capsys, monkeypatch):
    from unmask.testing import installed

    class Read:
        def train_dataloader(self):
            raise error

    entries = {"api": {api_version.API: "fake_plum"}, "recipes": {"plum/first": "fake_plum:first.yaml"}}
    install("unmask-plum", entries, {"fake_plum/__init__.py": "", "fake_plum/first.yaml": ""})
    monkeypatch.setattr(installed, "_of", lambda recipe: (None, None, Read()))
    monkeypatch.setattr(installed, "plan", installed.plan.__wrapped__)
    monkeypatch.setattr("unmask.cli.check.contracts", lambda distribution, commands: check.Verdicts())
    monkeypatch.setattr("unmask.plugins.inspection.problems_of", lambda distribution, commands: [])
    assert main(["check", "unmask-plum"]) == 2
    assert f"plum/first  not tried: a step fails: {said}\n" in capsys.readouterr().out


def test_check_stops_at_what_doctor_finds(install, capsys):
    install("unmask-berry", {"api": {"9.0": "fake_berry"}, "masks": {"berry.peel": "fake_berry:Peel"}}, {})
    assert main(["check", "unmask-berry"]) == 2
    assert "built for plugin API 9.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["new", "Unmask_ECG"],
            "`NAME` must be lower-case words joined by `-`, but is `Unmask_ECG`; nearest: `unmask-ecg`",
        ),
        (["new", "unmask"], "`NAME` must be a new one, but `unmask` is installed"),
        (["new", "unmask-x", "--modality", "a.b"], "`--modality` must be lower-case words joined by `-`, but is `a.b`"),
        (
            ["new", "unmask-x", "--kind", "masc"],
            "`--kind` must be one of modality, mask, but is `masc`; nearest: `mask`",
        ),
        (["new", "unmask-x", "--out", "full"], "`--out` must be a new or an empty folder, but `full` is there already"),
        (["check", "unmusk"], "No distribution `unmusk` registers components; nearest: `unmask`"),
    ],
)
def test_mistakes_are_told_in_words_and_nothing_is_written(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_modality_that_is_taken_is_told_by_whom(toys, capsys):
    assert main(["new", "unmask-x", "--modality", "toy"]) == 2
    assert "`toy.numbers` of toy-modality begins with `toy`" in capsys.readouterr().err
