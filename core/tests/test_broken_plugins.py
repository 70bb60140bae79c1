"""A broken plugin beside a good one: what the run that needs it is told, and that no other run is harmed.

What `unmask doctor` says of the same is in test_doctor.py; here the functions are called that its process calls.
"""

import shutil
from pathlib import Path

import pytest

from unmask import MaskedDataModule, MaskedModel
from unmask.cli import main
from unmask.cli.doctor import clashing
from unmask.plugins import api_version, inspection, registry
from unmask.tools.exchange.format import find_format, formats

APPLE = """
import lightning as L
import torch
from unmask import MaskSampler
from unmask.masks import RandomMask


class Apple(L.LightningModule):
    def __init__(self, mask: MaskSampler = RandomMask(ratio=0.75)):
        super().__init__()
        self.layer, self.mask = torch.nn.Linear(2, 1), mask

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Data(L.LightningDataModule):
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(8, 2), 2)
"""

RECIPE = """
model: {class_path: apple.method, init_args: {mask: random}}
data: apple.data
trainer: {max_steps: 2, accelerator: cpu, logger: false, enable_progress_bar: false}
"""

BERRY = Path(__file__).with_name("fake_masks.txt").read_text(encoding="utf-8")
BERRY += """
from unmask.tools.exchange.format import Format


class Refusing(Format):
    def __init__(self):
        raise RuntimeError("no licence\\nhere")

    def refusal(self, model):
        return None

    def save(self, export, out):
        return ""

    def usage(self, export, out):
        return ""


def quiet(command, arguments):
    pass


def other(words):
    return 0
"""

BROKEN = {
    "import error": ({"berry.peel": "fake_berry.cut:Peel"}, "cannot be imported: ImportError: cannot import name 'No"),
    "package fails": ({"berry.peel": "fake_seed:Peel"}, "cannot be imported: ValueError: invalid literal"),
    "no such class": ({"berry.peel": "fake_berry:Gone"}, "cannot be imported: AttributeError"),
    "no class": ({"berry.peel": "fake_berry:NoMask"}, "must be a subclass of MaskSampler, but is <class 'fake_berry."),
    "abstract": ({"berry.peel": "fake_berry:Unfinished"}, "must define `sample`, which MaskSampler leaves to it"),
    "other call": ({"berry.peel": "fake_berry:OtherCall"}, "has `sample`, which must take (self, among, draws)"),
}


@pytest.fixture
def beside(install, tmp_path, monkeypatch):
    """A good plugin `apple`, and a function that puts `berry` beside it."""
    monkeypatch.chdir(tmp_path)
    entries = {
        "api": {api_version.API: "fake_apple"},
        "methods": {"apple.method": "fake_apple:Apple"},
        "data": {"apple.data": "fake_apple:Data"},
        "recipes": {"apple/small": "fake_apple:small.yaml"},
    }
    install("unmask-apple", entries, {"fake_apple/__init__.py": APPLE, "fake_apple/small.yaml": RECIPE})

    def berry(entries, version=api_version.API, requires=()):
        modules = {
            "fake_berry/__init__.py": BERRY,
            "fake_berry/cut.py": "from unmask import NoSuchThing\n",
            "fake_berry/tab.yaml": "model:\n\tclass_path: apple.method\n",
            "fake_berry/list.yaml": "- model\n",
            "fake_seed.py": "int('seed')\n",
        }
        install("unmask-berry", {"api": {version: "fake_berry"}} | entries, modules, requires)

    return berry


def told(capsys, *words):
    """What a refused command says: at most two lines and no traceback."""
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert len(error.splitlines()) <= 2, error
    return error


def apple_runs():
    return main(["fit", "--config", "apple/small"]) == 0


@pytest.mark.parametrize("case", BROKEN)
def test_the_run_that_needs_it_is_told_as_doctor_tells_and_no_other_is_harmed(beside, capsys, case):
    masks, cause = BROKEN[case]
    beside({"masks": masks | {"berry.good": "fake_berry:Good"}})
    assert main(["list", "masks"]) == 0
    assert "berry.peel" in capsys.readouterr().out

    said = told(capsys, "fit", "--config", "apple/small", "--model.mask", "berry.peel")
    assert "`berry.peel` of unmask-berry (unmask.masks, fake_" in said
    assert cause in said
    component = registry.find("berry.peel")
    try:
        (same,) = inspection.in_class(component)
    except registry.BrokenPluginError as error:
        same = str(error)
    assert same in said

    assert apple_runs()
    assert main(["fit", "--config", "apple/small", "--model.mask", "berry.good", "--print_config"]) == 0


@pytest.mark.parametrize("version", ["1.0", "4.0"])
def test_another_api_is_told_by_everything_that_would_use_it(beside, capsys, version):
    entries = {
        "masks": {"berry.peel": "fake_berry:Good"},
        "commands": {"berry-press": "fake_berry:quiet"},
        "recipes": {"berry/small": "fake_apple:small.yaml"},
        "formats": {"berry.jam": "fake_berry:Refusing"},
    }
    beside(entries, version)
    (problem,) = inspection.problems_of("unmask-berry")
    assert problem.startswith(f"unmask-berry was built for plugin API {version}, but this unmask has API ")
    assert problem in told(capsys, "fit", "--config", "apple/small", "--model.mask", "berry.peel")
    assert problem in told(capsys, "fit", "--config", "berry/small")
    assert problem in told(capsys, "berry-press")
    assert problem in told(capsys, "show", "berry.peel")
    assert apple_runs()
    assert "berry.jam" not in formats()


def test_a_missing_dependency_is_told_with_the_way_to_get_it(beside, capsys):
    beside({"masks": {"berry.peel": "fake_lacking:Peel", "berry.good": "fake_berry:Good"}}, requires=["no-such-lib>=2"])
    (missing,) = inspection.problems_of("unmask-berry")
    assert missing == "unmask-berry requires no-such-lib, which is not installed: pip install 'no-such-lib>=2'."
    first, second = told(capsys, "fit", "--config", "apple/small", "--model.mask", "berry.peel").splitlines()
    assert "cannot be imported: ModuleNotFoundError" in first
    assert second == missing
    assert apple_runs()
    assert main(["fit", "--config", "apple/small", "--model.mask", "berry.good", "--print_config"]) == 0


def test_nobody_takes_a_name_away_from_its_owner(beside, capsys):
    """The recipe names core's `random`; both names still mean what they meant, and everybody is told."""
    beside({"masks": {"random": "fake_berry:Good"}, "methods": {"apple.method": "fake_berry:NoMask"}})
    with pytest.warns(UserWarning, match="`random` is claimed by several; it means that of unmask"):
        assert apple_runs()
    capsys.readouterr()
    words = ["fit", "--config", "apple/small", "--print_config"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "class_path: unmask.masks.RandomMask" in printed.replace("unmask.masks.random.", "unmask.masks.")
    assert "class_path: fake_apple.Apple" in printed
    assert main([*words, "--model.mask", "fake_berry.Good"]) == 0  # what is shadowed is there by its path
    assert "class_path: fake_berry.Good" in capsys.readouterr().out

    assert main(["show", "random"]) == 0
    assert "of unmask," in capsys.readouterr().out
    assert inspection.problems_of() == []
    masks, methods = sorted(clashing(), key=lambda line: "methods" in line)
    assert masks.startswith("`random` in unmask.masks is claimed by unmask-berry (fake_berry:Good) and unmask (")
    assert masks.endswith("; it means unmask's.")
    assert methods.endswith("; it means unmask-apple's.")


@pytest.mark.parametrize(
    ("distribution", "name", "owned"),
    [
        ("unmask", "random", True),
        ("unmask", "apple.random", False),
        ("unmask-apple", "apple.peel", True),
        ("Unmask_Apple", "apple/small", True),
        ("unmask-apple", "apple-press", True),
        ("unmask-apple", "random", False),
        ("unmask-apple", "apples.peel", False),
        ("unmask-red-apple", "red-apple.peel", True),
        ("fruit", "fruit.apple", True),
    ],
)
def test_a_name_belongs_to_whom_it_begins_with(distribution, name, owned):
    assert api_version.owns(distribution, name) == owned


def test_a_command_is_called_as_it_can_be(beside, capsys):
    commands = {"berry-press": "fake_berry:quiet", "berry-other": "fake_berry:other", "berry-cut": "fake_berry.cut:run"}
    beside({"commands": commands})
    assert main(["berry-press"]) == 0
    assert "must take (command, arguments): too many positional arguments" in told(capsys, "berry-other")
    assert "cannot be imported: ImportError" in told(capsys, "berry-cut")
    assert main(["show", "berry-press"]) == 0


def test_a_recipe_that_is_none_is_told(beside, capsys):
    beside({"recipes": {"berry/tab": "fake_berry:tab.yaml", "berry/list": "fake_berry:list.yaml"}})
    assert "`berry/tab` is not valid YAML" in told(capsys, "fit", "--config", "berry/tab")
    assert "`berry/list` must hold keys such as `model`" in told(capsys, "fit", "--config", "berry/list")


def test_a_format_that_cannot_be_made_is_left_out(beside):
    before = set(formats())
    beside({"formats": {"berry.jam": "fake_berry:Refusing", "berry.none": "fake_berry:NoMask"}})
    assert set(formats()) == before
    with pytest.raises(
        registry.BrokenPluginError, match=r"`berry.jam` of unmask-berry cannot be made: RuntimeError: no l"
    ):
        find_format("berry.jam")
    with pytest.raises(
        registry.BrokenPluginError, match=r"`berry.none` of unmask-berry .* must be a subclass of Format"
    ):
        find_format("berry.none")


def test_methods_and_data_too_must_be_called_as_core_calls_them():
    class Step(MaskedModel):
        def step(self, batch):
            """Without the seed."""

    class Wider(MaskedModel):
        def step(self, batch, seed=None, more=None):
            """Whatever core gives, it takes."""

    class Load(MaskedDataModule):
        def load(self, folder):
            """Core gives none."""

    (told,) = inspection.other_calls(Step)
    assert told.startswith("has `step`, which must take (self, batch, seed")
    assert inspection.other_calls(Wider) == []
    (told,) = inspection.other_calls(Load)
    assert told.startswith("has `load`, which must take (self): missing a required argument: 'folder'")


def test_what_an_interrupted_upgrade_leaves_is_no_clash(beside, tmp_path):
    beside({"masks": {"berry.good": "fake_berry:Good"}})
    shutil.copytree(tmp_path / "unmask_berry-0.1.dist-info", tmp_path / "~nmask_berry-0.1.dist-info")
    nameless = tmp_path / "gone-0.1.dist-info"
    nameless.mkdir()
    (nameless / "entry_points.txt").write_text("[unmask.masks]\ngone.peel = gone:Peel\n")
    registry.components.cache_clear()
    assert registry.clashes() == []
    assert registry.find("berry.good").distribution == "unmask-berry"
    assert registry.find("gone.peel").distribution == "an unnamed distribution"


@pytest.mark.parametrize(
    ("entries", "metadata"),
    [("[unmask.masks]\nno sign of equality\n", "Name: evil\n"), (b"[unmask.masks]\n\xff = a:b\n", "Name: evil\n"),
     ("[unmask.masks]\nevil.mask = evil:Mask\n", b"Name: \xff\n")],
)  # fmt: skip
def test_damaged_metadata_of_one_distribution_spoils_no_other(entries, metadata, tmp_path, monkeypatch, capsys):
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    for name, text in (("entry_points.txt", entries), ("METADATA", metadata)):
        (info / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.components.cache_clear()
    try:
        assert main(["list", "masks"]) == 0
        assert registry.find("random").distribution == "unmask"
        assert inspection.requirements("evil") == [] and api_version.declared("evil") == []
    finally:
        monkeypatch.undo()
        registry.components.cache_clear()
