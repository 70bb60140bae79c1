"""A resumed run equals one never stopped, says which options are others, and refuses what it cannot go on from."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from unmask.cli import main
from unmask.runs.checkpoints import WholeCheckpoints, with_whole_checkpoints
from unmask.runs.folders import claim, is_in_use, newest_checkpoint, release
from unmask.runs.weights import read_torch
from unmask.support.atomic import written_whole
from unmask.support.errors import UserError

ACTS = '''
"""Callbacks that do something at every hook of a run."""

import os
import signal
from pathlib import Path

import lightning as L


class AtHooks(L.Callback):
    def at(self, trainer, hook):
        raise NotImplementedError

    def on_train_batch_start(self, trainer, *_):
        self.at(trainer, "batch-start")

    def on_train_batch_end(self, trainer, *_):
        self.at(trainer, "batch-end")

    def on_validation_batch_end(self, trainer, *_):
        self.at(trainer, "validation-batch-end")

    def on_validation_end(self, trainer, *_):
        self.at(trainer, "validation-end")

    def on_train_epoch_start(self, trainer, *_):
        self.at(trainer, "epoch-start")

    def on_train_epoch_end(self, trainer, *_):
        self.at(trainer, "epoch-end")


class Saves(AtHooks):
    """Writes a checkpoint at each, and so is a run that may be killed anywhere."""

    def __init__(self, folder: str):
        self.folder, self.count = Path(folder), 0

    def at(self, trainer, hook):
        if trainer.global_step and not trainer.sanity_checking:
            self.count += 1
            trainer.save_checkpoint(self.folder / f"{self.count:03}-{hook}.ckpt")


class Terminates(AtHooks):
    """Sends SIGTERM to this process at the n-th."""

    def __init__(self, hook: str, n: int):
        self.hook, self.n = hook, n

    def at(self, trainer, hook):
        self.n -= hook == self.hook and not trainer.sanity_checking
        if not self.n:
            self.n = -1
            os.kill(os.getpid(), signal.SIGTERM)
'''

SHORT = "max_steps: 14, limit_train_batches: 5, check_val_every_n_epoch: 2, limit_val_batches: 2"


@pytest.fixture
def acts(toys: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (toys / "fake_acts.py").write_text(ACTS)
    monkeypatch.syspath_prepend(str(toys))
    yield toys
    sys.modules.pop("fake_acts", None)


def config(name: str, trainer: str = SHORT, callback: str = "", batch_size: int = 2, **optim: float) -> str:
    """Writes a config for rows of numbers, eight batches an epoch; gives its name."""
    text = (
        "seed_everything: 3\n"
        "model: {class_path: toy_modality.Taught, init_args: {optim: {base_lr: 0.01, scale_lr: false}}}\n"
        f"data: {{class_path: toy_modality.Numbers, init_args: {{batch_size: {batch_size}}}}}\n"
        f"trainer: {{accelerator: cpu, enable_progress_bar: false, log_every_n_steps: 2, {trainer}"
        f"{f', callbacks: [{callback}]' if callback else ''}}}\n"
    )
    parsed = yaml.safe_load(text)
    parsed["model"]["init_args"]["optim"] |= optim
    Path(name).write_text(yaml.safe_dump(parsed))
    return name


def fit(config: str, out: str, *more: str) -> int:
    return main(["fit", "--config", config, "--out", out, *more])


def state(run: str) -> dict:
    return torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)


def assert_same_end(run: str, other: str) -> None:
    """Weights, moments, counters and rows, bit for bit."""
    one, two = state(run), state(other)
    assert one["global_step"] == two["global_step"]
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, two["state_dict"][name]), name
    moments, others = (x["optimizer_states"][0]["state"] for x in (one, two))
    for index, slots in moments.items():
        for name, value in slots.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(others[index][name])), name
    assert one["lr_schedulers"] == two["lr_schedulers"]
    assert one["optimizer_states"][0]["param_groups"] == two["optimizer_states"][0]["param_groups"]
    for name in ("epoch_progress", "epoch_loop.batch_progress"):
        assert one["loops"]["fit_loop"][name] == two["loops"]["fit_loop"][name], name
    assert Path(run, "metrics.csv").read_text() == Path(other, "metrics.csv").read_text()


@pytest.mark.parametrize(
    "trainer",
    [
        SHORT,
        "max_steps: 7, accumulate_grad_batches: 3, limit_val_batches: 1",
        *(
            pytest.param(trainer, marks=pytest.mark.slow)
            for trainer in (
                "max_epochs: 3, limit_train_batches: 5, check_val_every_n_epoch: 2, limit_val_batches: 2",
                "max_steps: 12, val_check_interval: 3, limit_train_batches: 0.75, limit_val_batches: 2",
                "max_steps: 10, overfit_batches: 4, val_check_interval: 3, check_val_every_n_epoch: null, "
                "limit_val_batches: 1",
            )
        ),
    ],
)
def test_any_checkpoint_can_be_resumed(trainer, acts):
    plain = config("plain.yaml", trainer)
    saving = config("saving.yaml", trainer, "{class_path: fake_acts.Saves, init_args: {folder: saved}}")
    assert fit(plain, "whole") == 0
    assert fit(saving, "saving") == 0
    assert_same_end("whole", "saving")
    last = state("whole")["global_step"]
    saved = [path for path in sorted(Path("saved").iterdir()) if read_torch(path)["global_step"] < last]
    chosen = {path.stem[4:]: path for path in saved[: -len(saved) // 3]}  # the last of each kind in two thirds of a run
    for i, following in enumerate(saved[1:]):
        if "epoch-end" in following.name:
            chosen["last in an epoch"] = saved[i]  # where Lightning goes wrong
    for path in sorted(set(chosen.values())):
        out = f"from-{path.stem}"
        Path(out, "checkpoints").mkdir(parents=True)
        shutil.copy(path, Path(out, "checkpoints", "last.ckpt"))
        shutil.copy("whole/metrics.csv", out)  # as much as any kill may leave
        assert fit(plain, out, "--ckpt_path", "last") == 0
        assert_same_end("whole", out)


@pytest.mark.parametrize(
    ("hook", "n", "step"),
    [("batch-start", 3, 3), ("batch-end", 7, 7), ("validation-batch-end", 1, 10), ("epoch-end", 1, 5)],
)
def test_sigterm_saves_and_ends_with_143(hook, n, step, acts, capsys):
    plain = config("plain.yaml")
    told = config("told.yaml", SHORT, f"{{class_path: fake_acts.Terminates, init_args: {{hook: {hook}, n: {n}}}}}")
    before = signal.getsignal(signal.SIGTERM)
    assert fit(plain, "whole") == 0
    assert fit(told, "stopped") == 143
    assert signal.getsignal(signal.SIGTERM) == before
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "SIGTERM" in line]
    assert f"after step {step}" in line
    assert "`stopped/checkpoints/last.ckpt` is saved" in line
    assert json.loads(Path("stopped/environment.json").read_text())[-1]["ended"] == "terminated"
    assert fit(plain, "stopped", "--ckpt_path", "last") == 0
    assert_same_end("whole", "stopped")


def test_sigterm_waits_for_accumulated_gradients_and_lets_a_finished_run_finish(acts, capsys):
    trainer = "max_steps: 4, accumulate_grad_batches: 3, limit_val_batches: 0"
    at = "{class_path: fake_acts.Terminates, init_args: {hook: batch-start, n: 4}}"
    assert fit(config("told.yaml", trainer, at), "stopped") == 143
    assert "after step 2" in capsys.readouterr().err
    at = "{class_path: fake_acts.Terminates, init_args: {hook: batch-end, n: 11}}"
    assert fit(config("late.yaml", trainer, at), "late") == 0
    assert json.loads(Path("late/environment.json").read_text())[-1]["ended"] == "finished"
    assert fit(config("off.yaml", f"{trainer}, enable_checkpointing: false", at.replace("11", "1")), "off") == 143
    assert "nothing is saved" in capsys.readouterr().err


def test_options_that_differ_are_applied_and_said(acts, capsys):
    assert fit(config("first.yaml", "max_steps: 8, limit_val_batches: 0"), "run") == 0
    assert fit("first.yaml", "run", "--ckpt_path", "last") == 0
    assert "Resumed" not in capsys.readouterr().out
    changed = config("second.yaml", "max_steps: 16, limit_val_batches: 0", batch_size=4, base_lr=1e-5, betas=[0.8, 0.9])
    more = ("--seed_everything", "9", "--model.mask", "block")
    assert fit(changed, "run", "--ckpt_path", "last") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Resumed")]
    for told in ("`model.optim.base_lr` 0.01 -> 1e-05", "`trainer.max_steps` 8 -> 16", "`data.batch_size` 2 -> 4"):
        assert told in line
    assert "(applied)" in line
    assert more
    rates = [row.split(",") for row in Path("run/metrics.csv").read_text().splitlines()]
    column = rates[0].index("train/lr")
    after = [float(row[column]) for row in rates[1:] if row[column] and int(row[0]) >= 8]
    assert after and max(after) <= 1e-5
    group = state("run")["optimizer_states"][0]["param_groups"][0]
    assert (group["initial_lr"], group["betas"]) == (1e-5, (0.8, 0.9))
    assert yaml.safe_load(Path("run/config.yaml").read_text())["model"]["init_args"]["optim"]["base_lr"] == 1e-5


def test_the_seed_is_the_checkpoints(acts, capsys):
    assert fit(config("plain.yaml"), "whole") == 0
    told = config("told.yaml", SHORT, "{class_path: fake_acts.Terminates, init_args: {hook: batch-end, n: 7}}")
    assert fit(told, "stopped") == 143
    assert fit("plain.yaml", "stopped", "--ckpt_path", "last", "--seed_everything", "9") == 0
    assert "`seed_everything` 3 -> 9 (not applied: 3 is kept)" in capsys.readouterr().out
    assert yaml.safe_load(Path("stopped/config.yaml").read_text())["seed_everything"] == 3
    assert_same_end("whole", "stopped")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"batch_size": 4}, "`data.batch_size` must stay 2 until the epoch ends, but is 4"),
        ({"trainer": f"{SHORT}, accumulate_grad_batches: 2"}, "`trainer.accumulate_grad_batches` must stay 1"),
    ],
)
def test_other_batches_are_refused_within_an_epoch(other, named, acts, capsys):
    told = config("told.yaml", SHORT, "{class_path: fake_acts.Terminates, init_args: {hook: batch-end, n: 7}}")
    assert fit(told, "stopped") == 143
    before = Path("stopped/config.yaml").read_bytes()
    assert fit(config("other.yaml", **other), "stopped", "--ckpt_path", "last") == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert Path("stopped/config.yaml").read_bytes() == before


def test_another_number_of_processes_is_refused_within_an_epoch(acts, capsys):
    told = config("told.yaml", SHORT, "{class_path: fake_acts.Terminates, init_args: {hook: batch-end, n: 7}}")
    assert fit(told, "stopped") == 143
    saved = state("stopped")
    saved["position"]["world_size"] = 2
    torch.save(saved, "stopped/checkpoints/last.ckpt")
    assert fit(config("plain.yaml"), "stopped", "--ckpt_path", "last") == 2
    assert "The number of processes must stay 2 until the epoch ends, but is 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "named"),
    [
        (["--trainer.max_steps", "2"], 2, "`trainer.max_steps` must be at least 4, the steps that the checkpoint has"),
        (
            ["--trainer.max_steps", "6", "--trainer.precision", "bf16-mixed"],
            0,
            "`trainer.precision` null -> bf16-mixed",
        ),
        (["--trainer.max_steps", "6", "--trainer.precision", "bf16-true"], 0, "`trainer.precision` null -> bf16-true"),
        (["--trainer.max_steps", "6", "--data.batch_size", "8"], 0, "`data.batch_size` 4 -> 8"),
        (["--model.width", "12"], 2, "do not fit the model of the config"),
    ],
)
def test_between_epochs_each_change_is_done_or_refused_in_words(more, code, named, toys, capsys):
    capsys.readouterr()
    assert fit("toy.yaml", "toy", "--ckpt_path", "last", *more) == code  # four steps are an epoch
    told = capsys.readouterr()
    assert named in (told.err if code else told.out)
    assert state("toy")["global_step"] == (4 if code else 6)


def test_a_finished_run_whose_end_was_not_noted_is_finished(acts):
    assert fit(config("plain.yaml"), "run") == 0
    note = Path("run/environment.json")
    entries = json.loads(note.read_text())
    note.write_text(json.dumps([entries[-1] | {"ended": None}]))
    assert fit("plain.yaml", "run", "--ckpt_path", "last") == 0
    assert [entry["ended"] for entry in json.loads(note.read_text())] == ["finished"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c["optimizer_states"][0].pop("state"), "the states of its optimiser"),
        (lambda c: c.update(optimizer_states=[{"state": {}, "param_groups": []}]), "in other groups"),
        (lambda c: c.update(lr_schedulers=[3]), "learning-rate schedule"),
        (lambda c: c["loops"].update(fit_loop=[]), "its counters"),
        (lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(processed="x"), "its counters"),
        (lambda c: c.update(callbacks={"CollapseMonitor": 3}), "the states of its callbacks"),
        (lambda c: c.update(metrics_rows="many"), "`metrics.csv`"),
        (lambda c: c.update(seed="x"), "`seed`"),
        (lambda c: c["state_dict"].update({"encoder.embed.bias": torch.full((8,), torch.nan)}), "not finite"),
        (lambda c: c["state_dict"].update({"encoder.embed.bias": torch.full((8,), torch.inf)}), "not finite"),
    ],
)
def test_odd_checkpoints_are_refused_in_a_line(change, named, toys, capsys):
    path = Path("toy/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    assert fit("toy.yaml", "toy", "--ckpt_path", "last", "--trainer.max_steps", "8") == 2
    lines = capsys.readouterr().err.splitlines()
    assert named in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_a_table_of_another_kind_is_not_overwritten(toys, capsys):
    Path("toy/metrics.csv").write_text("a,b\n1,2\n")
    assert fit("toy.yaml", "toy", "--ckpt_path", "last", "--trainer.max_steps", "8") == 2
    assert "no column `step`" in capsys.readouterr().err
    assert Path("toy/metrics.csv").read_text() == "a,b\n1,2\n"


# Checkpoints as files.


def test_flipped_bytes_are_refused_or_change_nothing(tmp_path):
    path = tmp_path / "last.ckpt"
    good = {"state_dict": {f"{i}": torch.randn(20 + i) for i in range(8)}, "steps": list(range(50))}
    WholeCheckpoints().save_checkpoint(good, path)
    content, rng = path.read_bytes(), random.Random(0)
    WholeCheckpoints().save_checkpoint(good, tmp_path / "before.ckpt")
    told = []
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 5))):
            damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            read = read_torch(path)
        except UserError as error:
            told.append(str(error))
            continue
        assert read["steps"] == good["steps"]
        assert all(torch.equal(tensor, read["state_dict"][name]) for name, tensor in good["state_dict"].items())
    assert len(told) > 200
    assert not any("\n" in text for text in told)
    damaged = [text for text in told if "damaged" in text]
    assert damaged
    assert all(text.endswith(f"the one before: `{tmp_path / 'before.ckpt'}`.") for text in damaged)


def test_a_checkpoint_is_replaced_whole_whatever_the_folder_of_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"x": torch.ones(3)}, path)

    class Killed(BaseException): ...

    def dies(*_):
        raise Killed

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(Killed):
        WholeCheckpoints().save_checkpoint({"x": torch.zeros(3)}, path)
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"]
    assert torch.equal(read_torch(path)["x"], torch.ones(3))


def test_checkpoint_plugins_of_the_user_are_kept():
    own = WholeCheckpoints()
    assert with_whole_checkpoints(own, "auto") is own
    assert with_whole_checkpoints(None, "fsdp")[0].__class__ is WholeCheckpoints


@pytest.mark.parametrize("limit", [2_000, 20_000])
def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(limit, toys, capsys):
    assert fit("toy.yaml", "run") == 0
    before = Path("run/checkpoints/last.ckpt").read_bytes()
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        code = fit("toy.yaml", "run", "--ckpt_path", "last", "--trainer.max_steps", "8")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    line = capsys.readouterr().err.splitlines()[-1]
    told = r"`run/\S+`: File too large; the last checkpoint, `run/checkpoints/last\.ckpt`, is kept as it is\."
    assert re.fullmatch(told, line.replace(f"{os.getcwd()}/", "")), line
    assert Path("run/checkpoints/last.ckpt").read_bytes() == before
    assert not list(Path("run").rglob("*.part"))


def test_what_a_killed_save_left_is_gone_after_the_next_start(toys):
    assert fit("toy.yaml", "run") == 0
    left = [Path("run/checkpoints/last.ckpt.0a1b2c3d.part"), Path("run/config.yaml.0a1b2c3d.part")]
    for path in left:
        path.write_text("half")
    assert fit("toy.yaml", "run", "--ckpt_path", "last", "--trainer.max_steps", "8") == 0
    assert not any(path.exists() for path in left)


def test_written_whole_names_the_file_in_errors(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no" / "x"))),
        written_whole(tmp_path / "no" / "x") as part,
    ):
        part.write_text("")


# Run folders in use.


def test_a_folder_in_use_is_left_to_the_run_that_writes_there(toys, capsys):
    assert fit("toy.yaml", "run") == 0
    _, lock = claim(Path("run"), resume=True)
    assert is_in_use(Path("run"))
    assert fit("toy.yaml", "run", "--ckpt_path", "last", "--trainer.max_steps", "8") == 2
    assert f"`run` is in use: another run writes to it (process {os.getpid()} on" in capsys.readouterr().err
    assert main(["probe", "run", "--labels_per_class", ""]) == 0  # it only reads
    release(lock)
    assert not is_in_use(Path("run"))
    assert fit("toy.yaml", "run", "--ckpt_path", "last", "--trainer.max_steps", "8") == 0


def test_two_runs_that_start_together_take_two_folders(tmp_path):
    first, lock = claim(tmp_path / "run", resume=False)
    second, other = claim(tmp_path / "run", resume=False)
    assert (first.name, second.name) == ("run", "run-2")
    for one in (lock, other):
        release(one)
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_a_lock_goes_with_its_process(tmp_path):
    process = os.fork()
    if not process:
        _held = claim(tmp_path / "run", resume=False)
        (tmp_path / "ready").touch()
        signal.pause()
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    there = is_in_use(tmp_path / "run")
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert there
    assert not is_in_use(tmp_path / "run")


def test_processes_that_the_first_one_starts_write_to_its_folder(tmp_path, monkeypatch):
    folder, lock = claim(tmp_path / "run", resume=False)
    (folder / "metrics.csv").touch()
    with monkeypatch.context() as patch:
        patch.setenv("LOCAL_RANK", "1")
        assert claim(tmp_path / "run", resume=False) == (folder, None)
    release(lock)


def test_a_mistake_leaves_no_folder(toys):
    assert fit("toy.yaml", "run", "--trainer.max_epochs", "-7") == 2
    assert not Path("run").exists()


def test_the_newest_checkpoint_may_be_one_that_slurm_asked_for(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    for path in (folder / "checkpoints" / "last.ckpt", folder / "checkpoints" / "step-7.ckpt"):
        path.touch()
        os.utime(path, ns=(5, 5))
    assert newest_checkpoint(folder).name == "last.ckpt"  # of two at the same moment
    (folder / "hpc_ckpt_1.ckpt").touch()
    assert newest_checkpoint(folder).name == "hpc_ckpt_1.ckpt"
