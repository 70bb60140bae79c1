"""Checkpoints of other programs: their settings are read as data, and nothing of them is run."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from unmask.runs.checkpoints import read_checkpoint
from unmask.runs.weights import read_weights
from unmask.support.errors import UserError


class _Named:
    """An object that names a class of another module in a pickle."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments

    def __reduce__(self):
        module, _, name = self.name.rpartition(".")
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            made = sys.modules.setdefault(one := ".".join(parts[:depth]), ModuleType(one))
        if not hasattr(made, name):
            kind = type(name, (), {"__module__": module, "__init__": lambda self, *given: None})
            kind.__qualname__ = name
            setattr(made, name, kind)
        return getattr(made, name), self.arguments


def saved(content, path, monkeypatch):
    """A file of torch, whose made-up modules are gone afterwards."""
    before = dict(sys.modules)
    torch.save(content, path)
    for name in set(sys.modules) - set(before):
        monkeypatch.delitem(sys.modules, name)
    return path


def test_settings_of_a_training_checkpoint_are_read_as_data(tmp_path, monkeypatch):
    given = argparse.Namespace(model="big", norm_pix_loss=True, sizes=[1, 2], nested=argparse.Namespace(lr=1e-3))
    content = {
        "counts": defaultdict(list, x=[1]), "kind": dict,
        "model": {"weight": torch.ones(2)}, "args": given, "best": np.float32(0.5), "folder": Path("x"),
        "curve": np.arange(3.0), "cfg": _Named("omegaconf.dictconfig.DictConfig", "x"), "epoch": 3,
        "task": _Named("fairseq.data.dictionary.Dictionary"), "config": _Named("yacs.config.CfgNode"),
    }  # fmt: skip
    before = set(sys.modules)  # Lightning imports omegaconf where it is installed
    with torch.serialization.safe_globals([defaultdict]):  # as another library may have it
        read = read_weights(saved(content, tmp_path / "x.pth", monkeypatch))
        assert torch.serialization.get_safe_globals().count(defaultdict) == 1
    assert list(read.tensors) == ["model.weight"]
    assert read.settings["args.norm_pix_loss"] is True
    assert read.settings["args.nested.lr"] == 1e-3
    assert read.settings["args.sizes"] == [1, 2]
    assert read.settings["best"] == 0.5
    assert read.settings["epoch"] == 3
    assert read.settings["counts.x"] == [1]
    imported = set(sys.modules) - before
    assert not any(name.partition(".")[0] in ("fairseq", "omegaconf", "yacs") for name in imported)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_config_that_is_a_dict_of_its_own_class_is_read_as_a_dict(zipped, tmp_path, monkeypatch):
    """As YACS has it, in files of new and of old torch."""
    for name in ("yacs", "yacs.config"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    kind = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    sys.modules["yacs.config"].CfgNode = kind
    config = kind(MODEL=kind(TYPE="swin", DEPTHS=[2, 2]))
    config.__dict__["__immutable__"] = True
    content = {"model": {"weight": torch.ones(2)}, "config": config, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "yacs.config")
    read = read_weights(tmp_path / "x.pth")
    assert read.settings == {"config.MODEL.TYPE": "swin", "config.MODEL.DEPTHS": [2, 2], "args.lr": 0.1}
    assert torch.equal(read.tensors["model.weight"], torch.ones(2))
    assert "yacs.config" not in sys.modules


@pytest.mark.parametrize(
    "name", ["fairseq.utils.import_user_module", "subprocess.Popen", "somebody.Thing", "os.system"]
)
def test_a_checkpoint_that_names_code_is_refused_in_a_line(name, tmp_path, monkeypatch):
    content = {"model": {"weight": torch.ones(2)}, "x": _Named(name, "echo hello")}
    path = saved(content, tmp_path / "x.pth", monkeypatch)
    with pytest.raises(UserError, match=r"is refused, none of its code was run: it asks for `[^\n]*$"):
        read_weights(path)


def test_what_agreements_have_kept_is_by_name(tmp_path):
    file = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"a": torch.ones(1)}, "seed": 0, "global_step": 1, "agreed": 0.5}, file)
    with pytest.raises(UserError, match="must hold what agreements keep under `agreed`, by name"):
        read_checkpoint(file)
