"""Every command and code block of README, CONTRIBUTING and the site is executed, with budgets cut.

What is done with a block, by its kind; a block of another kind fails:

| block | what is done |
|---|---|
| `python` | run, in one scope per page |
| `sh`, or none | commands, one by one in one folder; see `Shell`. Titled `a mistake`: refused with exit code 2 |
| `text` | after commands: their output, whose lines must have been printed in that order; `...` stands for others. Titled `layout`: drawn, and its folder must be one that a command of the page is given |
| `yaml`, `csv` with a title | written to that file, which a command of the page must be given |
| `toml` | parsed |
| any, of `--8<--` | the file that is shown must be one of docs/examples, which tests/test_examples.py and tests/test_launch.py run |

``unmask`` runs in this process, with fewer steps and samples (`FEWER`), and smaller models where a recipe's are of paper
size (`SMALLER`). ``~/photos`` and the like are made when a command names them; ``RUN`` and ``RUN2`` are runs of four steps.
"""  # noqa: E501

import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from unmask.cli import main
from unmask.plugins import registry

ROOT = Path(__file__).parent.parent
MAKERS = runpy.run_path(str(Path(__file__).parent / "docs_folders.py"))["MAKERS"]
SLOW = ("docs/recipes/", "docs/scale", "docs/joining", "docs/example-", "docs/examples/", "docs/modalities/")
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if "```" in path.read_text(encoding="utf-8")
)

STEPS = (
    "--trainer.max_steps 2 --trainer.limit_train_batches 2 --trainer.limit_val_batches 1 --trainer.accelerator cpu "
    "--trainer.check_val_every_n_epoch 1 --trainer.log_every_n_steps 1 --trainer.num_sanity_val_steps 0"
)
FEWER = {
    "fit": STEPS,
    "plan": "--batches 1",
    "probe": "--num_draws 2 --labels_per_class 2 --max_labels 100",
    "finetune": "--max_steps 2 --labels_per_class 10 --seeds 0",
    "audio-stats": "--max_samples 4",
    "pointcloud-few-shot": "--episodes 2 --ways 5 --shots 10",
    "text-generate": "--count 1 --length 8",
}
"""Appended to a command; what is said last counts."""
PAPER = "--data.batch_size 2 --trainer.precision 32-true"
SMALLER = {
    "vision/mae-folder": f"{PAPER} --model.size tiny --model.image_size 32 --data.image_size 32",
    "vision/mae-fire-risk": f"{PAPER} --model.size tiny --model.image_size 32 --data.image_size 32",
    "vision/simmim-folder": f"{PAPER} --model.image_size 64 --data.image_size 64",
    "vision/ijepa-folder": f"{PAPER} --model.size tiny",
    "audio/audio-mae-files": f"{PAPER} --model.size tiny",
    "audio/hubert-mfcc-synth": "--model.num_frames 3000",
    "audio/hubert-synth": "--model.num_frames 3000",
    "text/mlm-files": f"{PAPER} --model.size tiny",
    "graph/graphmae-tu": "--data.batch_size 2",
    "graph/graphmae2-clusters": "--data.batch_size 2 --data.sampling.num_clusters 6",
    "pointcloud/point-mae-files": f"{PAPER} --model.size tiny",
    "pointcloud/point-mae-solids": "--data.batch_size 4",
}
"""Likewise, by the recipe that a command names."""
CONFIGURED = ("fit", "preview", "audio-stats")
"""Commands that take ``--model`` and ``--data``."""


class Block(NamedTuple):
    """A fenced block: its language, its title, what is in it."""

    kind: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^( *)```([^\n]*)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    assert text.count("```") == 2 * len(found), f"{page}: a block is not closed"
    made = []
    for indent, head, body in found:
        title = re.search(r'title="([^"]*)"', head)
        body = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        made.append(Block((head.split() or [""])[0], title[1] if title else "", body))
    return made


def commands(text: str) -> list[list[str]]:
    """Words of each command, without comments; continued lines and ``&&`` are seen."""
    lines = text.replace("\\\n", " ").splitlines()
    return [
        words
        for line in lines
        for part in line.split(" && ")
        if (words := shlex.split(part, comments=True))
    ]  # fmt: skip


class Shell:
    """Runs what pages tell their readers to run, in one folder for all pages, each command once.

    ``unmask check`` has a process of its own, as it runs pytest. ``pip install -e FOLDER`` puts a package on the path
    with the metadata that installing it would write; of other ``pip install`` the extras must exist. ``make TARGET``
    must be a target; of ``quickstart`` the ``unmask`` commands are run. ``pytest`` must have tests to find, which
    tests/test_examples.py runs.
    """

    def __init__(self, folder: Path, write_metadata: Callable[[Path, Path], str]) -> None:
        self.write_metadata = write_metadata
        self.folder, self.home, self.metadata = folder / "here", folder / "home", folder / "metadata"
        for made in (self.folder, self.home, self.metadata):
            made.mkdir()
        self.printed: dict[str, str] = {}
        self.sources: list[str] = []

    def enter(self, monkeypatch, capsys, page: str) -> None:
        """Be where commands are run, for the time of a test."""
        self.patch, self.capsys, self.page = monkeypatch, capsys, page
        monkeypatch.chdir(self.folder)
        monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser()))
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.setenv("COLUMNS", "120")
        for source in self.sources:
            self._on_path(source)

    def run(self, words: list[str], expected: int = 0) -> str:
        """What a command prints; it must end with the expected code."""
        program = words[0]
        assert hasattr(self, f"_{program}"), f"{self.page}: no rule for `{program}`"
        for word in words:
            if word.startswith("~/") and not (self.home / word[2:]).exists():
                assert word[2:] in MAKERS, f"{self.page}: nothing makes `{word}`"
                MAKERS[word[2:]](self.home / word[2:])
        line = shlex.join(words)
        if line not in self.printed:
            self.expected = expected
            self.printed[line] = getattr(self, f"_{program}")(words[1:])
        return self.printed[line]

    def _unmask(self, words: list[str]) -> str:
        for name, seed in (("RUN", 0), ("RUN2", 1)):
            if name in words[1:] and words[0] != "fit" and not Path(name).exists():
                self.run(shlex.split(f"unmask fit --config vision/mae-digits --out {name} --seed_everything {seed}"))
        words = [re.sub(r"^~(?=/)", str(self.home), word) for word in words]
        command = words[0]
        extra = shlex.split(FEWER.get(command, ""))
        if command in CONFIGURED:
            extra += [
                option for recipe, smaller in SMALLER.items() if recipe in words for option in shlex.split(smaller)
            ]
            if command != "fit":
                extra = without_trainer(extra)
        if command == "check":
            return self._process([sys.executable, "-m", "unmask", *words])
        self.capsys.readouterr()
        code = main([*words, *extra])
        printed = self.capsys.readouterr()
        assert code == self.expected, f"{self.page}: unmask {shlex.join([*words, *extra])}\n{printed.err}"
        return printed.out + printed.err

    def _pip(self, words: list[str]) -> str:
        assert words[0] == "install", words
        given = iter(words[1:])
        for word in given:
            if word == "-e":
                self._install(next(given))
            else:
                check_requirement(word, self.page)
        return ""

    def _install(self, place: str) -> None:
        place, _, extra = place.partition("[")
        near = [ROOT / place, self.folder / place, (ROOT / self.page).parent / place]
        if place == ".":
            near = [(ROOT / self.page).parent]
        source = next((path for path in near if (path / "pyproject.toml").is_file()), None)
        assert source is not None, f"{self.page}: no package in {place}"
        project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert not extra or extra.strip("[]") in project["optional-dependencies"], f"{self.page}: {place}[{extra}"
        if source.is_relative_to(ROOT) and not source.is_relative_to(ROOT / "docs"):
            return  # installed, or this test would not run
        if str(source / "src") in self.sources:
            return
        self.write_metadata(source, self.metadata)
        self.sources.append(str(source / "src"))
        self._on_path(self.sources[-1])

    def _on_path(self, source: str) -> None:
        self.patch.syspath_prepend(str(self.metadata))
        self.patch.syspath_prepend(source)
        paths = [source, str(self.metadata), os.environ.get("PYTHONPATH", "")]
        self.patch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
        registry.components.cache_clear()

    def _make(self, words: list[str]) -> str:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        (target,) = words
        rule = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
        assert rule, f"{self.page}: no target `{target}`"
        if target == "quickstart":
            for line in re.findall(r"\$\(BIN\)/(unmask .*)", rule[1]):
                self.run(shlex.split(line))
        return ""

    def _pytest(self, words: list[str]) -> str:
        assert not words, words
        folder = (ROOT / self.page).parent
        assert list(folder.glob("tests/test_*.py")), f"{self.page}: no tests for `pytest`"
        return ""

    def _python(self, words: list[str]) -> str:
        if words[:2] == ["-m", "http.server"]:  # would not end
            return ""
        assert (ROOT / words[0]).is_file(), f"{self.page}: no file {words[0]}"
        return self._process([sys.executable, *words])

    def _process(self, words: list[str]) -> str:
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{self.page}: {shlex.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout + done.stderr


def without_trainer(words: list[str]) -> list[str]:
    """Options and values, but those of the trainer."""
    pairs = zip(words[::2], words[1::2], strict=True)
    return [word for option, value in pairs if not option.startswith("--trainer") for word in (option, value)]


def check_requirement(word: str, page: str) -> None:
    """`unmask[vision]`: of this project, with extras that it has."""
    name, _, extras = word.partition("[")
    folder = ROOT / ("core" if name == "unmask" else f"plugins/{name.removeprefix('unmask-')}")
    assert (folder / "pyproject.toml").is_file(), f"{page}: `{word}` is none of this project's packages"
    there = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra in filter(None, extras.strip("]").split(",")):
        assert extra in there, f"{page}: `{word}`: there are {sorted(there)}"


def told_in_order(expected: str, printed: str) -> str | None:
    """The first line that was not printed after those before it; None: all were."""
    words = [" ".join(line.split()) for line in printed.splitlines()]
    at = 0
    for line in (" ".join(line.split()) for line in expected.splitlines()):
        if line in ("", "..."):
            continue
        try:
            at = words.index(line, at) + 1
        except ValueError:
            return line
    return None


@pytest.fixture(scope="module")
def shell(tmp_path_factory, write_metadata):
    yield Shell(tmp_path_factory.mktemp("docs"), write_metadata)
    registry.components.cache_clear()


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=[pytest.mark.slow] if p.startswith(SLOW) else []) for p in PAGES]
)
def test_blocks_run(page, shell, monkeypatch, capsys):
    shell.enter(monkeypatch, capsys, page)
    all_of_them = blocks(page)
    asked = " ".join(word for b in all_of_them if b.kind in ("", "sh") for words in commands(b.text) for word in words)
    scope: dict = {}
    printed = None
    for block in all_of_them:
        if "--8<--" in block.text:
            for shown in re.findall(r'--8<-- "(.*)"', block.text):
                assert shown.startswith("docs/examples/") and (ROOT / shown).is_file(), shown
        elif block.kind in ("", "sh"):
            code = 2 if block.title == "a mistake" else 0
            printed = "".join(shell.run(words, code) for words in commands(block.text))
        elif block.kind == "python":
            exec(compile(block.text, page, "exec"), scope)
        elif block.kind == "text" and block.title == "layout":
            assert f"~/{block.text.splitlines()[0].strip('/')}" in asked, block.text
        elif block.kind == "text" and printed is not None:
            missing = told_in_order(block.text, printed)
            assert missing is None, f"{page}: not printed: {missing}\n{printed}"
        elif block.kind in ("yaml", "csv") and block.title:
            assert block.title in asked or any(block.title in other.text for other in all_of_them if other != block)
            (shell.folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.kind == "toml":
            tomllib.loads(block.text)
        else:
            pytest.fail(f"{page}: no rule for a block of kind {block.kind!r}, title {block.title!r}:\n{block.text}")
    if page == "README.md":  # what it takes home is what was trained
        weight = scope["run"].model.encoder.vit.blocks[0].attn.qkv.weight
        assert torch.equal(scope["model"].state_dict()["blocks.0.attn.qkv.weight"], weight)
        assert " 0 failed, 0 components not tried" in shell.printed["unmask check unmask-ecg"]


@pytest.mark.parametrize("page", ["README.md", *(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md"))])
def test_what_is_told_to_install_in_passing_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for given in re.findall(r'`pip install "([^"]*)"`', text):
        check_requirement(given, page)


def test_the_readme_program_is_short():
    """At most eight lines, without YAML."""
    program = next(block.text for block in blocks("README.md") if block.kind == "python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 8


def test_output_that_was_not_printed_is_found():
    assert told_in_order("a  b\n...\nd", "x\na b\nc\nd\n") is None
    assert told_in_order("d\na b", "a b\nd\n") == "a b"
