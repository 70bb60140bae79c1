"""The words of a command line before Lightning's parser sees them: recipes as files, ``--out`` at length."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from unmask.configs.errors import keys_of
from unmask.plugins import registry
from unmask.runs.folders import holds_a_run
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.support.yaml_files import read_yaml


def prepared(arguments: list[str]) -> tuple[list[str], Path | None]:
    """Recipes as paths, ``--out`` at length, and the run folder that the first config asks for."""
    words: list[str] = []
    base = None
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if option in ("--config", "-c", "--out"):
            if not equals and (not rest or rest[0].startswith("--")):
                raise UserError(f"`{option}` needs a value.")
            value = value if equals else rest.pop(0)
            if option == "--out":
                words.append(f"--trainer.default_root_dir={value}")
                continue
            path, folder = _config(value)
            base = base or folder
            words.append(f"--config={path}")
        else:
            words.append(word)
    return words, base


def _config(given: str) -> tuple[Path, Path]:
    """The file of a recipe or config, and the folder for runs of it: its own if it lies in one."""
    path = Path(given)
    folder = path.parent if holds_a_run(path.parent) else Path("runs", path.stem)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml", ".json"):
            raise UserError(no_file("config", given))
        path, folder = registry.find(given, registry.RECIPES).path(), Path("runs", given)
    parsed = read_yaml(path, given)
    if not isinstance(parsed, dict):
        raise UserError(f"`{given}` must hold keys such as `model` and `data`, but holds none.")
    return path, folder


def no_file(option: str, given: str) -> str:
    folder = Path(given).parent
    near = nearest(Path(given).name, [p.name for p in folder.iterdir()]) if folder.is_dir() else []
    hint = f"nearest: {quoted(str(folder / n) for n in near)}" if near else f"nothing in `{folder}` is like it"
    return f"`--{option}`: there is no file `{given}`; {hint}."


def chosen_keys(words: list[str]) -> list[str]:
    """Keys of the model and data classes that the command line or its configs name."""
    chosen: dict[str, Any] = {}
    for word, following in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        if option == "--config":
            parsed = read_yaml(value)
            chosen |= {key: parsed[key] for key in ("model", "data") if key in parsed}
        elif option in ("--model", "--data"):
            chosen[option[2:]] = value if equals else following
    keys = []
    for key, value in chosen.items():
        class_name = value.get("class_path") if isinstance(value, dict) else value
        found = registry.matches(class_name) if isinstance(class_name, str) else []
        if len(found) == 1:
            keys += [f"{key}.{k}" for k in keys_of(found[0].load())]
    return keys
