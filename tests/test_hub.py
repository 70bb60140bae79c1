"""A run into the Hub and back: whole, checked, and told plainly when it cannot be; the Hub is one of loopback."""

import json
import shutil
import socket
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from hub_server import READER, TOKEN, serving
from huggingface_hub import ModelCard, constants
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import unmask
from unmask.cli import main
from unmask.runs.checkpoints import read_checkpoint
from unmask.runs.trained import load_run

NAME = "org/digits"
FIT = [
    "--trainer.max_steps", "3", "--trainer.accelerator", "cpu", "--trainer.precision", "32-true",
    "--trainer.limit_val_batches", "1", "--data.batch_size", "16",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three steps, with a probe and a picture."""
    folder = tmp_path_factory.mktemp("hub") / "run"
    assert main(["fit", "--config", "vision/mae-digits", "--out", str(folder), *FIT]) == 0
    probe = ["--labels_per_class", "2", "--max_labels", "100", "--num_draws", "2", "--probes", "knn"]
    assert main(["probe", str(folder), *probe]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """Its copy, in the working folder of the test."""
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return Path("run")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty Hub that commands talk to, a token that may write, and an empty cache."""
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        huggingface_hub.utils.disable_progress_bars()
        yield hub
        huggingface_hub.utils.enable_progress_bars()


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    """What a push of the run uploads."""
    folder = tmp_path_factory.mktemp("written") / "folder"
    assert main(["push", str(trained), NAME, "--licence", "apache-2.0", "--dry_run", str(folder)]) == 0
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pushed(hub, written):
    """The Hub with the run in it."""
    hub.put(NAME, dict(written))
    return hub


def refused(words, capsys):
    """The one line that a command refuses with."""
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and "Traceback" not in said
    return said


def test_pushed_and_imported_it_is_the_same_run(run, hub, capsys):
    assert main(["push", str(run), NAME, "--licence", "mit"]) == 0
    assert f"{hub.endpoint}/{NAME}/commit/" in capsys.readouterr().out
    assert sorted(hub.files(NAME)) == sorted([
        ".gitattributes", "README.md", "config.yaml", "encoder.safetensors", "model.safetensors", "probe.json",
        "pictures/epoch-0000.png",
    ])  # fmt: skip
    assert main(["import", f"hf://{NAME}", "--out", "fresh"]) == 0
    said = capsys.readouterr().out
    assert f"Read: hf://{NAME}@" in said and "Predictor: " in said and "left as initialised" not in said
    own, read = unmask.load(run), unmask.load("fresh")
    assert own.model.state_dict().keys() == read.model.state_dict().keys()
    assert all(torch.equal(x, read.model.state_dict()[name]) for name, x in own.model.state_dict().items())
    assert np.array_equal(own.embed(), read.embed())
    assert own.reconstruct(num_samples=2).loss == read.reconstruct(num_samples=2).loss
    untrained = own.run.untrained.state_dict()
    assert all(torch.equal(x, untrained[name]) for name, x in read.run.untrained.state_dict().items())
    assert yaml.safe_load(Path("fresh/config.yaml").read_text())["trainer"]["default_root_dir"] == "fresh"
    assert json.loads(Path("fresh/import.json").read_text())["source"].startswith(f"hf://{NAME}@")


@pytest.mark.slow
def test_an_imported_run_is_trained_and_fine_tuned_as_the_first(run, pushed, capsys):
    read = unmask.load(f"hf://{NAME}")
    settings = {"labels_per_class": [2], "epochs": 1, "scratch": False}
    first, second = (one.finetune(**settings) for one in (unmask.load(run), read))
    assert [row.cells["pretrained"].scores for row in first.rows] == [
        row.cells["pretrained"].scores for row in second.rows
    ]
    assert main(["fit", "--config", f"{read.folder}/config.yaml", "--ckpt_path", "last"]) == 0
    assert load_run(read.folder).step == 3


@pytest.mark.slow
def test_load_makes_one_run_folder_of_a_commit(run, pushed):
    folder = unmask.load(f"hf://{NAME}").folder
    assert folder == Path("runs/hub", NAME, pushed.branches[NAME]["main"][:12])
    (folder / "probe.json").write_text("{}")
    assert unmask.Pretrained.from_pretrained(NAME).folder == folder
    assert (folder / "probe.json").read_text() == "{}"
    pushed.put(NAME, {"README.md": b"changed"})
    assert unmask.load(f"hf://{NAME}").folder != folder


@pytest.mark.slow
def test_push_to_hub_writes_to_a_private_repository_and_to_a_branch(run, hub):
    address = unmask.load(run).push_to_hub(NAME, private=True, revision="tried")
    assert address.startswith(f"{hub.endpoint}/{NAME}/commit/")
    assert hub.private == {NAME}
    assert list(hub.files(NAME)) == [".gitattributes"]
    assert "model.safetensors" in hub.files(NAME, "tried")
    assert main(["import", f"hf://{NAME}", "--revision", "tried", "--out", "a"]) == 0
    assert main(["import", f"hf://{NAME}@tried", "--out", "b"]) == 0
    assert np.array_equal(unmask.load("a").embed(), unmask.load("b").embed())


def test_nothing_pushed_is_a_pickle_and_others_read_the_encoder(written, run, tmp_path):
    assert not [name for name in written if name.endswith((".ckpt", ".pt", ".pth", ".bin", ".pkl", ".py"))]
    (tmp_path / "encoder.safetensors").write_bytes(written["encoder.safetensors"])
    read, own = load_file("encoder.safetensors"), load_run(run).model.encoder.state_dict()
    assert read.keys() == own.keys() and all(torch.equal(x, own[name]) for name, x in read.items())
    for name in ("config.yaml", "README.md", "probe.json", "encoder.safetensors", "model.safetensors"):
        assert str(run.absolute().parent.parent).encode() not in written[name], "no folder of this machine"


def test_the_card_tells_method_data_budget_results_and_licence(written, tmp_path):
    (tmp_path / "README.md").write_bytes(written["README.md"])
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "unmask"
    mean = json.loads(written["probe.json"])["rows"][0]["mean"]["pretrained encoder"]
    assert card.data.eval_results[0].metric_value == round(100 * mean, 2)
    for told in (
        "[arXiv:2111.06377](https://arxiv.org/abs/2111.06377)", "`vision.mae`", "`vision.digits`", "1,797 images",
        "| steps | 3 (of 3) |", "| batch | 16 |", "| raw input | untrained encoder | pretrained encoder |",
        "![epoch 0](pictures/epoch-0000.png)", f"| torch | {torch.__version__.partition('+')[0]}",
        f'unmask.load("hf://{NAME}")', "unmask-vision",
    ):  # fmt: skip
        assert told in card.content, told


def test_a_run_pushed_from_within_keeps_its_words(run, monkeypatch):
    probe = json.loads((run / "probe.json").read_text())
    monkeypatch.chdir(run)
    assert main(["push", ".", NAME, "--dry_run", "../dry"]) == 0
    assert json.loads(Path("../dry/probe.json").read_text())["rows"] == probe["rows"]
    assert "1,797 images: 8 x 8 pixels, 10 classes." in Path("../dry/README.md").read_text()


def test_a_card_without_a_licence_says_so_and_a_sentence_is_none(run, tmp_path, capsys):
    assert main(["push", str(run), NAME, "--dry_run", "dry"]) == 0
    assert "None was given" in Path("dry/README.md").read_text()
    assert "license" not in Path("dry/README.md").read_text().split("---\n")[1]
    words = ["push", "run", NAME, "--dry_run"]
    assert "nearest: `apache-2.0`" in refused([*words, "x", "--licence", "Apache 2.0"], capsys)
    assert "is there already" in refused([*words, "dry"], capsys)
    assert not Path("x").exists()


@pytest.mark.slow
def test_a_folder_of_a_dry_run_is_imported_without_network(run, capsys):
    assert main(["push", str(run), NAME, "--dry_run", "dry"]) == 0
    assert main(["import", "dry", "--out", "fresh"]) == 0
    assert np.array_equal(unmask.load(run).embed(), unmask.load("fresh").embed())


@pytest.mark.slow
def test_a_repository_of_timm_is_imported(run, hub):
    unmask.load(run).export("vision.timm", "timm")
    files = {path.name: path.read_bytes() for path in Path("timm").iterdir()}
    hub.put("org/timm", files | {"modeling.py": b"import pathlib; pathlib.Path('boom').touch()", "big/x.bin": b"x"})
    assert main(["import", "hf://org/timm", "--config", "vision/mae-digits", "--out", "fresh"]) == 0
    assert np.array_equal(unmask.load(run).embed(), unmask.load("fresh").embed())
    assert not [path for _, path in hub.asked if path.endswith((".py", "big/x.bin"))], "code is not even read"
    assert not list(Path("cache").rglob("*.py"))


def test_without_network_a_copy_in_the_cache_counts(run, pushed, monkeypatch, capsys):
    assert main(["import", f"hf://{NAME}", "--out", "first"]) == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["import", f"hf://{NAME}", "--out", "second"]) == 0
    first, second = (read_checkpoint(Path(name, "checkpoints/last.ckpt"))["state_dict"] for name in ("first", "second"))
    assert first and all(torch.equal(x, second[name]) for name, x in first.items())
    assert "HF_HUB_OFFLINE" in refused(["import", "hf://org/other"], capsys)


def test_what_the_hub_refuses_is_told_in_a_line(run, pushed, monkeypatch, capsys):
    assert "There is no repository `hf://org/no`" in refused(["import", "hf://org/no"], capsys)
    assert "has no revision `v9`" in refused(["import", f"hf://{NAME}", "--revision", "v9"], capsys)
    assert "must be called `org/name`" in refused(["import", "hf://digits"], capsys)
    assert "give it once" in refused(["import", f"hf://{NAME}@a", "--revision", "b"], capsys)
    assert "is for `hf://org/name`" in refused(["import", "run", "--revision", "b"], capsys)
    assert "unmask import hf://org/digits" in refused(["probe", f"hf://{NAME}"], capsys)
    assert "is there already and public" in refused(["push", "run", NAME, "--private"], capsys)
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    assert "does not know your token" in refused(["push", "run", NAME], capsys)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert "must be allowed to write" in refused(["push", "run", NAME], capsys)
    pushed.private.add(NAME)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "There is no repository" in refused(["import", f"hf://{NAME}"], capsys)
    assert "hf auth login" in refused(["push", "run", NAME], capsys)


def test_no_network_is_told_in_a_line(run, hub, monkeypatch, capsys):
    with socket.socket() as taken:  # bound, and never listening
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert "cannot be reached" in refused(["import", f"hf://{NAME}"], capsys)
        assert "cannot be reached" in refused(["push", "run", NAME], capsys)
    assert not Path("runs").exists()


def test_without_the_library_one_line_says_what_to_install(run, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    for words in (["push", "run", NAME, "--dry_run", "x"], ["import", f"hf://{NAME}"]):
        assert 'pip install "unmask[hub]"' in refused(words, capsys)


def flip(content):
    changed = bytearray(content)
    changed[-5] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"model.safetensors": lambda content: content[:-100]}, "Consistency check failed"),
        ({"model.safetensors": flip}, "its SHA-256 is not the one that the Hub lists"),
        ({"config.yaml": flip}, "its sum is not the one that the Hub lists"),
    ],
)
def test_files_that_are_not_what_the_hub_lists_are_refused_and_read_anew(sent, told, run, pushed, capsys):
    pushed.sent = sent
    assert told in refused(["import", f"hf://{NAME}", "--out", "fresh"], capsys)
    assert not Path("fresh").exists()
    pushed.sent = {}
    assert main(["import", f"hf://{NAME}", "--out", "fresh"]) == 0


def repacked(content, tensors=None, **metadata):
    """A file of weights that lies: other tensors, or other metadata."""
    Path("lie.safetensors").write_bytes(content)
    with safe_open("lie.safetensors", "pt") as file:
        told = file.metadata()
    given = load_file("lie.safetensors") if tensors is None else tensors
    save_file(given, "lie.safetensors", {**told, **metadata})
    return Path("lie.safetensors").read_bytes()


LIES = {
    "a header that is none": (lambda files: {"model.safetensors": b"\xff" * 64}, "is no safetensors file"),
    "cut off": (lambda files: {"model.safetensors": files["model.safetensors"][:-100]}, "is cut off"),
    "empty": (lambda files: {"model.safetensors": b""}, "is empty"),
    "a value changed": (lambda files: {"model.safetensors": flip(files["model.safetensors"])}, "is damaged"),
    "another config beside it": (lambda files: {"config.yaml": b"model: {}\n"}, "must be the config that"),
    "no metadata of ours": (
        lambda files: {"model.safetensors": repacked(files["model.safetensors"], **{"unmask.whole": "[]"})},
        "is not what `unmask push` writes",
    ),
    "fewer tensors": (
        lambda files: {"model.safetensors": without_sum(files["model.safetensors"], drop="encoder.vit.norm.bias")},
        "1 missing: `encoder.vit.norm.bias`",
    ),
    "another shape": (
        lambda files: {"model.safetensors": without_sum(files["model.safetensors"], cut="encoder.vit.norm.bias")},
        "`encoder.vit.norm.bias` is 1, here 96",
    ),
    "a file beside it that is not there": (
        lambda files: {
            "model.safetensors": repacked(
                files["model.safetensors"], **{"unmask.whole": '{"agreed": {}, "files": {"files/../x": "0"}}'}
            )
        },
        "must have the `files/../x`",
    ),
    "a class of a package that is no plugin": (lambda files: config_with(files, "evil.Model"), "no installed plugin"),
    "a class that starts a program": (
        lambda files: config_with(
            files, "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler"
        ),
        "no installed plugin",
    ),
    "a class that is not installed": (lambda files: config_with(files, "unmask_smell.methods.MAE"), "unmask_smell"),
    "a class that is not there": (lambda files: config_with(files, "unmask_vision.methods.MEA"), "MEA"),
}  # fmt: skip


def without_sum(content, drop=None, cut=None):
    Path("lie.safetensors").write_bytes(content)
    tensors = load_file("lie.safetensors")
    tensors = {name: x[:1].clone() if name == cut else x for name, x in tensors.items() if name != drop}
    from unmask.tools.exchange.native import sha256

    return repacked(content, tensors, **{"unmask.sha256": sha256(tensors)})


def config_with(files, name):
    config = yaml.safe_load(files["config.yaml"])
    config["model"]["class_path"] = name
    text = yaml.safe_dump(config)
    weights = repacked(files["model.safetensors"], **{"unmask.config": text})
    return {"config.yaml": text.encode(), "model.safetensors": weights}


@pytest.mark.parametrize("lie", LIES)
def test_a_repository_that_lies_is_refused_in_a_line_and_runs_nothing(lie, run, pushed, written, capsys, monkeypatch):
    Path("evil.py").write_text("import pathlib\npathlib.Path('boom').touch()\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    make, told = LIES[lie]
    pushed.put(NAME, make(dict(written)))
    assert told in refused(["import", f"hf://{NAME}", "--out", "fresh"], capsys)
    assert not Path("fresh").exists() and not Path("boom").exists()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["audio/audio-mae-synth", "pointcloud/point-mae-solids", "multimodal/flip-digits"])
def test_runs_of_other_modalities_come_back_whole(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit = ["fit", "--config", recipe, "--out", "run", *FIT, "--trainer.max_steps", "1", "--data.batch_size", "4"]
    assert main([*fit, "--trainer.limit_train_batches", "1"]) == 0
    assert main(["push", "run", NAME, "--dry_run", "dry"]) == 0
    assert main(["import", "dry", "--out", "fresh"]) == 0
    own, read = (load_run(name).model.state_dict() for name in ("run", "fresh"))
    assert own.keys() == read.keys() and all(torch.equal(x, read[name]) for name, x in own.items())


@pytest.mark.slow
def test_a_vocabulary_travels_with_the_weights(hub, tmp_path, monkeypatch):
    """Text is read with it where neither the corpus nor the cache of the first machine is."""
    monkeypatch.chdir(tmp_path)
    for name in ("corpus", "new"):
        Path(name).mkdir()
        for i in range(4):
            Path(name, f"{i}.txt").write_text(f"The {name} has a page {i}. " * 40)
    monkeypatch.setenv("XDG_CACHE_HOME", "first")
    words = ["--data.paths", "corpus", "--data.batch_size", "2", "--data.vocab_size", "300", "--model.size", "tiny"]
    assert main(["fit", "--config", "text/mlm-files", "--out", "run", *words, *FIT[:-2]]) == 0
    first = unmask.load("run").embed("new")
    assert main(["push", "run", "org/text"]) == 0
    assert "files/tokenizer.json" in hub.files("org/text")
    shutil.rmtree("corpus")
    shutil.rmtree("first")
    monkeypatch.setenv("XDG_CACHE_HOME", "second")
    assert main(["import", "hf://org/text", "--out", "fresh"]) == 0
    assert np.array_equal(unmask.load("fresh").embed("new"), first)


def test_a_repository_without_weights_is_refused(run, hub, capsys):
    hub.put(NAME, {"README.md": b"x", "modeling.py": b"x"})
    assert "has no weights" in refused(["import", f"hf://{NAME}"], capsys)
    hub.put(NAME, {"a.safetensors": b"x", "b.safetensors": b"x"})
    assert "but has `a.safetensors`, `b.safetensors`" in refused(["import", f"hf://{NAME}"], capsys)
