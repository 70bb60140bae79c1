"""Sharded training: as on one process, and checkpoints that any number of processes reads."""

import csv
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from unmask.cli import main
from unmask.runs.checkpoints import read_checkpoint
from unmask.runs.folders import newest_checkpoint
from unmask.runs.fsdp2 import Sharded, like
from unmask.runs.sharded import checksum
from unmask.runs.trained import load_run
from unmask.runs.weights import read_torch, read_weights
from unmask.support.atomic import remove_parts, take_place
from unmask.support.errors import UserError
from unmask.tools.features.embed import fingerprint

BATCH = 4
ALIKE = ["--trainer.log_every_n_steps", "1", "--trainer.gradient_clip_val", "0.02"]


def fit(method: str, out: str, number: int, steps: int, *more: str) -> list:
    """A run of the toy on so many processes, sharded where it is more than one."""
    words = ["fit", "--config", f"{method}.yaml", "--out", out, "--trainer.max_steps", str(steps), *ALIKE, *more]
    words += ["--data.batch_size", str(BATCH // number)]
    return [number, [*words, "--trainer.strategy", "fsdp2"] if number > 1 else words]


def on_processes(*commands: list) -> None:
    path = os.pathsep.join(one for one in sys.path if one)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", "unmask.testing.ranks", json.dumps(commands)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed with" not in done.stderr, done.stderr  # as callbacks that fail say


def losses(run: str) -> list[float]:
    with Path(run, "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


def same_end(run: str, other: str) -> None:
    one, two = (read_checkpoint(newest_checkpoint(Path(name))) for name in (run, other))
    assert one["global_step"] == two["global_step"]
    # The gradient of a key's bias is 0 but for rounding, of which Adam makes whole steps.
    weights = [{n: x for n, x in checkpoint["state_dict"].items() if "qkv.bias" not in n} for checkpoint in (one, two)]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)
    moments = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (one, two)]
    torch.testing.assert_close(*moments, rtol=1e-3, atol=1e-6)


@pytest.fixture(scope="module")
def _two(_toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of `Taught` on one process, and one on two."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copy(_toys / "taught.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(_toys / "module"))
        patch.chdir(folder)
        assert main(fit("taught", "one", 1, 4)[1]) == 0
        on_processes(fit("taught", "two", 2, 4))
    return folder


@pytest.fixture
def two(_two: Path, toys: Path) -> Path:
    """The same as the working folder; checkpoints may be damaged."""
    for one in _two.iterdir():
        if one.is_dir():
            shutil.copytree(one, toys / one.name)
    return toys


def test_two_sharded_processes_do_what_one_does(two):
    assert len(losses("one")) == 4
    assert losses("two") == pytest.approx(losses("one"), rel=1e-5)
    same_end("one", "two")
    assert sorted(one.name for one in Path("two/checkpoints/last.ckpt").iterdir()) == [
        ".metadata", "__0_0.distcp", "__1_0.distcp", "meta.pt",
    ]  # fmt: skip


def test_commands_read_a_sharded_checkpoint(two):
    run = load_run("two")
    assert run.step == 4 and run.checkpoint == Path("two/checkpoints/last.ckpt")
    assert load_run(run.checkpoint).folder.samefile("two")
    assert fingerprint(run)["checkpoint"] != fingerprint(load_run("one"))["checkpoint"]
    whole = read_checkpoint(Path("one/checkpoints/last.ckpt"))["state_dict"]
    weights = read_weights(run.checkpoint).tensors
    assert {f"state_dict.{name}" for name in whole} <= set(weights)
    assert whole.keys() == run.model.state_dict().keys()


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def _cut(folder: Path) -> None:
    file = folder / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-100])


def _flip(folder: Path) -> None:
    content = bytearray((folder / "__1_0.distcp").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "__1_0.distcp").write_bytes(bytes(content))


def _code(folder: Path) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(Harm()))
    _noted(folder)


def _code_in_the_rest(folder: Path) -> None:
    torch.save(Harm(), folder / "meta.pt")


def _elsewhere(folder: Path) -> None:
    def change(index):
        for place in index.storage_data.values():
            place.relative_path = f"../{folder.name}/{place.relative_path}"

    _listed(folder, change)


def _too_large(folder: Path) -> None:
    def change(index):
        one = next(iter(index.state_dict_metadata.values()))
        one.size = torch.Size([1 << 50])

    _listed(folder, change)


def _listed(folder: Path, change) -> None:
    index = pickle.loads((folder / ".metadata").read_bytes())
    change(index)
    (folder / ".metadata").write_bytes(pickle.dumps(index))
    _noted(folder)


def _noted(folder: Path) -> None:
    """As if it had been written so."""
    about = torch.load(folder / "meta.pt", weights_only=True)
    about["files"][".metadata"] = checksum(folder / ".metadata")
    torch.save(about, folder / "meta.pt")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_cut, "does not fit its checksum"),
        (_flip, "does not fit its checksum"),
        (lambda folder: (folder / "__1_0.distcp").unlink(), "`__1_0.distcp` is missing"),
        (lambda folder: (folder / ".metadata").write_bytes(b"\x80\x04"), "does not fit its checksum"),
        (_code, "posix.mkdir"),
        (_code_in_the_rest, "posix.mkdir"),
        (_elsewhere, "is missing"),
        (_too_large, "too short"),
    ],
)
def test_a_damaged_or_hostile_folder_is_refused(damage, told, two):
    folder = Path("two/checkpoints/last.ckpt")
    damage(folder)
    with pytest.raises(UserError, match=told) as raised:
        read_torch(folder)
    assert "\n" not in str(raised.value)
    assert not Path("harmed").exists()


def test_a_folder_takes_the_place_of_another_and_one_of_them_is_always_there(tmp_path, monkeypatch):
    def made(name: str, content: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "meta.pt").write_text(content)
        return tmp_path / name

    path = made("last.ckpt", "old")
    take_place(made("last.ckpt.12345678.part", "new"), path)
    assert (path / "meta.pt").read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["last.ckpt"]

    replace, steps = os.replace, []

    def killed(source, target):
        if len(steps) == 1:
            raise KeyboardInterrupt
        steps.append(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        take_place(made("last.ckpt.12345678.part", "newer"), path)
    monkeypatch.undo()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path)
    assert newest_checkpoint(tmp_path / "run").name == "last.before.ckpt"
    remove_parts(tmp_path, "*")
    assert [one.name for one in tmp_path.glob("*.part")] == []

    single = tmp_path / "file.part"
    single.write_text("a file")
    take_place(single, tmp_path / "last.before.ckpt")
    assert (tmp_path / "last.before.ckpt").read_text() == "a file"


def test_lightnings_strategy_is_taken_for_one_whose_processes_all_see_their_own_data():
    assert isinstance(like("fsdp2"), Sharded)
    assert isinstance(like(ModelParallelStrategy()), Sharded)
    assert like("ddp") == "ddp"
    with pytest.raises(ValueError, match="`tensor_parallel_size` must be 1"):
        like(ModelParallelStrategy(tensor_parallel_size=2))


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(two):
    on_processes(
        fit("taught", "one-on-one", 1, 6, "--ckpt_path", "one/checkpoints/last.ckpt"),
        fit("taught", "two-on-one", 1, 6, "--ckpt_path", "two/checkpoints/last.ckpt"),
        fit("taught", "one-on-two", 2, 6, "--ckpt_path", "one/checkpoints/last.ckpt"),
        fit("taught", "two-on-four", 4, 6, "--ckpt_path", "two/checkpoints/last.ckpt"),
        fit("taught", "four", 4, 4),
        fit("taught", "four-on-two", 2, 6, "--ckpt_path", "four/checkpoints/last.ckpt"),
    )
    assert len(losses("one-on-one")) == 2
    for run in ("two-on-one", "one-on-two", "two-on-four", "four-on-two"):
        assert losses(run) == pytest.approx(losses("one-on-one"), rel=1e-5)
        same_end(run, "one-on-one")
