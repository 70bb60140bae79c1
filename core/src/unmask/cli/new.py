"""``unmask new NAME``: a plugin package that installs, trains, and keeps its contracts, to be edited from there.

What is written lies in `unmask.skeletons`, one folder per kind: a whole modality (data, tokenizer, encoder,
method, recipe), or a mask alone.
"""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from unmask import __version__
from unmask.plugins import api_version, registry
from unmask.support.arguments import Arguments, one_of, writable
from unmask.support.errors import UserError

KINDS = ("modality", "mask")


def run(command: str, arguments: list[str]) -> int:
    """Write the package into a folder of its own, and say what to do next."""
    parser = Arguments(command, "A plugin package that installs, trains and passes its tests, to be made your own.")
    parser.add_argument("name", help="of the distribution, such as unmask-ecg; also of the folder")
    parser.add_argument("--modality", help="first part of its components' names; default: the name without `unmask-`")
    parser.add_argument("--kind", default="modality", help=f"{' or '.join(KINDS)}; default: modality")
    parser.add_argument("--out", type=Path, help="where to write it; default: a folder of that name, here")
    given = parser.parse_args(arguments)

    name = checked_name(given.name)
    modality = checked_modality(given.modality or name.removeprefix("unmask-"), default=given.modality is None)
    folder = writable("--out", given.out or Path(name))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"`--out` must be a new or an empty folder, but `{folder}` is there already.")

    words = {
        "__NAME__": name,
        "__PACKAGE__": name.replace("-", "_"),
        "__MODALITY__": modality,
        "__TITLE__": "".join(part.capitalize() for part in modality.split("-")),
        "__VERSION__": __version__,
        "__API__": api_version.API,
    }
    write(one_of("--kind", given.kind, KINDS), words, folder)
    shown = folder.as_posix()
    print(f"{shown}: a plugin that works as it stands. Its README.md says how to make it yours. Next:\n")
    print(f"  cd {shown} && pip install -e '.[test]' && unmask check {name}")
    return 0


def checked_name(name: str) -> str:
    """The name of the distribution.

    Raises:
        UserError: it could be none, or one that is installed has it.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")
        hint = f"; nearest: `{plain}`" if plain and plain != name else ""
        raise UserError(f"`NAME` must be lower-case words joined by `-`, but is `{name}`{hint}.")
    if any(component.distribution == name for component in registry.components()):
        raise UserError(f"`NAME` must be a new one, but `{name}` is installed.")
    return name


def checked_modality(word: str, default: bool) -> str:
    """What components' names begin with.

    Raises:
        UserError: it could not, or an installed distribution's components begin with it.
    """
    option = "`NAME` without `unmask-`, the modality," if default else "`--modality`"
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", word):
        raise UserError(f"{option} must be lower-case words joined by `-`, but is `{word}`.")
    for component in registry.components():
        if re.split(r"[./]", component.name)[0] == word and component.name != word:
            raise UserError(
                f"{option} must be a new word, but `{component.name}` of {component.distribution} begins with "
                f"`{word}`; such as: `--modality my-{word}`."
            )
    return word


def write(kind: str, words: dict[str, str], folder: Path) -> None:
    """Fill in the skeleton of ``kind``, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for part in ("shared", kind):
            _fill(resources.files("unmask.skeletons") / part, made, words)
        made.chmod(0o755)  # a temporary folder is for its owner alone
        made.replace(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _fill(source: Traversable, into: Path, words: dict[str, str]) -> None:
    into.mkdir(exist_ok=True)
    for entry in source.iterdir():
        name = _filled(entry.name, words).removesuffix(".template").replace("dot_", ".")
        if entry.is_dir():
            _fill(entry, into / name, words)
        elif entry.name.endswith(".template"):
            (into / name).write_text(_filled(entry.read_text(encoding="utf-8"), words), encoding="utf-8")


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
