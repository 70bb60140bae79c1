"""The registry, on small fake distributions put on the import path."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from unmask.cli import main
from unmask.cli.completion import candidates
from unmask.plugins import registry

Install = Callable[..., None]


def fruit(install: Install, name: str, registered: str, body: str = "class Peel:\n    '''Thin.'''\n") -> None:
    install(
        f"unmask-{name}",
        {
            "masks": {registered: f"fake_{name}.peel:Peel"},
            "recipes": {f"{name}/small": f"fake_{name}:small.yaml"},
        },
        {f"fake_{name}/__init__.py": "", f"fake_{name}/peel.py": body, f"fake_{name}/small.yaml": "a: 1\n"},
    )


def test_core_registers_its_own_components_like_anybody():
    component = registry.find("random", "unmask.masks")
    assert component == registry.Component("unmask.masks", "random", "unmask.masks.random:RandomMask", "unmask")
    assert component.load().__name__ == "RandomMask"


@pytest.mark.parametrize("name", ["apple.peel", "Peel", "fake_apple.peel.Peel"])
def test_a_component_is_found_by_name_class_name_and_class_path(install, name):
    fruit(install, "apple", "apple.peel")
    component = registry.find(name)
    assert (component.name, component.distribution) == ("apple.peel", "unmask-apple")
    assert "fake_apple" not in sys.modules
    assert component.load().__doc__ == "Thin."


def test_only_the_named_component_is_imported(install):
    fruit(install, "apple", "apple.peel")
    fruit(install, "berry", "berry.peel")
    registry.find("apple.peel").load()
    assert "fake_apple.peel" in sys.modules
    assert not [module for module in sys.modules if module.startswith("fake_berry")]


def test_a_recipe_is_a_path_and_imports_nothing(install):
    fruit(install, "apple", "apple.peel")
    path = registry.find("apple/small", registry.RECIPES).path()
    assert path.read_text() == "a: 1\n"
    assert not [module for module in sys.modules if module.startswith("fake_apple")]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("bloc", "block"),
        ("BlokMask", "block"),
        ("ramdom", "random"),
        ("colour-noise", "color-noise"),
        ("noise", "color-noise"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(given, nearest):
    with pytest.raises(registry.UnknownNameError, match=rf"no `{given}` among the masks; nearest: .*`{nearest}`"):
        registry.find(given, "unmask.masks")


def test_a_name_like_no_other_is_answered_with_all():
    with pytest.raises(registry.UnknownNameError, match=r"no `xyzzy` among the schedules; there are: .*`constant`, "):
        registry.find("xyzzy", "unmask.schedules")


def test_two_distributions_with_one_name_are_both_named(install, capsys):
    fruit(install, "apple", "peel")
    fruit(install, "berry", "peel")
    with pytest.raises(registry.NameClashError, match=r"`peel` is claimed by unmask-apple .* and unmask-berry "):
        registry.find("peel")
    assert registry.find("fake_berry.peel.Peel").distribution == "unmask-berry"  # the way out
    assert registry.find("random", "unmask.masks").name == "random"  # others are not harmed
    assert [[c.distribution for c in several] for several in registry.clashes()] == [["unmask-apple", "unmask-berry"]]
    assert main(["list", "masks"]) == 0
    assert capsys.readouterr().out.count("claimed by several") == 2


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("class Peal: pass\n", "AttributeError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_plugin_names_its_distribution_entry_point_and_cause(install, body, cause):
    fruit(install, "apple", "apple.peel", body)
    fruit(install, "berry", "berry.peel")
    component = registry.find("apple.peel")
    with pytest.raises(registry.BrokenPluginError) as error:
        component.load()
    for part in ("`apple.peel`", "unmask-apple", "unmask.masks", "fake_apple.peel:Peel", cause):
        assert part in str(error.value)
    assert registry.find("berry.peel").load().__name__ == "Peel"


def test_a_missing_recipe_file_is_a_broken_plugin(install):
    install("unmask-apple", {"recipes": {"apple/none": "fake_apple:none.yaml"}}, {"fake_apple/__init__.py": ""})
    with pytest.raises(registry.BrokenPluginError, match="`apple/none` of unmask-apple"):
        registry.find("apple/none", registry.RECIPES).path()


def test_what_class_is_expected_tells_which_group_is_meant():
    from unmask.parts import Loss, MaskSampler
    from unmask.schedules import Schedule

    assert registry.find_for(Loss, "cosine").group == "unmask.losses"
    assert registry.find_for(Schedule, "cosine").group == "unmask.schedules"
    assert registry.find_for(MaskSampler, "cosine") is None


@pytest.mark.parametrize("words", [["list"], ["--help"], ["--version"], ["complete", "--", "fit", "--config", ""]])
def test_quick_commands_import_no_torch(words):
    code = (
        "import sys; from unmask.cli import main; "
        f"code = main({words!r}); "
        "heavy = {'torch', 'lightning', 'numpy', 'jsonargparse', 'rich'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_python_m_unmask_is_the_command():
    done = subprocess.run([sys.executable, "-m", "unmask", "lst"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "There is no command `lst`; nearest: `list`.\n")


def test_a_plugin_adds_a_command(install, capsys):
    code = "def run(command, arguments):\n    print(command, *arguments)\n    return 0\n"
    entries = {"apple-press": "fake_apple:run", "apple-broken": "fake_apple:gone"}
    install("unmask-apple", {"commands": entries}, {"fake_apple.py": code})
    assert main(["--help"]) == 0
    assert "  apple-press  of unmask-apple" in capsys.readouterr().out
    assert "apple-press" in candidates([""])
    assert main(["apple-press", "hard", "--twice"]) == 0
    assert capsys.readouterr().out == "apple-press hard --twice\n"
    assert main(["apple-pres"]) == 2
    assert "nearest: `apple-press`" in capsys.readouterr().err
    assert main(["apple-broken"]) == 2
    assert "unmask-apple" in capsys.readouterr().err
