"""No command runs code from a checkpoint, and what is none is refused in one line."""

from __future__ import annotations

import errno
import os
import pickle
import random
import re
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unmask.cli import main
from unmask.runs.checkpoints import read_checkpoint
from unmask.runs.trained import load_run
from unmask.runs.weights import read_torch, read_weights
from unmask.support.arguments import writable
from unmask.support.errors import UserError

BOOM = "boom"


class Bomb:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {BOOM}",)


def _good(run="toy"):
    return torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)


def _bytes():
    return Path("toy/checkpoints/last.ckpt").read_bytes()


def _zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes/hello.txt", "no weights")


def _numpy(path):
    with path.open("wb") as file:
        np.save(file, np.array([Bomb()]), allow_pickle=True)


def _other_sizes(path):
    state = _good()
    state["state_dict"]["encoder.embed.bias"] = torch.zeros(3)
    del state["state_dict"]["predictor.head.bias"]
    torch.save(state | {"state_dict": state["state_dict"] | {"more": torch.zeros(1)}}, path)


def _short_safetensors(path):
    save_file({"x": torch.zeros(500)}, path)
    path.write_bytes(path.read_bytes()[:400])


FILES = {
    # file name: how it is made, what every command says of it, what `import` says instead
    "bomb.ckpt": (lambda p: torch.save({**_good(), "x": Bomb()}, p), "is refused, none of its code was run", None),
    "weights-bomb.pth": (lambda p: torch.save({**_good(), "state_dict": Bomb()}, p), "`posix.system`", None),
    "old-bomb.bin": (
        lambda p: torch.save({**_good(), "x": Bomb()}, p, _use_new_zipfile_serialization=False), "`posix.system`", None,
    ),
    "pickle.ckpt": (lambda p: p.write_bytes(pickle.dumps({"state_dict": Bomb()})), "is not a file that", None),
    "pickle2.pth": (lambda p: p.write_bytes(pickle.dumps({"state_dict": Bomb()}, 2)), "`posix.system`", None),
    "array.npy": (_numpy, "is an array of NumPy", None),
    "cut.ckpt": (lambda p: p.write_bytes(_bytes()[: len(_bytes()) // 2]), "is cut off", None),
    "empty.ckpt": (lambda p: p.write_bytes(b""), "is empty", None),
    "text.ckpt": (lambda p: p.write_text("epoch 3\n" * 9), "is not a file that `torch.save`", None),
    "zip.ckpt": (_zip, "is a zip file, but not one of `torch.save`", None),
    "list.ckpt": (lambda p: torch.save([1, 2], p), "has no `state_dict`", "holds no tensors"),
    "bare.pth": (lambda p: torch.save({"w": torch.zeros(2)}, p), "`unmask import` reads bare weights", "none of its 1"),
    "words.ckpt": (lambda p: torch.save({**_good(), "state_dict": "all"}, p), "under `state_dict`", "none of its 1"),
    "bare.safetensors": (
        lambda p: save_file({"w": torch.zeros(2)}, p), "`unmask import .*bare.safetensors` makes", "none of its 1",
    ),
    "cut.safetensors": (_short_safetensors, "holds bare weights", "is cut off"),
    "method.ckpt": (
        lambda p: shutil.copy("taught/checkpoints/last.ckpt", p),
        r"\d of another size: .* is 8x8, here 2x8, .*; \d+ unknown: `target.teacher.embed.weight`", "",
    ),
    "sizes.ckpt": (
        _other_sizes,
        "of another size: `encoder.embed.bias` is 3, here 8; 1 missing: `predictor.head.bias`; 1 unknown: `more`",
        "only 27 of 28 tensors match .*`embed.bias` is 3, here 8; 1 unknown: `more`",
    ),
    "folder.ckpt": (lambda p: p.mkdir(), "folder", "must hold one of `model.safetensors`"),
}  # fmt: skip
COMMANDS = {
    "probe": lambda file: ["probe", file],
    "embed": lambda file: ["embed", file],
    "finetune": lambda file: ["finetune", file],
    "reconstruct": lambda file: ["reconstruct", file],
    "score": lambda file: ["score", file],
    "export": lambda file: ["export", file, "--format", "safetensors"],
    "import": lambda file: ["import", file, "--config", "toy.yaml"],
    "fit": lambda file: ["fit", "--config", "toy.yaml", "--ckpt_path", file],
    "validate": lambda file: ["validate", "--config", "toy.yaml", "--ckpt_path", file],
    "predict": lambda file: ["predict", "--config", "toy.yaml", "--ckpt_path", file],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_checkpoint_is_refused_in_one_line_and_runs_no_code(name, command, toys, capfd):
    make, named, named_by_import = FILES[name]
    file = toys / "toy" / "checkpoints" / name
    make(file)
    if command == "import" and named_by_import == "":
        return  # another method's encoder may well be taken
    capfd.readouterr()

    assert main(COMMANDS[command](str(file))) == 2

    said = capfd.readouterr()
    assert len([line for line in said.err.splitlines() if line.strip()]) == 1, said.err
    assert "Traceback" not in said.err
    assert len(said.err) < 600, said.err
    expected = named_by_import if command == "import" and named_by_import else named
    assert re.search(expected, said.err), said.err
    assert not Path(BOOM).exists()
    assert not Path("runs").exists() or not list(Path("runs").rglob("*.ckpt")), "something was written"


def test_the_bombs_do_explode_where_nobody_is_careful(toys):
    """Else the test above would show nothing."""
    torch.save({"x": Bomb()}, "bomb.ckpt")
    torch.load("bomb.ckpt", weights_only=False)
    assert Path(BOOM).exists()


def test_every_load_of_a_resumed_run_is_weights_only(toys, monkeypatch):
    asked, load = [], torch.load

    def watched(*args, **kwargs):
        asked.append(kwargs.get("weights_only"))
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", watched)
    more = ["--trainer.max_steps", "6", "--out", "toy"]
    assert main(["fit", "--config", "toy.yaml", "--ckpt_path", "last", *more]) == 0
    assert len(asked) >= 2, "Lightning's own load is among them"
    assert all(asked)
    assert read_checkpoint(Path("toy/checkpoints/last.ckpt"))["global_step"] == 6


@pytest.mark.parametrize("last", ["toy/checkpoints/last.ckpt", "weights.safetensors"])
def test_a_file_cut_anywhere_or_damaged_is_a_plain_error_or_harmless(toys, last):
    save_file({"a": torch.arange(300.0), "b": torch.zeros(4, 5)}, "weights.safetensors")
    content = Path(last).read_bytes()
    rng = random.Random(0)
    part = toys / f"part{Path(last).suffix}"
    for length in [0, 1, 2, 3, 8, 9, 64, *(rng.randrange(len(content)) for _ in range(40)), len(content) - 1]:
        part.write_bytes(content[:length])
        with pytest.raises(UserError):
            read_weights(part)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(20):
            damaged[rng.randrange(len(content))] = rng.randrange(256)
        part.write_bytes(damaged)
        with suppress(UserError):  # and nothing else
            read_weights(part)


DATA = {
    "pickle": lambda p: p.write_bytes(pickle.dumps(Bomb())),
    "tag": lambda p: p.write_text(f'data: !!python/object/apply:os.system ["touch {BOOM}"]\n'),
    "words": lambda p: p.write_text("just words"),
    "folder": lambda p: p.mkdir(),
}


@pytest.mark.parametrize("name", DATA)
def test_another_data_file_runs_no_code_either(name, toys, capfd):
    DATA[name](toys / "data.yaml")
    assert main(["probe", "toy", "--data", "data.yaml"]) == 2
    said = capfd.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "data.yaml" in said
    assert not Path(BOOM).exists()


def test_a_damaged_counter_is_named(toys):
    torch.save(_good() | {"seed": "three"}, "toy/checkpoints/last.ckpt")
    with pytest.raises(UserError, match="must have a whole number as `seed`, but has 'three'"):
        load_run("toy")


def test_reading_does_not_hold_the_file_open_for_writing(toys):
    read = read_torch(toys / "toy/checkpoints/last.ckpt")
    before = {name: tensor.clone() for name, tensor in read["state_dict"].items()}
    next(iter(read["state_dict"].values())).zero_()
    again = read_torch(toys / "toy/checkpoints/last.ckpt")["state_dict"]
    assert all(torch.equal(again[name], tensor) for name, tensor in before.items())


def test_what_cannot_be_written_is_told_before_any_work(tmp_path, capsys):
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(UserError, match=r"`--out` must lie in a folder, but `.*file` is a file"):
        writable("--out", taken / "deep" / "x.png")
    assert writable("--out", tmp_path / "new" / "x.png") == tmp_path / "new" / "x.png"
    assert not (tmp_path / "new").exists()


def test_a_refusal_of_the_file_system_is_one_line(monkeypatch, capsys):
    def run(command, arguments):
        raise PermissionError(errno.EACCES, "Permission denied", "somewhere/x.json")

    monkeypatch.setattr("unmask.cli.list_.run", run)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "`somewhere/x.json`: Permission denied.\n"


def test_a_misspelt_class_of_other_data_is_told_by_its_file(toys, capsys):
    Path("typo.yaml").write_text("data: {class_path: random_, init_args: {}}\n")
    assert main(["probe", "toy", "--data", "typo.yaml"]) == 2
    told = capsys.readouterr().err
    assert "`typo.yaml`" in told
    assert "`random_`" in told
    assert "Union" not in told
    assert len(told.splitlines()) <= 2
