"""The page of commands: what ``--help`` of each says, as tables, from the parsers themselves."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from unittest import mock

from components import COMMANDS as PLUGIN_COMMANDS
from components import GENERATED, first_party

from unmask.cli import COMMANDS
from unmask.plugins.registry import find
from unmask.support.arguments import Arguments

LIGHTNING = ("fit", "validate", "test", "predict")
INTRODUCTION = """# Commands

`unmask COMMAND --help` prints the same. Exit codes: 0 when all went well, 2 after a mistake of the user's, which is
told in at most two plain lines, 1 when a run cannot go on (NaN, a full disk), 143 after SIGTERM, before which `fit`
saves, 130 after Ctrl-C. `--traceback` or `UNMASK_TRACEBACK=1` shows where an error comes from.

| command | what |
|---|---|
"""
OF_LIGHTNING = """## fit, validate, test, predict { #fit }

Lightning's own commands. Options come from a recipe, then from the command line:

| option | what |
|---|---|
| `--config` | a recipe's name or a YAML file; may be repeated, later ones override |
| `--model`, `--data` | a method and a data module, by registered name or class path |
| `--model.PART`, `--data.NAME` | a part or an argument: `--model.mask block`, `--model.mask.ratio 0.5` |
| `--trainer.NAME` | arguments of Lightning's `Trainer`: `max_steps`, `precision`, `devices`, `callbacks+`, ... |
| `--trainer.precision` | Lightning's, or `auto`: bf16-mixed where the device multiplies it quickly, else 32-true |
| `--trainer.logger` | loggers beside the run's own `metrics.csv`, in place of TensorBoard; `false`: none at all |
| `--trainer.external_callbacks` | packages whose callbacks for every Lightning run to take, or `all`; default: none |
| `--out` | the run folder; default: `runs/` and the recipe's name, with a number where that is taken |
| `--ckpt_path` | a checkpoint, or `last`: the one written last in the run folder; without one, a run from scratch |
| `--checkpoint_every` | `"500 steps"`, `"20 minutes"`, `"2 epochs"`; default: each epoch; and when training ends |
| `--not_finite` | at a loss or gradient that is [not finite](scale.md#bad-days): `stop` (default), or `skip` the step |
| `--seed_everything` | of weights, masks, order and augmentation; default: 0 |
| `--checkpoint_activations` | `true`: blocks keep their inputs alone for the backward pass, which computes anew |
| `--compile` | `true` or `regional`: blocks by `torch.compile`; `whole`: encoders and predictors; default: `false` |
| `--compile_backend` | `inductor` (needs a compiler), `aot_eager` or `eager` |
| `--plan` | of `fit`: print what the run will be, as [`plan`](#plan) does, and stop |
| `--print_config` | print everything that the run would use, and stop |

`--help` lists all options of the trainer, and `unmask show NAME` those of a component.

Loggers, callbacks, strategies, accelerators and profilers are given by class name or class path:
`--trainer.logger WandbLogger`, `--trainer.callbacks+=my_package.MyCallback`,
`--trainer.strategy lightning.pytorch.strategies.DDPStrategy --trainer.strategy.find_unused_parameters true`.
Pictures go to each logger that takes images. `train/loss` is the mean over devices. BatchNorm's statistics are each
device's own unless `--trainer.sync_batchnorm true` is given, for GPUs; that is said before training.

### Stopping and resuming

A run that is killed at any moment goes on with `--ckpt_path last`, and ends with the same weights as one that was left
alone. Use it in job scripts from the first start on: while there is no checkpoint, it begins from scratch.

- A checkpoint is written beside its place and renamed when it is whole. Its checksums are compared when it is read.
- SIGTERM stops after the optimiser step, or the batch of a validation, that it comes in: `checkpoints/last.ckpt` is
  written, and the exit code is 143, so that a scheduler starts the run again. A second SIGTERM kills at once. A run
  whose last step is done is finished, with 0. Several processes stop after the same step.
- Options that differ from the checkpoint's run are applied, the learning rate included, and named in one line. The seed
  is the exception: the checkpoint's is kept. What decides which samples a batch holds (batch size, accumulated batches,
  number of processes, number of samples) can change between epochs; within one, it is refused. [All of
  them](scale.md#other-options-on-resume).
- `config.yaml` holds what the run goes on with, and each checkpoint holds the same text.
- A run folder that a run writes to is locked (`.lock`). Another run takes the next number, or is refused with
  `--ckpt_path last`. Commands that only read, such as `probe`, are not concerned.
- Under SLURM, SIGUSR1 (`#SBATCH --signal=SIGUSR1@90`) saves after the step that it comes in and queues the job again.
- `checkpoints/*.ckpt` and SLURM's `hpc_ckpt_*.ckpt` count as checkpoints of a run folder, for all commands alike.
"""


class _Asked(Exception):  # noqa: N818  no error
    """Carries a parser out of the command that made it."""


def pages() -> dict[str, str]:
    """The page, by its path below docs/."""
    rows, sections = [], []
    for name, command in COMMANDS.items():
        anchor = "fit" if name in LIGHTNING else name
        rows.append(f"| [`{name}`](#{anchor}) | {command.help} |")
        if name not in LIGHTNING:
            sections.append(_section(name, parser_of(import_module(command.module).run, name), ""))
    for component in first_party(PLUGIN_COMMANDS.removeprefix("unmask.")):
        parser = parser_of(find(component.name, PLUGIN_COMMANDS).load(), component.name)
        rows.append(f"| [`{component.name}`](#{component.name}) | of {component.distribution} |")
        sections.append(_section(component.name, parser, f" It comes with {component.distribution}."))
    return {"commands.md": GENERATED + INTRODUCTION + "\n".join([*rows, "", OF_LIGHTNING, *sections])}


def parser_of(run: object, name: str) -> argparse.ArgumentParser:
    """The parser that a command makes before it does anything else."""

    def caught(self: Arguments, *_: object, **__: object) -> None:
        raise _Asked(self)

    with mock.patch.object(Arguments, "parse_args", caught), mock.patch.object(Arguments, "parse_known_args", caught):
        try:
            run(name, [])  # type: ignore[operator]
        except _Asked as asked:
            return asked.args[0]
    raise RuntimeError(f"`{name}` asks no parser.")


def _section(name: str, parser: argparse.ArgumentParser, more: str) -> str:
    lines = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        word = max(action.option_strings, key=len, default=action.metavar or action.dest)
        if not action.option_strings and action.nargs in ("+", "*"):
            word += " ..."
        lines.append(f"| `{word}` | {_plain(action.help)} |")
    table = ["| argument | what |", "|---|---|", *lines, ""] if lines else []
    return "\n".join([f"## {name} {{ #{name} }}", "", f"{_plain(parser.description)}{more}", "", *table])


def _plain(text: str | None) -> str:
    """Fit for a cell: what looks like markup is code."""
    text = " ".join((text or "").replace("%%", "%").split()).replace("|", "&#124;")
    return re.sub(r"(?<![`\w])(--\w+(?:\.\w+|\.\.\.)*|\[MASK\]|\$\(.*?\)|<\w+>)(?!`)", r"`\1`", text)
