"""The plugin API's version, and what doctor says of plugins that are wrong, on small fake distributions."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from unmask import MaskSampler
from unmask.cli import main
from unmask.configs.names import registered_names
from unmask.plugins import api_version, inspection, registry

MASKS = Path(__file__).with_name("fake_masks.txt").read_text(encoding="utf-8")


def plugin(install, name, version=api_version.API, entries=None, modules=None, requires=()):
    module = f"fake_{name}"
    declared = {"api": {version: module}} if version else {}
    install(
        f"unmask-{name}",
        declared | (entries or {"masks": {f"{name}.good": f"{module}:Good"}}),
        {f"{module}/__init__.py": MASKS} | (modules or {}),
        requires,
    )


@pytest.mark.parametrize(
    ("version", "core", "works"),
    [("1.0", "1.0", True), ("1.0", "1.3", True), ("1.4", "1.3", False), ("1.9", "2.0", False), ("2.0", "1.9", False)],
)
def test_a_plugin_works_with_its_major_version_and_no_older_minor_one(monkeypatch, version, core, works):
    monkeypatch.setattr(api_version, "API", core)
    assert api_version.fits(version) == works


@pytest.mark.parametrize(
    ("version", "cause"),
    [
        ("4.0", "unmask-apple was built for plugin API 4.0, but this unmask has API 3.0; install a newer unmask, or"),
        ("2.9", "unmask-apple was built for plugin API 2.9, but this unmask has API 3.0; install a newer unmask-apple"),
        ("one", "unmask-apple declares plugin API `one`, but it must be a `major.minor` such as `3.0`"),
    ],
)
def test_another_api_is_told_by_doctor_and_by_the_run_that_needs_it(install, capsys, monkeypatch, version, cause):
    plugin(install, "apple", version)
    plugin(install, "berry")
    (problem,) = inspection.problems_of("unmask-apple")
    assert cause in problem
    with pytest.raises(registry.BrokenPluginError, match=r"`apple.good` of unmask-apple .* cannot be used: ") as error:
        registry.find("apple.good").load()
    assert cause in str(error.value)
    assert main(["show", "apple.good"]) == 2
    assert cause in capsys.readouterr().err
    assert registry.find("berry.good").load().__name__ == "Good"  # others are not harmed
    assert main(["list", "masks"]) == 0
    assert "apple.good" in capsys.readouterr().out


def test_a_plugin_may_work_with_several_apis(install):
    install("unmask-apple", {"api": {"0.8": "fake_apple", "3.0": "fake_apple", "4.0": "fake_apple"}}, {})
    assert api_version.mismatch("unmask-apple") is None
    assert inspection.promise("unmask-apple") == []


def test_one_that_declares_nothing_works_and_is_asked_to(install):
    plugin(install, "apple", None)
    assert registry.find("apple.good").load().__name__ == "Good"
    (problem,) = inspection.promise("unmask-apple")
    assert '"3.0" = "its_package"' in problem


def test_declarations_are_no_components(install):
    plugin(install, "apple")
    plugin(install, "berry")
    assert "api" not in registry.groups()
    assert registry.clashes() == []


def test_requirements_that_are_not_met_are_told(install):
    needs = ["torch", "torch<1", "no-such-library>=2", "other-library; extra == 'more'", "old; python_version < '3'"]
    plugin(install, "apple", requires=needs)
    version, missing = inspection.requirements("unmask-apple")
    assert version.startswith("unmask-apple requires torch<1, but torch ")
    assert missing == (
        "unmask-apple requires no-such-library, which is not installed: pip install 'no-such-library>=2'."
    )


def test_a_command_that_core_has_too_is_told(install):
    plugin(install, "apple", entries={"commands": {"fit": "fake_apple:command"}})
    assert inspection.shadowed("unmask-apple", ["fit"]) == ["Command `fit` of unmask-apple is hidden by core's own."]


def test_wrong_components_are_told_one_by_one(install):
    names = ("Good", "NoMask", "Unfinished", "OtherCall", "OtherNames", "Untyped")
    entries = {
        "masks": {f"apple.{name.lower()}": f"fake_apple:{name}" for name in names}
        | {"apple.gone": "fake_apple:Gone", "apple.lacks": "fake_apple.lacks:Good"},
        "commands": {"apple-press": "fake_apple:command"},
        "maskz": {"apple.good": "fake_apple:Good"},
        "recipes": {
            "apple/yaml": "fake_apple:yaml.yaml",
            "apple/names": "fake_apple:names.yaml",
            "apple/none": "fake_apple:none.yaml",
        },
    }
    modules = {
        "fake_apple/lacks.py": "import no_such_library\n",
        "fake_apple/yaml.yaml": "a: [\n",
        "fake_apple/names.yaml": "model: apple.gone\n",
    }
    plugin(install, "apple", entries=entries, modules=modules)
    told = inspection.imports("unmask-apple")
    expected = [
        ("apple.gone", "AttributeError"),
        ("apple.lacks", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("apple.nomask", "must be a subclass of MaskSampler, but is <class 'fake_apple.NoMask'>"),
        ("apple.othercall", "has `sample`, which must take (self, among, draws): too many"),
        ("apple.othernames", "has `forward`, which must take (self, tokens, progress, draws): too many"),
        ("apple.unfinished", "must define `sample`, which MaskSampler leaves to it"),
        ("apple.untyped", "has arguments that no config can give"),
        ("apple-press", "must take (command, arguments): too many positional arguments"),
        ("apple.good", "is in a group that nobody reads; nearest: `unmask.masks`"),
        ("apple/yaml", "is not valid YAML"),
        ("apple/names", "There is no `apple.gone` among the methods"),
        ("apple/names", "must name a class under `data`, but names none"),
        ("apple/none", "cannot be found: no file"),
    ]
    for name, cause in expected:
        assert any(f"`{name}`" in problem and cause in problem for problem in told), f"{name}: {told}"
    assert len(told) == len(expected)


def test_a_run_that_names_one_of_another_signature_says_so(install):
    entries = {"masks": {"apple.other": "fake_apple:OtherCall", "apple.good": "fake_apple:Good"}}
    plugin(install, "apple", entries=entries)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--mask", type=MaskSampler)
    with registered_names([]):
        with pytest.raises(
            registry.BrokenPluginError, match=r"`apple.other` of unmask-apple .* has `sample`, which must"
        ):
            parser.parse_args(["--mask", "apple.other"])
        assert type(parser.instantiate(parser.parse_args(["--mask", "apple.good"])).mask).__name__ == "Good"


def test_a_crash_is_found_out_and_spoils_no_other(install, capsys, monkeypatch):
    crash = {"fake_berry/crash.py": "import os\nos._exit(7)\n"}
    entries = {"peel": "fake_berry.crash:Peel", "zest": "fake_berry:NoMask"}
    plugin(install, "berry", entries={"masks": entries}, modules=crash)
    plugin(install, "apple", entries={"masks": {"peel": "fake_apple:Unfinished"}})
    first, second, third = inspection.imports("unmask-berry", "unmask-apple")
    assert first.startswith("`peel` of unmask-apple (unmask.masks, fake_apple:Unfinished) must define `sample`")
    assert second == "`peel` of unmask-berry (unmask.masks) ends the interpreter: code 7, no message"
    assert third.startswith("`zest` of unmask-berry (unmask.masks, fake_berry:NoMask) must be a subclass of")

    monkeypatch.setattr(inspection, "imports", lambda *distributions: [])
    assert main(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "`peel` in unmask.masks is claimed by unmask-apple (fake_apple:Unfinished) and unmask-berry" in out
    assert "a run that names it is refused" in out
    assert "torch " in out
    assert "unmask-apple 0.1, plugin API 3.0\n" in out


def test_doctor_is_content_when_nothing_is_wrong(install, capsys, monkeypatch):
    """Whatever else is installed here."""
    plugin(install, "apple", requires=["torch"])
    everything = registry.components()
    with monkeypatch.context() as patched:
        patched.setattr(registry, "components", lambda: [c for c in everything if c.distribution == "unmask-apple"])
        patched.setattr(inspection, "imports", lambda *distributions: [])
        assert main(["doctor"]) == 0
    assert "1 components of 1 distributions: no problems" in capsys.readouterr().out
