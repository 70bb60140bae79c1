"""Loggers, strategies and callbacks of the user's own: what the run keeps beside them, and what is refused."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import ModelParallelStrategy

from unmask.cli import main
from unmask.configs.errors import is_mistake
from unmask.training import external_callbacks
from unmask.training.compiled import names_for, plain_names

FIT = ["fit", "--config", "toy.yaml", "--trainer.log_every_n_steps", "1", "--out", "new"]


def rows(path: str = "new/metrics.csv") -> list[dict[str, str]]:
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a refused run says: one line."""
    capsys.readouterr()
    assert main([*FIT, *words]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    return error


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a module on the import path."""
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    before = set(sys.modules)

    def put(name: str, text: str) -> None:
        (tmp_path / "own" / f"{name}.py").write_text(text)

    yield put
    for module in set(sys.modules) - before:
        if module.startswith("own_"):
            del sys.modules[module]


# Loggers


@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs"],
        ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir", "logs"],
        ["--trainer.logger", "[{class_path: CSVLogger, init_args: {save_dir: logs}}]"],
        ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir", "logs"],
    ],
)
def test_a_users_own_logger_keeps_the_metrics_of_the_run(toys, capsys, words):
    assert main([*FIT, *words]) == 0
    assert [row["step"] for row in rows() if row["train/loss"]] == ["0", "1", "2", "3"]
    (theirs,) = Path("logs").rglob("metrics.csv")
    assert {row["train/loss"] for row in rows()} == {row["train/loss"] for row in rows(str(theirs))}
    assert not Path("new/tensorboard").exists()
    saved = yaml.safe_load(Path("new/config.yaml").read_text())["trainer"]["logger"]
    saved = saved[0] if isinstance(saved, list) else saved
    assert saved["init_args"]["save_dir"] == "logs"
    assert main(["report", "new"]) == 0
    assert "No curves yet" not in Path("new/report.html").read_text()


def test_no_logger_stays_none_and_a_config_may_name_one(toys):
    assert main([*FIT, "--trainer.logger", "false"]) == 0
    assert not Path("new/metrics.csv").exists()
    config = yaml.safe_load(Path("toy.yaml").read_text())
    config["trainer"]["logger"] = {"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}}
    Path("toy.yaml").write_text(yaml.safe_dump(config))
    assert main([*FIT[:-1], "named"]) == 0
    assert Path("named/metrics.csv").exists()


def test_a_logger_that_would_write_over_the_metrics_is_refused(toys, capsys):
    told = refused(
        capsys,
        *("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "new"),
        *("--trainer.logger.name", "", "--trainer.logger.version", ""),
    )
    assert told.startswith("`trainer.logger.save_dir` must not be the run folder")


LACKING = """
from lightning.pytorch.loggers import CSVLogger

class Told(CSVLogger):
    def __init__(self):
        raise ModuleNotFoundError("Requirement 'no-such-lib>=1.0' not met. HINT: Try running it")

class Found(CSVLogger):
    def __init__(self):
        import no_such_lib.inner

class Late(CSVLogger):
    def __init__(self):
        super().__init__("logs")

    def log_metrics(self, metrics, step=None):
        import no_such_lib

class Bug(CSVLogger):
    def __init__(self):
        from torch import no_such_name
"""


def test_a_package_that_is_not_installed_is_one_line(toys, own, capsys):
    own("own_lacking", LACKING)
    told = refused(capsys, "--trainer.logger", "own_lacking.Told")
    assert told == "`Told` needs the package `no-such-lib>=1.0`: pip install 'no-such-lib>=1.0'."
    told = refused(capsys, "--trainer.logger", "own_lacking.Found")
    assert told == "`Found` needs the package `no_such_lib`, which is not installed."
    assert "needs the package `no_such_lib`" in refused(capsys, "--trainer.logger", "own_lacking.Late")
    told = refused(capsys, "--trainer.logger", "no_such_lib.lightning.Logger")
    assert told.endswith(
        "There is no class `no_such_lib.lightning.Logger`: the package `no_such_lib` is not installed."
    )
    with pytest.raises(ImportError, match="no_such_name"):  # a bug keeps its traceback
        main([*FIT, "--trainer.logger", "own_lacking.Bug"])


# Classes of the trainer


OWN = """
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy

class Own(SingleDeviceStrategy):
    def __init__(self, factor: int = 1):
        super().__init__("cpu")
        print("own strategy", factor)

class Note(Callback):
    def on_train_start(self, trainer, pl_module):
        print("own callback", [type(one).__name__ for one in trainer.callbacks])
"""


def test_a_class_path_is_taken_for_a_class(toys, own, capsys):
    own("own_parts", OWN)
    assert main([*FIT, "--trainer.strategy", "own_parts.Own", "--trainer.strategy.factor", "3"]) == 0
    assert "own strategy 3" in capsys.readouterr().out
    saved = yaml.safe_load(Path("new/config.yaml").read_text())["trainer"]["strategy"]
    assert saved == {"class_path": "own_parts.Own", "init_args": {"factor": 3}}

    config = yaml.safe_load(Path("toy.yaml").read_text())
    config["trainer"] |= {"strategy": "own_parts.Own", "callbacks": "own_parts.Note"}
    Path("plain.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", "plain.yaml", "--out", "plain", "--trainer.callbacks+=OnlineProbe"]) == 0
    printed = capsys.readouterr().out
    assert "own strategy 1" in printed
    (callbacks,) = [line for line in printed.splitlines() if line.startswith("own callback")]
    assert all(f"'{name}'" in callbacks for name in ("Note", "OnlineProbe", "CollapseMonitor", "Pictures"))


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("strategy", "dpp", "nearest: `ddp`"),
        ("strategy", "lightning.pytorch.strategies.DDPStratgy", "nearest: `lightning.pytorch.strategies.DDPStrategy`"),
        ("strategy", "lightning.pytorch.callbacks.Timer", "is not a Strategy"),
        ("strategy", "nowhere.Strategy", "the package `nowhere` is not installed"),
        ("accelerator", "cpuu", "nearest: `cpu`"),
        ("profiler", "simpel", "nearest: `simple`"),
        ("callbacks", "LearningRateMonitr", "nearest: `LearningRateMonitor`"),
    ],
)
def test_a_wrong_word_or_class_is_told_with_the_nearest(toys, capsys, option, value, told):
    assert told in refused(capsys, f"--trainer.{option}", value)


def test_a_strategy_that_the_model_is_not_made_for_is_a_mistake_and_no_bug():
    strategy = ModelParallelStrategy()
    strategy.accelerator = CPUAccelerator()
    strategy.connect(L.LightningModule())
    with pytest.raises(TypeError, match="configure_model") as caught:
        strategy.setup(L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False))
    assert is_mistake(caught.value, running=False)
    assert not is_mistake(caught.value, running=True)
    assert not is_mistake(TypeError("elsewhere"), running=False)


# Callbacks of other packages


FACTORY = """
print("imported")
from lightning.pytorch.callbacks import Callback, EarlyStopping

class Foreign(Callback):
    def on_train_start(self, trainer, pl_module):
        print("foreign callback runs")

def make():
    return [Foreign()]

def fail():
    import no_such_lib

def leave():
    raise SystemExit(3)

def mixed():
    return [EarlyStopping("val/loss"), EarlyStopping("val/loss"), 7, Foreign()]
"""


@pytest.fixture
def foreign(own, tmp_path, monkeypatch):
    """Installs a distribution that adds callbacks to every trainer."""
    own("own_factory", FACTORY)
    monkeypatch.setattr(external_callbacks, "_told", set())

    def put(name: str, function: str) -> None:
        info = tmp_path / "own" / f"{name.replace('-', '_')}-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[{external_callbacks.GROUP}]\nany = own_factory:{function}\n")

    return put


def test_callbacks_of_other_packages_are_named_and_left_out_without_importing_them(toys, foreign, capsys):
    foreign("for-eign", "make")
    foreign("other", "fail")
    assert main(FIT) == 0
    printed = capsys.readouterr().out
    assert printed.count("Left out") == 1
    assert (
        "Left out: callbacks that `for-eign`, `other` would add to every run; "
        "`--trainer.external_callbacks NAME` takes them.\n"
    ) in printed
    assert "own_factory" not in sys.modules
    assert main([*FIT[:-1], "taken", "--trainer.external_callbacks", "For_Eign"]) == 0
    printed = capsys.readouterr().out
    assert "foreign callback runs" in printed
    assert printed.count("Left out: callbacks that `other` would") == 1
    assert yaml.safe_load(Path("taken/config.yaml").read_text())["trainer"]["external_callbacks"] is not None
    assert "nearest: `for-eign`" in refused(capsys, "--trainer.external_callbacks", "foreign")


@pytest.mark.parametrize("words", [["all"], ["for-eign,gone,left,mixed"], ["[gone, left, mixed, for-eign]"]])
def test_callbacks_that_fail_are_one_line_each_and_the_run_goes_on(toys, foreign, capsys, words):
    for name, function in (("for-eign", "make"), ("gone", "fail"), ("left", "leave"), ("mixed", "mixed")):
        foreign(name, function)
    assert main([*FIT, "--trainer.external_callbacks", *words]) == 0
    printed = capsys.readouterr().out
    assert printed.count("foreign callback runs") == 2
    assert "`gone`, whose own_factory:fail failed with ModuleNotFoundError: No module named 'no_such_lib'" in printed
    assert "`left`, whose own_factory:leave failed with SystemExit: 3" in printed
    assert "Left out: EarlyStopping of `mixed`, since the run has one." in printed
    assert "Left out: int of `mixed`, which is no callback of Lightning's." in printed
    assert printed.count("Left out") == 4


def test_fine_tuning_leaves_them_out_too(toys, foreign, capsys):
    foreign("for-eign", "make")
    capsys.readouterr()
    few = ["--epochs", "1", "--max_steps", "1", "--no_scratch", "--val_ratio", "0"]
    assert main(["finetune", "toy", *few]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Left out: callbacks that `for-eign` would add to every run.") == 1
    assert "foreign callback runs" not in printed


# Several devices


DEVICES = """
from lightning.pytorch.callbacks import Callback
from torch import nn
from toy_modality import Toy

class Normed(Toy):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2, affine=False)

class Losses(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with open(f"losses-{trainer.global_rank}.txt", "a") as file:
            file.write(f"{float(outputs['loss'])}\\n")
"""


@pytest.mark.slow
def test_on_two_devices_losses_are_means_and_batch_norms_are_told(toys, own):
    own("own_devices", DEVICES)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "unmask", *FIT, "--model", "own_devices.Normed"),
            *("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.callbacks+=own_devices.Losses"),
        ],
        capture_output=True, text=True, timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    each = [[float(line) for line in Path(f"losses-{rank}.txt").read_text().split()] for rank in (0, 1)]
    logged = [float(row["train/loss"]) for row in rows() if row["train/loss"]]
    assert logged == pytest.approx([(a + b) / 2 for a, b in zip(*each, strict=True)], rel=1e-5)
    assert logged != pytest.approx(each[0], rel=1e-3)
    assert run.stdout.count("The statistics of 1 BatchNorm layers are those of all devices") == 1


# Compiled parts


class Compiled(torch.nn.Module):
    """As `torch.compile` makes of a part."""

    def __init__(self, part: torch.nn.Module) -> None:
        super().__init__()
        self._orig_mod = part

    def forward(self, *given):
        return self._orig_mod(*given)


def test_checkpoints_of_a_compiled_encoder_are_read_by_every_command(toys):
    path = Path("toy/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    model = import_module("toy_modality").Toy()
    model.encoder = Compiled(model.encoder)
    names = list(model.state_dict())
    assert any("encoder._orig_mod." in name for name in names)
    state = checkpoint["state_dict"]
    compiled = names_for(names, state)
    assert list(compiled) == names
    assert list(plain_names(compiled)) == list(state)

    torch.save(checkpoint | {"state_dict": compiled}, path)  # as an earlier version wrote it
    assert main(["score", "toy"]) == 0
    assert main([*FIT[:3], "--out", "toy", "--ckpt_path", "last", "--trainer.max_steps", "6"]) == 0
    assert list(torch.load(path, weights_only=True)["state_dict"]) == list(state)

    model.load_state_dict(compiled)
    saved = {"state_dict": model.state_dict(), "seed": 0}
    model.on_save_checkpoint(saved)
    assert list(saved["state_dict"]) == list(state)
