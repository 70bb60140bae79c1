"""``unmask probe``: what kNN and a linear classifier find in raw input, untrained and trained codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from unmask.cli import GOOD
from unmask.cli.arguments import Arguments
from unmask.nearest import nearest, quoted
from unmask.plugins import UserError

POOLS = ("mean", "max", "mean+max", "cls")


def run(command: str, arguments: list[str]) -> int:
    """Rebuild a run's model twice, load the checkpoint into one, print the table, write ``probe.json``."""
    parser = Arguments(command, "kNN and linear probes on frozen features, beside raw input and no training.")
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("--data", help="another YAML file whose `data` to probe on; default: the run's own")
    parser.add_argument("--labels_per_class", default="5,10,20", help="numbers of labels; default: 5,10,20")
    parser.add_argument("--num_draws", default="10", help="draws of labels; default: 10")
    parser.add_argument("--pool", default="mean", help=f"{', '.join(POOLS)}; default: mean")
    parser.add_argument("--seed", default="0", help="of the draws; default: 0")
    parser.add_argument("--device", default="cpu", help="where to compute features; default: cpu")
    given = parser.parse_args(arguments)

    if given.pool not in POOLS:
        near = nearest(given.pool, POOLS) or POOLS
        raise UserError(f"`--pool` must be one of {', '.join(POOLS)}, but is `{given.pool}`; nearest: {quoted(near)}.")
    labels_per_class = [_integer("--labels_per_class", word) for word in given.labels_per_class.split(",") if word]
    num_draws, seed = _integer("--num_draws", given.num_draws), _integer("--seed", given.seed)
    folder, checkpoint_path = _locate(Path(given.run))
    if given.data is not None and not Path(given.data).is_file():
        raise UserError(f"There is no file `{given.data}`; `--data` must be a YAML file.")

    import torch
    from rich.console import Console

    from unmask.evaluate.probe import probe
    from unmask.evaluate.table import caption, plain, table, to_json

    checkpoint = _checkpoint(checkpoint_path)
    model, datamodule = _build(folder / "config.yaml", checkpoint["seed"], Path(given.data) if given.data else None)
    untrained, _ = _build(folder / "config.yaml", checkpoint["seed"], None)
    try:
        model.load_state_dict(checkpoint["state_dict"], strict=True)
    except RuntimeError as error:
        raise UserError(
            f"The weights of `{checkpoint_path}` do not fit the model of `{folder / 'config.yaml'}`: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    try:
        torch.empty(0, device=given.device)
    except (RuntimeError, AssertionError) as error:
        here = [kind for kind in ("cuda", "mps") if getattr(torch, kind).is_available()]
        raise UserError(
            f"`--device` must be one that this machine has, but is `{given.device}`; "
            f"there are: {quoted(['cpu', *here])}."
        ) from error
    try:
        result = probe(
            model, untrained, datamodule, labels_per_class=labels_per_class, num_draws=num_draws,
            pool=given.pool, seed=seed, device=given.device,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error

    about = (
        f"{type(model).__name__} after {checkpoint['global_step']:,} steps (seed {checkpoint['seed']}), "
        f"{given.pool} pooling, from {checkpoint_path}."
    )
    (folder / "probe.json").write_text(to_json(result, about))
    if sys.stdout.isatty():
        Console().print(table(result))
        print(caption(result, about))
    else:
        print(plain(result, about), end="")
    print(f"Written to {folder / 'probe.json'}")
    return GOOD


def _integer(option: str, word: str) -> int:
    try:
        value = int(word)
    except ValueError:
        raise UserError(f"`{option}` must be a whole number, but is `{word}`.") from None
    least = 0 if option == "--seed" else 1
    if value < least:
        raise UserError(f"`{option}` must be at least {least}, but is {value}.")
    return value


def _locate(path: Path) -> tuple[Path, Path]:
    """The run folder and the checkpoint that ``path`` means.

    Raises:
        UserError: there is no such run; names those that are most like it.
    """
    if path.is_file():
        for folder in path.absolute().parents[:2]:
            if (folder / "config.yaml").is_file():
                return folder, path
        raise UserError(f"`{path}` must lie in a run folder with a `config.yaml`, but there is none above it.")
    if not path.is_dir():
        siblings = [str(one) for one in path.parent.iterdir() if one.is_dir()] if path.parent.is_dir() else []
        near = nearest(str(path), siblings)
        raise UserError(f"There is no run `{path}`" + (f"; nearest: {quoted(near)}." if near else "."))
    checkpoints = sorted(
        (path / "checkpoints").glob("*.ckpt"), key=lambda one: (one.stem == "last", one.stat().st_mtime)
    )
    missing = "config.yaml" if not (path / "config.yaml").is_file() else None if checkpoints else "checkpoints/*.ckpt"
    if missing:
        runs = sorted({str(found.parent) for found in path.rglob("config.yaml")} - {str(path)})[:3]
        hint = f"; runs below it: {quoted(runs)}" if runs else ""
        raise UserError(f"`{path}` must be a run folder, but has no `{missing}`{hint}.")
    return path, checkpoints[-1]


def _checkpoint(path: Path) -> dict[str, Any]:
    """Weights and counters, without running any code that the file may hold."""
    import pickle

    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"`{path}` cannot be read as a checkpoint: {reason}") from error
    lacking = [key for key in ("state_dict", "seed", "global_step") if key not in checkpoint]
    if lacking:
        raise UserError(f"`{path}` must be a checkpoint of `unmask fit`, but has no {quoted(lacking)}.")
    return dict(checkpoint)


def _build(config: Path, seed: int, data: Path | None) -> tuple[Any, Any]:
    """A freshly initialised model and its data module."""
    import argparse

    import lightning as L
    import torch
    import yaml

    from unmask.cli.errors import Parser, is_mistake, plain
    from unmask.cli.names import registered_names

    parts = {}
    for name, file in (("model", config), ("data", data or config)):
        try:
            content = yaml.safe_load(file.read_text())
        except yaml.YAMLError as error:
            raise UserError(f"`{file}` is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict) or name not in content:
            raise UserError(f"`{file}` must have a `{name}` entry, but has none.")
        parts[name] = content[name]
    parser = Parser(exit_on_error=False)
    parser.add_lightning_class_args(L.LightningModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(L.LightningDataModule, "data", subclass_mode=True)
    try:
        with registered_names(Parser.failures), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            built = parser.instantiate(parser.parse_object(parts))
    except argparse.ArgumentError as error:
        raise UserError(f"`{config}` cannot be used: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:
        if is_mistake(error, running=False):
            raise UserError(plain(error)) from error
        raise
    return built["model"], built["data"]
