"""The command line around training, with two fake plugins: names, run folders, resuming, exit codes."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from unmask.cli import COMMANDS, main
from unmask.cli.completion import candidates
from unmask.plugins import registry
from unmask.support.errors import UserError

METHOD = '''
"""A toy method."""
from typing import Literal

import lightning as L
import torch

from unmask.parts import MaskSampler
from unmask.schedules import Ratio


class {Fruit}Rows(MaskSampler):
    """Hides rows."""

    def __init__(self, ratio: Ratio = 0.6) -> None:
        super().__init__(ratio)

    def sample(self, among, draws):
        return among.valid


class {Fruit}Columns({Fruit}Rows):
    """Hides columns."""

    def __init__(self, ratio: Ratio = 0.6, num_columns: int = 1) -> None:
        super().__init__(ratio)
        self.num_columns = num_columns


class {Fruit}(L.LightningModule):
    """Pulls numbers to zero.

    Args:
        width: how many.
    """

    def __init__(
        self,
        size: Literal["tiny", "base"] = "base",
        width: int = 8,
        mask: MaskSampler = {Fruit}Rows(ratio=0.75),
        trouble: str | None = None,
        at: int = 0,
    ) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
        self.width, self.mask, self.trouble, self.at = width, mask, trouble, at

    def training_step(self, batch, batch_idx):
        if self.trouble and self.global_step == self.at:
            if self.trouble == "bug":
                torch.zeros(2).reshape(3, 3)
            if self.trouble == "component":
                raise ValueError("`mask` works on grids, but the tokens are a set.")
            raise KeyboardInterrupt
        loss = self.layer(torch.ones(2, self.width)).pow(2).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(torch.ones(2, self.width)).pow(2).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class Data(L.LightningDataModule):
    """Four batches."""

    def __init__(self, batch_size: int = 2) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(8), self.batch_size)

    val_dataloader = train_dataloader
'''

RECIPE = """
model: {{class_path: {fruit}.method}}
data: {fruit}.data
trainer:
  max_steps: 8
  accelerator: cpu
  log_every_n_steps: 1
  enable_model_summary: false
  enable_progress_bar: false
"""


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two installed plugins, `unmask-apple` and `unmask-berry`."""
    root = tmp_path_factory.mktemp("fakes")
    for fruit in ("apple", "berry"):
        package, info = root / f"toy_{fruit}", root / f"unmask_{fruit}-0.1.dist-info"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "method.py").write_text(METHOD.replace("{Fruit}", fruit.title()))
        (package / "small.yaml").write_text(RECIPE.format(fruit=fruit))
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: unmask-{fruit}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(
            f"[unmask.methods]\n{fruit}.method = toy_{fruit}.method:{fruit.title()}\n"
            f"[unmask.masks]\n{fruit}.rows = toy_{fruit}.method:{fruit.title()}Rows\n"
            f"{fruit}-columns = toy_{fruit}.method:{fruit.title()}Columns\n"
            f"[unmask.data]\n{fruit}.data = toy_{fruit}.method:Data\n"
            f"[unmask.recipes]\n{fruit}/small = toy_{fruit}:small.yaml\n"
        )
    sys.path.insert(0, str(root))
    registry.components.cache_clear()
    yield root
    sys.path.remove(str(root))
    registry.components.cache_clear()


@pytest.fixture(autouse=True)
def inside(fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    """The config that a command line means."""
    assert main(["fit", "--config", "apple/small", *words, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def rows(folder: str) -> list[dict[str, str]]:
    with Path(folder, "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_imports_the_named_plugin_only():
    assert main(["fit", "--config", "apple/small"]) == 0
    assert "toy_apple.method" in sys.modules
    assert not [module for module in sys.modules if module.startswith("toy_berry")]


@pytest.mark.parametrize("name", ["apple-columns", "AppleColumns", "toy_apple.method.AppleColumns"])
@pytest.mark.parametrize("equals", [False, True])
def test_every_kind_of_name_works_on_the_command_line(capsys, name, equals):
    words = [f"--model.mask={name}"] if equals else ["--model.mask", name]
    mask = config(capsys, *words, "--model.mask.ratio", "0.5", "--model.mask.num_columns", "3")["model"]["init_args"][
        "mask"
    ]
    assert mask == {
        "class_path": "toy_apple.method.AppleColumns",
        "init_args": {"ratio": 0.5, "num_columns": 3},
    }


@pytest.mark.parametrize("mask", ["apple-columns", "{class_path: apple-columns}", "{class_path: AppleColumns}"])
def test_every_kind_of_name_works_in_a_config(capsys, mask):
    Path("mine.yaml").write_text(f"model: {{class_path: Apple, init_args: {{mask: {mask}, width: 5}}}}\n")
    model = config(capsys, "--config", "mine.yaml")["model"]["init_args"]
    assert model["mask"]["class_path"] == "toy_apple.method.AppleColumns"
    assert model["width"] == 5


def test_model_and_data_are_chosen_by_name(capsys):
    assert main(["fit", "--model", "apple.method", "--data", "apple.data", "--print_config"]) == 0
    chosen = yaml.safe_load(capsys.readouterr().out)
    assert chosen["model"]["class_path"] == "toy_apple.method.Apple"
    assert chosen["model"]["init_args"]["mask"]["init_args"] == {"ratio": 0.75}
    assert chosen["data"]["class_path"] == "toy_apple.method.Data"


@pytest.mark.parametrize("name", ["Linear", "linear", "unmask.schedules.Linear"])
def test_schedules_nest(capsys, name):
    words = ["--model.mask.ratio", name, "--model.mask.ratio.start", "0.3", "--model.mask.ratio.end", "0.15"]
    ratio = config(capsys, *words)["model"]["init_args"]["mask"]["init_args"]["ratio"]
    assert ratio["class_path"] == "unmask.schedules.Linear"
    assert (ratio["init_args"]["start"], ratio["init_args"]["end"]) == (0.3, 0.15)


def test_a_printed_config_can_be_used_again(capsys):
    first = config(capsys, "--model.mask", "apple-columns", "--model.width", "3")
    Path("again.yaml").write_text(yaml.safe_dump(first))
    assert main(["fit", "--config", "again.yaml", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == first


def test_a_later_config_overrides_an_earlier_one(capsys):
    Path("short.yaml").write_text("trainer: {max_steps: 2}\n")
    trainer = config(capsys, "--config", "short.yaml")["trainer"]
    assert (trainer["max_steps"], trainer["log_every_n_steps"]) == (2, 1)


def test_a_run_folder_holds_config_metrics_and_checkpoint(capsys):
    assert main(["fit", "--config", "apple/small", "--model.width", "3"]) == 0
    folder = Path("runs/apple/small")
    assert f"Run folder: {folder}" in capsys.readouterr().out
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["model"]["init_args"]["width"] == 3
    assert saved.get("ckpt_path") is None
    assert saved["trainer"]["default_root_dir"] is None
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert [row["step"] for row in rows("runs/apple/small") if row["train/loss"]] == [str(i) for i in range(8)]
    assert len([row for row in rows("runs/apple/small") if row["val/loss"]]) == 2


def test_an_earlier_run_is_never_overwritten():
    for _ in range(3):
        assert main(["fit", "--config", "apple/small", "--trainer.max_steps", "1"]) == 0
    assert sorted(path.name for path in Path("runs/apple").iterdir()) == ["small", "small-2", "small-3"]


def test_the_run_folder_can_be_chosen():
    assert main(["fit", "--config", "apple/small", "--out", "here", "--trainer.max_steps", "1"]) == 0
    assert Path("here/checkpoints/last.ckpt").is_file()
    assert not Path("runs").exists()


def test_a_run_without_a_config_is_called_by_its_model():
    words = [
        "--trainer.max_steps",
        "1",
        "--trainer.accelerator",
        "cpu",
        "--trainer.enable_progress_bar",
        "false",
    ]
    assert main(["fit", "--model", "apple.method", "--data", "apple.data", *words]) == 0
    assert Path("runs/apple/method/checkpoints/last.ckpt").is_file()


def test_an_interrupted_run_resumes_to_the_same_numbers():
    assert main(["fit", "--config", "apple/small", "--out", "whole"]) == 0
    stop = ["--model.trouble", "interrupt", "--model.at", "6"]
    assert main(["fit", "--config", "apple/small", "--out", "parts", *stop]) == 130
    assert len(rows("parts")) == 7  # four steps, a validation, and two steps that will be done again
    assert main(["fit", "--config", "apple/small", "--out", "parts", "--ckpt_path", "last"]) == 0
    assert rows("parts") == rows("whole")
    first, second = (
        torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in ("whole", "parts")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_last_is_the_newest_run_of_that_name(capsys):
    for _ in range(2):
        assert main(["fit", "--config", "apple/small", "--trainer.max_steps", "4"]) == 0
    assert main(["fit", "--config", "apple/small", "--ckpt_path", "last"]) == 0
    assert len(rows("runs/apple/small")) < len(rows("runs/apple/small-2"))
    assert not Path("runs/apple/small-3").exists()


def test_a_saved_config_means_its_own_run(capsys):
    for _ in range(2):
        assert main(["fit", "--config", "apple/small", "--trainer.max_steps", "4"]) == 0
    saved = ["fit", "--config", "runs/apple/small/config.yaml"]
    assert main([*saved, "--ckpt_path", "last", "--trainer.max_steps", "8"]) == 0
    assert len(rows("runs/apple/small")) > len(rows("runs/apple/small-2"))
    assert main([*saved, "--trainer.max_steps", "1"]) == 0
    assert Path("runs/apple/small-3").is_dir()


def test_last_without_a_checkpoint_warns_and_starts_from_scratch(capsys):
    assert main(["fit", "--config", "apple/small", "--ckpt_path", "last"]) == 0
    assert capsys.readouterr().err == "No checkpoint in runs/apple/small/checkpoints yet: starting from scratch.\n"
    assert Path("runs/apple/small/checkpoints/last.ckpt").is_file()


def test_validate_writes_nothing_and_reads_the_last_checkpoint(capsys):
    assert main(["validate", "--config", "apple/small", "--ckpt_path", "last"]) == 2
    assert "no checkpoint in runs/apple/small" in capsys.readouterr().err
    assert main(["fit", "--config", "apple/small"]) == 0
    before = sorted(Path("runs").rglob("*"))
    assert main(["validate", "--config", "apple/small", "--ckpt_path", "last"]) == 0
    assert "val/loss" in capsys.readouterr().out
    assert sorted(Path("runs").rglob("*")) == before


def test_a_checkpoint_callback_of_the_users_replaces_ours():
    words = ["--trainer.callbacks", "ModelCheckpoint", "--trainer.callbacks.every_n_train_steps", "3"]
    words += ["--trainer.callbacks.save_top_k", "-1", "--trainer.callbacks.filename", "{step}"]
    assert main(["fit", "--config", "apple/small", *words]) == 0
    names = sorted(path.name for path in Path("runs/apple/small/checkpoints").iterdir())
    assert names == ["step=3.ckpt", "step=6.ckpt"]


def test_a_file_that_is_no_checkpoint_is_refused(capsys):
    Path("weights.ckpt").write_text("no weights")
    assert main(["fit", "--config", "apple/small", "--ckpt_path", "weights.ckpt"]) == 2
    assert capsys.readouterr().err == "`weights.ckpt` is not a file that `torch.save` or safetensors wrote.\n"


def test_a_checkpoint_of_another_model_is_refused(capsys):
    assert main(["fit", "--config", "apple/small"]) == 0
    capsys.readouterr()
    assert main(["fit", "--config", "apple/small", "--ckpt_path", "last", "--model.width", "3"]) == 2
    said = capsys.readouterr().err
    assert "do not fit the model of the config: 1 of 2 tensors match" in said
    assert "`layer.weight` is 1x8, here 1x3" in said
    assert len(said.splitlines()) == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shape"):
        main(["fit", "--config", "apple/small", "--model.trouble", "bug"])


def test_an_error_that_a_component_raises_while_training_is_one_line(capsys):
    assert main(["fit", "--config", "apple/small", "--model.trouble", "component"]) == 2
    assert capsys.readouterr().err == "`mask` works on grids, but the tokens are a set.\n"


def test_a_traceback_can_be_asked_for(monkeypatch):
    with pytest.raises(UserError):
        main(["fit", "--config", "apple/smal", "--traceback"])
    monkeypatch.setenv("UNMASK_TRACEBACK", "1")
    with pytest.raises(UserError):
        main(["fit", "--config", "apple/smal"])


def test_show_tells_description_arguments_and_distribution(capsys):
    assert main(["show", "apple.method"]) == 0
    out = capsys.readouterr().out
    for part in (
        "unmask-apple",
        "Pulls numbers to zero.",
        "`tiny`, `base` = 'base'",
        "= AppleRows(ratio=0.75)",
    ):
        assert part in out
    assert main(["show", "apple/small"]) == 0
    assert RECIPE.format(fruit="apple").strip() in capsys.readouterr().out


def test_list_names_component_class_and_distribution(capsys):
    assert main(["list", "mask"]) == 0
    out = capsys.readouterr().out
    assert "apple.rows" in out
    assert "toy_apple.method:AppleRows  [unmask-apple]" in out
    assert "apple.data" not in out


@pytest.mark.parametrize(
    ("first", "paper"),
    [
        ('"""Rows: hide rows of apples (Cox 2020, arXiv:2001.00001)."""', "Cox 2020, arXiv:2001.00001"),
        ('"""Rows: a long line (BERT, Cox\n2020,\narXiv:2001.00001),\nof ours."""', "BERT, Cox 2020, arXiv:2001.00001"),
        ('"""Rows.\n\nAs (Cox 2020, arXiv:2001.00001)."""', ""),
        ("import torch", ""),
    ],
)  # fmt: skip
def test_the_paper_of_a_method_is_read_and_nothing_is_imported(tmp_path, monkeypatch, first, paper):
    (tmp_path / "toy_paper").mkdir()
    (tmp_path / "toy_paper" / "rows.py").write_text(f"{first}\nraise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.Component("unmask.methods", "toy.rows", "toy_paper.rows:Rows", "unmask-toy").paper() == paper
    assert registry.Component("unmask.methods", "toy.rows", "toy_paper.gone:Rows", "unmask-toy").paper() == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["va"], ["validate"]),
        (["fit", "--config", "appl"], ["apple/small"]),
        (["fit", "--model", "apple"], ["apple.method"]),
        (["fit", "--model.mask", "apple"], ["apple-columns", "apple.rows"]),
        (["fit", "--model.mask.ratio", "l"], ["linear"]),
        (["fit", "--data", "be"], ["berry.data"]),
        (["fit", "--ckpt_path", ""], ["last"]),
        (["fit", "--trainer.max_s"], ["--trainer.max_steps"]),
        (["list", "ma"], ["masks"]),
        (["show", "berry.m"], ["berry.method"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
    ],
)
def test_completion(words, expected):
    assert candidates(words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_unmask(capsys, shell):
    assert main(["completion", shell]) == 0
    assert "unmask complete -- " in capsys.readouterr().out


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(capsys, command):
    assert main([command, "--help"]) == 0
    assert f"unmask {command}" in capsys.readouterr().out
