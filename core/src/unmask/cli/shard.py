"""``unmask shard``: the data of a recipe, or of any data module, as shards; or an index of shards that others wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unmask.support.arguments import Arguments, one_of, writable
from unmask.support.errors import GOOD, UserError

if TYPE_CHECKING:
    from unmask.data import MaskedDataModule
    from unmask.data.shards import Index

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def run(command: str, arguments: list[str]) -> int:
    """Take the options of shards, leave the others to the parser of data modules, write."""
    parser = Arguments(
        command,
        "Writes the data of a recipe (its name or a file first, or --config), or of --data alone, as tar files with an "
        "index, for --data vision.shards and the like; options of the data follow as for `unmask fit`. A killed writer "
        "goes on where it stopped; where all is written, nothing is done.",
    )
    parser.add_argument("--out", help="the folder to write to")
    parser.add_argument("--shard_size", default="256MB", help="of a shard, about: 100MB, 1GB; default: 256MB")
    parser.add_argument(
        "--shuffle", default="true", help="true or false: write what is trained on in a random order; default: true"
    )
    parser.add_argument("--index", help="in place of --out: a folder of tar files that others wrote, to be indexed")
    parser.add_argument(
        "--content", default="", help="with --index: the ending of contents, such as jpg; default: found"
    )
    given, words = parser.parse_known_args(arguments)
    if (given.out is None) == (given.index is None):
        raise UserError(
            "`unmask shard` needs either `--out`, a folder to write to, or `--index`, a folder of tar files."
        )
    shard_bytes = size_of("--shard_size", given.shard_size)
    shuffle = one_of("--shuffle", given.shuffle, ("true", "false")) == "true"
    if given.index is None and given.content:
        raise UserError("`--content` must come with `--index`.")
    if given.index is not None and not words:
        raise UserError("`--index` needs `--data`, which says what the samples are: `--data vision.shards`.")
    if not words:
        raise UserError("`unmask shard` needs a recipe or file first, or `--data`.")

    from unmask.configs.errors import message_of

    try:
        if given.index is not None:
            index = _indexed(Path(given.index), words, given.content)
            folder = Path(given.index)
        else:
            folder = writable("--out", Path(given.out))
            written = _written(folder, command, words, shard_bytes, shuffle)
            if written is None:
                print(f"{folder} has these shards already.")
                return GOOD
            index = written
    except (ValueError, OSError) as error:
        raise UserError(message_of(error)) from error
    _tell(index, folder)
    return GOOD


def size_of(option: str, word: str) -> int:
    """Bytes of a size with a unit.

    Raises:
        UserError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", word)
    size = int(float(match[1]) * UNITS.get(match[2].upper(), 0)) if match else 0
    if size < 1:
        raise UserError(f"`{option}` must be a size above 0 with KB, MB or GB, but is `{word}`; nearest: `256MB`.")
    return size


def _written(folder: Path, command: str, words: list[str], shard_bytes: int, shuffle: bool) -> Index | None:
    from unmask.data.shards import write_shards
    from unmask.support.progress import progress

    plan = data_of(command, words).shard_plan(shuffle)
    with progress("Writing shards") as moved:
        index = write_shards(
            folder, plan, shard_bytes,
            lambda done, total, what: moved(done, max(total, done), f"Writing shards: {what}"),
        )  # fmt: skip
    if index is not None and plan.told():
        print(plan.told())
    return index


def _indexed(folder: Path, words: list[str], content: str) -> Index:
    from unmask.data.shards import index_folder
    from unmask.support.progress import progress

    module = data_of("shard", [*words, f"--data.shards={folder}"])
    with progress("Indexing shards") as moved:
        return index_folder(
            folder,
            module.item,
            module.shard_content,
            lambda done, total, what: moved(done, total, f"Indexing {what}"),
            content,
        )


def data_of(command: str, words: list[str]) -> MaskedDataModule:
    """The data module of a recipe, whose model may decide options of it; or that of ``--data`` alone.

    Raises:
        UserError: there is none, or one whose order is not keyed.
    """
    from unmask.data import MaskedDataModule

    if words[0].startswith("-") and not any(word.partition("=")[0] in ("--config", "-c") for word in words):
        made: Any = _alone(words)
    else:
        from unmask.cli.building import built

        recipe = [] if words[0].startswith("-") else ["--config", words[0]]
        parts = built(command, [*recipe, *words[len(recipe) // 2 :]])
        if parts is None:  # after --print_config
            raise SystemExit(GOOD)
        made = parts[1]
    if not isinstance(made, MaskedDataModule):
        raise UserError(f"`--data` must be a MaskedDataModule here, but is a {type(made).__name__}.")
    return made


def _alone(words: list[str]) -> Any:
    """A data module by the options of ``--data``."""
    import argparse

    import lightning as L

    from unmask.cli.words import chosen_keys
    from unmask.configs.errors import Parser, explain, is_mistake, message_of
    from unmask.configs.names import registered_names

    parser = Parser(exit_on_error=False)
    parser.add_lightning_class_args(L.LightningDataModule, "data", subclass_mode=True)
    Parser.failures.clear()
    try:
        with registered_names(Parser.failures):
            return parser.instantiate(parser.parse_args(words))["data"]
    except argparse.ArgumentError as error:
        raise UserError(explain(error, words, chosen_keys(words))) from error
    except Exception as error:
        if is_mistake(error, running=False):
            raise UserError(message_of(error)) from error
        raise


def _tell(index: Index, folder: Path) -> None:
    from unmask.data import Findings

    for name, shards in index.parts.items():
        count, size = sum(map(len, shards)), sum(shard.bytes for shard in shards)
        plural = "s" if len(shards) != 1 else ""
        print(f"{name}: {count:,} {index.of}s in {len(shards):,} shard{plural}, {size / 10**6:,.1f} MB.")
    for line in Findings.of(index.left_out).lines():
        print(f"  {line}")
    print(f"Written: {folder}")
