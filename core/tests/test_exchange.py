"""Encoders out and in again: exact round trips, strict reports, programs that are checked, nothing half written."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from unmask.cli import main
from unmask.runs.match import compare, load
from unmask.runs.trained import load_run
from unmask.support.errors import UserError
from unmask.testing.formats import FormatContract
from unmask.tools.exchange import onnx, torch_export
from unmask.tools.exchange.format import Export, find_format
from unmask.tools.exchange.importing import import_weights
from unmask.tools.exchange.native import Safetensors
from unmask.tools.exchange.onnx import ONNX
from unmask.tools.exchange.pipeline import Pipeline
from unmask.tools.exchange.torch_export import TorchExport
from unmask.tools.features.vectors import vectors

FILE = "toy/export/encoder.safetensors"


class _Toys(FormatContract):
    @pytest.fixture(autouse=True)
    def _modality(self, toys):
        self.modality = import_module("toy_modality")

    def model(self):
        return self.modality.Toy()

    def other(self):
        return self.modality.Toy(width=12)

    def batch(self):
        return {"x": torch.randn(4, 6, 2), "label": torch.zeros(4)}


class TestSafetensors(_Toys):
    def make(self):
        return Safetensors()


class TestONNX(_Toys):
    def make(self):
        return ONNX()


class TestTorchExport(_Toys):
    def make(self):
        return TorchExport()


def codes(run, pool="mean"):
    trained = load_run(run)
    return vectors(trained.model.embedder, trained.datamodule.val_dataloader(), pool).values


def test_a_report_by_hand():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))  # 6 + 3 + 3 + 1 values
    given = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(4), "1.weight": torch.ones(1, 3), "x": torch.ones(1)}
    report = compare(module, given)
    assert (report.matched, report.missing, report.unexpected) == (["0.weight", "1.weight"], ["1.bias"], ["x"])
    assert report.mismatched == [("0.bias", (4,), (3,))]
    assert report.tensor_ratio == 2 / 4
    assert report.value_ratio == 9 / 13
    assert not report.fits
    assert str(report) == (
        "2 of 4 tensors match (50%; 69.2% of the values); 1 of another size: `0.bias` is 4, here 3; "
        "1 missing: `1.bias`; 1 unknown: `x`"
    )
    assert compare(module, module.state_dict()).fits
    assert compare(module, {k: v for k, v in module.state_dict().items() if k != "1.bias"}, {"1.bias"}).fits


def test_less_than_asked_for_loads_nothing_and_enough_loads_what_matches():
    module = nn.Linear(2, 3)
    before = module.weight.clone()
    given = {"weight": torch.ones(3, 2)}
    with pytest.raises(ValueError, match=r"only 1 of 2 tensors match \(50%; 66.6% of the values\); 1 missing: `bias`."):
        load(module, given)
    assert torch.equal(module.weight, before)
    report = load(module, given, min_matched=0.5)
    assert report.missing == ["bias"]
    assert torch.equal(module.weight, torch.ones(3, 2))


@pytest.mark.parametrize("run", ["toy", "taught"])
def test_a_file_rebuilds_the_run_with_nothing_else(run, toys, capsys):
    assert main(["export", run, "--format", "safetensors"]) == 0
    file = f"{run}/export/encoder.safetensors"
    assert "equal bit for bit" in capsys.readouterr().out
    assert main(["import", file]) == 0
    said = capsys.readouterr().out
    assert "Encoder: 28 of 28 tensors match (100%; 100% of the values)." in said
    assert "Predictor: none in these weights, left as initialised." in said
    assert np.array_equal(codes("runs/imported"), codes(run))
    model = load_run("runs/imported").model
    assert model.embedder.encoder is not model.encoder or run == "toy"
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, model.embedder.encoder.state_dict()[name]), "a teacher begins as the encoder"


def test_the_metadata_tells_all(toys):
    main(["export", "toy", "--format", "safetensors"])
    with safe_open(FILE, "pt") as file:
        told = file.metadata()
    assert told["unmask.method"] == "toy_modality.Toy"
    assert json.loads(told["unmask.encoder"])["class_path"] == "toy_modality.Mixer"
    tokenizer = json.loads(told["unmask.tokenizer"])
    assert tokenizer == {"class_path": "toy_modality.Rows", "shift": 0.25, "scale": [2.0, 4.0]}
    assert (told["unmask.step"], told["unmask.seed"]) == ("4", "3")
    assert yaml.safe_load(told["unmask.config"])["model"]["init_args"]["width"] == 8
    assert load_file(FILE).keys() == load_run("toy").model.encoder.state_dict().keys()


def test_a_damaged_value_is_noticed(toys, capsys):
    main(["export", "toy", "--format", "safetensors"])
    content = bytearray(Path(FILE).read_bytes())
    content[-3] ^= 1
    Path(FILE).write_bytes(content)
    assert main(["import", FILE]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_a_carried_config_may_only_name_what_is_installed(toys, capsys):
    """The file `evil.py` lies about, and importing it would run it."""
    Path("evil.py").write_text("import pathlib\npathlib.Path('boom').touch()\n")
    sys.path.insert(0, str(toys))
    try:
        for config in (
            {"model": {"class_path": "evil.Model"}, "data": "toy_modality.Numbers"},
            {"model": "evil.Model", "data": "toy_modality.Numbers"},
            {"model": {"class_path": "unmask.model.MaskedModel", "init_args": {"mask": "evil.Mask"}}},
        ):
            save_file({"w": torch.zeros(1)}, "evil.safetensors", {"unmask.config": yaml.safe_dump(config)})
            assert main(["import", "evil.safetensors"]) == 2
            assert "which no installed plugin brings" in capsys.readouterr().err
        assert not Path("boom").exists()
        assert "evil" not in sys.modules
    finally:
        sys.path.remove(str(toys))


def test_a_whole_checkpoint_comes_with_predictor_and_teacher(toys, capsys):
    assert main(["import", "taught/checkpoints/last.ckpt", "--config", "taught.yaml", "--out", "again"]) == 0
    said = capsys.readouterr().out
    assert "under `state_dict.`" in said
    assert "Predictor: " in said and "left as initialised" not in said
    own, read = load_run("taught").model.state_dict(), load_run("again").model.state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in own.items())


def test_training_goes_on_from_weights_that_were_imported(toys, capsys):
    main(["import", "toy/checkpoints/last.ckpt", "--config", "toy.yaml", "--out", "again"])
    before = load_run("again").model.state_dict()
    capsys.readouterr()
    assert main(["validate", "--config", "again/config.yaml", "--ckpt_path", "last"]) == 0
    loss = capsys.readouterr().out
    assert main(["validate", "--config", "toy/config.yaml", "--ckpt_path", "last"]) == 0
    assert capsys.readouterr().out == loss
    assert main(["fit", "--config", "again/config.yaml", "--ckpt_path", "last"]) == 0
    run = load_run("again")
    assert run.step == 4
    assert not Path("again-2").exists()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())


def test_an_imported_run_does_not_write_where_it_came_from(toys):
    main(["export", "toy", "--format", "safetensors"])
    main(["import", FILE, "--out", "elsewhere"])
    trainer = yaml.safe_load(Path("elsewhere/config.yaml").read_text())["trainer"]
    assert trainer["default_root_dir"] in (None, "elsewhere")
    main(["import", FILE, "--out", "elsewhere"])
    assert Path("elsewhere-2/checkpoints/last.ckpt").exists(), "and never over a run"


def test_too_little_is_refused_and_all_is_reported_when_told_to_go_on(toys, capsys):
    weights = load_run("toy").model.encoder.state_dict()
    weights["embed.bias"] = torch.zeros(5)
    gone = weights.pop("trunk.norm.bias")
    torch.save({"model": {f"module.{name}": x for name, x in (weights | {"head": gone}).items()}}, "x.pth")
    words = ["import", "x.pth", "--config", "toy.yaml", "--out", "part"]
    assert main(words) == 2
    said = capsys.readouterr().err
    total = len(weights) + 1
    assert f"only {total - 2} of {total} tensors match" in said
    assert "`embed.bias` is 5, here 8" in said
    assert "1 missing: `trunk.norm.bias`" in said
    assert "under `model.module.`" in said
    assert not Path("part").exists()
    assert main([*words, "--min_matched", "0.9"]) == 0
    said = capsys.readouterr().out
    assert "what did not match is as initialised" in said
    assert all(name in said for name in ("embed.bias", "trunk.norm.bias", "head"))
    record = json.loads(Path("part/import.json").read_text())
    assert record["encoder"]["missing"] == ["trunk.norm.bias"]
    assert record["encoder"]["mismatched"] == [["embed.bias", [5], [8]]]
    run = load_run("part")
    untrained, trained = run.untrained.encoder.state_dict(), run.model.encoder.state_dict()
    assert torch.equal(trained["embed.bias"], untrained["embed.bias"])
    assert torch.equal(trained["embed.weight"], weights["embed.weight"])


def test_equal_rivals_are_named_and_a_prefix_chooses(toys, capsys):
    own = load_run("toy").model.encoder.state_dict()
    both = {f"student.{n}": x for n, x in own.items()} | {f"teacher.{n}": x + 1 for n, x in own.items()}
    torch.save(both, "two.pth")
    words = ["import", "two.pth", "--config", "toy.yaml", "--out", "two"]
    assert main(words) == 0
    assert "Note: As much fits under `teacher`; `--prefix` chooses." in capsys.readouterr().out
    assert main([*words, "--prefix", "teacher"]) == 0
    assert "Note" not in capsys.readouterr().out
    assert torch.equal(load_run("two-2").model.encoder.embed.bias, own["embed.bias"] + 1)
    assert main([*words, "--prefix", "techer"]) == 2
    assert "nearest: `teacher`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("onnx", "mean+max"),
        ("torch-export", "mean"),
        ("torch-export", None),
        pytest.param("onnx", None, marks=pytest.mark.slow),
        *(pytest.param("torch-export", pool, marks=pytest.mark.slow) for pool in ("max", "mean+max")),
    ],
)
def test_programs_give_the_runs_features_at_any_batch_size(name, pool, toys):
    words = ["--codes"] if pool is None else ["--pool", pool]
    assert main(["export", "toy", "--format", name, "--out", f"x{find_format(name).suffix}", *words]) == 0
    trained = load_run("toy")
    for size in (1, 3, 16):
        x = torch.stack([trained.datamodule.load().val[i]["x"] for i in range(size)])
        expected = Pipeline(trained.model.embedder, pool)({"x": x}).detach()
        if name == "onnx":
            import onnxruntime

            (got,) = onnxruntime.InferenceSession("x.onnx").run(None, {"x": x.numpy()})
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)
        else:
            assert torch.equal(torch.export.load("x.pt2").module()({"x": x}), expected)
    if pool == "mean":
        np.testing.assert_array_equal(codes("toy"), expected)


def test_programs_run_without_unmask(toys):
    main(["export", "toy", "--format", "torch-export", "--out", "x.pt2"])
    program = (
        "import sys, torch; m = torch.export.load('x.pt2').module(); m({'x': torch.zeros(2, 6, 2)}); "
        "assert not [n for n in sys.modules if n.startswith(('unmask', 'toy_'))]"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_no_sample_of_the_data_travels_in_a_program(toys):
    main(["export", "toy", "--format", "torch-export", "--out", "x.pt2"])
    assert torch.export.load("x.pt2").example_inputs is None


@pytest.mark.parametrize(("module", "name"), [(onnx, "onnx"), (torch_export, "torch-export")])
def test_a_program_that_differs_is_not_put_in_place(module, name, toys, monkeypatch, capsys):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    suffix = find_format(name).suffix
    Path(f"x{suffix}").write_text("old")
    assert main(["export", "toy", "--format", name, "--out", f"x{suffix}", "--overwrite"]) == 2
    assert "off." in capsys.readouterr().err
    assert Path(f"x{suffix}").read_text() == "old"
    assert not list(Path().glob(".*")), "no part is left"


def test_what_cannot_be_traced_is_said_in_one_line(toys, tmp_path):
    modality = import_module("toy_modality")

    class Deciding(modality.Mixer):
        def forward(self, tokens, mask=None, layer=None):
            latent = super().forward(tokens, mask, layer)
            return latent if latent.values.sum() > 0 else super().forward(tokens, mask, layer)

    model = modality.Toy().eval()
    model.encoder = Deciding()
    export = Export(model, "", 0, 0, lambda: {"x": torch.randn(4, 6, 2)})
    with pytest.raises(ValueError, match=r"^Deciding cannot be traced: [^\n]*$"):
        TorchExport().save(export, tmp_path / "x.pt2")


MISTAKES = {
    "no format": (["export", "toy"], "`--format` is required; there are: `"),
    "format": (["export", "toy", "--format", "onx"], "nearest: `onnx`"),
    "run": (["export", "ty", "--format", "onnx"], "nearest: `toy`"),
    "pool": (["export", "toy", "--format", "onnx", "--pool", "men"], "nearest: `mean`"),
    "pool and codes": (["export", "toy", "--format", "onnx", "--pool", "max", "--codes"], "drop one of them"),
    "class token": (["export", "toy", "--format", "onnx", "--pool", "cls"], "the encoder has no class token"),
    "suffix": (["export", "toy", "--format", "onnx", "--out", "x.pt2"], "must end in `.onnx`"),
    "taken": (["export", "toy", "--format", "onnx", "--out", "taken.onnx"], "`--overwrite`"),
    "no weights": (["import"], "weights"),
    "weights": (["import", "toy/checkpoints/lst.ckpt", "--config", "toy.yaml"], "nearest: `toy/checkpoints/last.ckpt`"),
    "run folder": (["import", "toy", "--config", "toy.yaml"], "is a run already"),
    "no config": (["import", "toy/checkpoints/last.ckpt"], "`--config` must name a recipe or a YAML file"),
    "config": (["import", "toy/checkpoints/last.ckpt", "--config", "ty.yaml"], "nearest: `toy.yaml`"),
    "share": (["import", "toy/checkpoints/last.ckpt", "--config", "toy.yaml", "--min_matched", "90"], "nearest: 0.9"),
    "no share": (["import", "x", "--min_matched", "most"], "must be a number in [0, 1]"),
    "program": (
        ["import", "toy/checkpoints/last.ckpt", "--config", "toy.yaml", "--format", "onnx"],
        "`onnx` is a program; there are: `",
    ),
    "size": (["import", "toy/checkpoints/last.ckpt", "--config", "wide.yaml"], "`embed.weight` is 8x2, here 12x2"),
    "out": (["import", "toy/checkpoints/last.ckpt", "--config", "toy.yaml", "--out", "full"], "must be a new folder"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_plain_and_leave_nothing_behind(mistake, toys, capfd):
    Path("taken.onnx").write_text("mine")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    before = sorted(str(p) for p in toys.rglob("*"))
    words, named = MISTAKES[mistake]
    capfd.readouterr()
    assert main(words) == 2
    said = capfd.readouterr().err
    assert named in said
    assert len(said.strip().splitlines()) == 1
    after = [str(p) for p in toys.rglob("*") if p.name not in ("export", "runs")]
    assert sorted(after) == [p for p in before if Path(p).name not in ("export", "runs")]


def test_what_a_format_needs_is_named_when_it_is_absent(toys, monkeypatch, capsys):
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "onnxscript" else found(name, *more))
    assert main(["export", "toy", "--format", "onnx"]) == 2
    assert capsys.readouterr().err == (
        "`onnx` needs `onnxscript`, which is not installed: pip install 'unmask[onnx]'.\n"
    )


def test_overwriting_replaces_as_a_whole(toys):
    assert main(["export", "toy", "--format", "safetensors"]) == 0
    first = Path(FILE).stat().st_ino
    assert main(["export", "toy", "--format", "safetensors"]) == 2
    assert main(["export", "toy", "--format", "safetensors", "--overwrite"]) == 0
    assert Path(FILE).stat().st_ino != first
    assert [p.name for p in Path("toy/export").iterdir()] == ["encoder.safetensors"]


def test_it_works_from_python_as_well(toys):
    main(["export", "toy", "--format", "safetensors"])
    imported = import_weights(Path(FILE), out=Path("mine"))
    assert imported.encoder.fits
    assert imported.predictor is None
    with pytest.raises(UserError):
        import_weights(Path("nothing.pth"))


def test_an_optimisers_tensors_are_no_unknown_weights(toys, capsys):
    state = torch.load("toy/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    torch.save(state | {"optimizer.0.exp_avg": torch.ones(2), "opt.x": torch.ones(2)}, "bare.pth")
    assert main(["import", "bare.pth", "--config", "toy.yaml", "--out", "imported"]) == 0
    said = capsys.readouterr().out
    assert "unknown" not in said
    assert "Left alone, under other names: 2 tensors (in `optimizer`, `opt`)." in said
