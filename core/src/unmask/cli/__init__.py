"""The ``unmask`` command: one table of commands, each a file of its own that is imported when called.

Nothing here imports torch, so that ``unmask --help`` and ``unmask list`` answer at once. Exit codes:
0 good, 1 a run that failed (its loss is NaN, the disk is full), 2 a mistake of the user's (both at most two plain
lines on stderr), 130 after Ctrl-C, 143 after SIGTERM. A genuine bug keeps its traceback; ``--traceback`` or
``UNMASK_TRACEBACK=1`` shows it for mistakes too.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

from unmask.plugins.inspection import PLUGIN_COMMANDS, callable_as_its_family
from unmask.plugins.registry import components, find
from unmask.support.atomic import FULL
from unmask.support.errors import FAILED, GOOD, INTERRUPTED, MISTAKE, TERMINATED, UserError, complain
from unmask.support.nearest import nearest, quoted

_OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, *FULL)
"""Refusals of the file system, which are no bugs."""


class Command(NamedTuple):
    """Where a command lives: a module with ``run(command, arguments) -> exit code``."""

    module: str
    help: str


COMMANDS = {
    "fit": Command("unmask.cli.fit", "train a method on data"),
    "pretrain": Command("unmask.cli.pretrain", "train on a folder of your own, by the recipe for what lies there"),
    "plan": Command("unmask.cli.plan", "what a run will be: batch, rate, steps, memory, time"),
    "validate": Command("unmask.cli.fit", "measure the loss on the validation data"),
    "test": Command("unmask.cli.fit", "measure the loss on the test data"),
    "predict": Command("unmask.cli.fit", "run a trained model over the prediction data"),
    "probe": Command("unmask.cli.probe", "what kNN and a linear classifier find in a run's frozen features"),
    "finetune": Command("unmask.cli.finetune", "train an encoder and a head on labels, beside one from scratch"),
    "apply": Command("unmask.cli.apply", "labels for new files, from a fine-tuned model"),
    "score": Command("unmask.cli.score", "held-out loss under fixed masks, the same for every run of a modality"),
    "embed": Command("unmask.cli.embed", "write the features of a data set to a file"),
    "shard": Command("unmask.cli.shard", "write the data of a recipe as shards, which may lie behind a URL"),
    "preview": Command("unmask.cli.preview", "what a mask hides on real samples, before any training"),
    "reconstruct": Command("unmask.cli.reconstruct", "input, what was hidden and the prediction, from a checkpoint"),
    "replay": Command("unmask.cli.replay", "take a step again that was not finite, and name the module"),
    "report": Command("unmask.cli.report", "one HTML file with curves, pictures, probes and config of one run or two"),
    "sweep": Command("unmask.cli.sweep", "many runs of one recipe with other settings, and which is best"),
    "runs": Command("unmask.cli.runs", "the runs below a folder: method, data, steps, state, figures"),
    "export": Command("unmask.cli.export", "write an encoder for other libraries: safetensors, timm, ONNX, ..."),
    "import": Command("unmask.cli.import_", "make a run folder of weights from another library or the Hub"),
    "push": Command("unmask.cli.push", "put a run into the Hub: weights, config, results, a model card"),
    "list": Command("unmask.cli.list_", "what is installed: methods, masks, data, recipes, ..."),
    "show": Command("unmask.cli.show", "a component's description and arguments, or a recipe's text"),
    "doctor": Command("unmask.cli.doctor", "versions, and what is wrong with what is installed"),
    "new": Command("unmask.cli.new", "write a plugin package that trains and passes its tests"),
    "check": Command("unmask.cli.check", "the contract tests on an installed plugin, as a table"),
    "completion": Command("unmask.cli.completion", "a completion script for bash, zsh or fish"),
}
"""All commands, in the order of the help. A new one is a file and a line here."""

HIDDEN = {"complete": Command("unmask.cli.completion", "what could follow; called by completion scripts")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, given without the program's name, and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    traceback = "--traceback" in words or os.environ.get("UNMASK_TRACEBACK", "") not in ("", "0")
    words = [word for word in words if word != "--traceback"]
    formatwarning = warnings.formatwarning
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"Warning: {message}\n"  # without a line of code
    try:
        return _run(words)
    except UserError as error:
        if traceback:
            raise
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return GOOD
    except OSError as error:
        nameless = error.filename is None and error.errno not in FULL
        if traceback or nameless or error.errno not in _OF_THE_MACHINE:
            raise
        complain(f"`{error.filename or f'unmask {words[0]}'}`: {error.strerror}.")
        return FAILED if error.errno in FULL else MISTAKE
    except KeyboardInterrupt:
        complain("Interrupted.")
        return INTERRUPTED
    except SystemExit as end:
        return exit_code(end)
    finally:
        warnings.formatwarning = formatwarning


def console() -> NoReturn:
    """The entry point of the installed ``unmask`` script."""
    sys.exit(main())


def exit_code(end: SystemExit) -> int:
    """What a command ends with: 0 after ``--help``; Lightning's own exception for SIGTERM says none."""
    if end.code is None and type(end) is not SystemExit:
        return TERMINATED
    return int(end.code or GOOD)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return GOOD
    if words[0] in ("-V", "--version"):
        from unmask import __version__

        print(f"unmask {__version__}")
        return GOOD
    name, rest = words[0], words[1:]
    if name == "fit" and "--plan" in rest:
        name, rest = "plan", [word for word in rest if word != "--plan"]
    command = COMMANDS.get(name) or HIDDEN.get(name)
    if command is not None:
        return int(import_module(command.module).run(name, rest))
    from_plugins = plugin_commands()
    if name not in from_plugins:
        there = [*COMMANDS, *from_plugins]
        choices = nearest(name, there)
        hint = f"nearest: {quoted(choices)}" if choices else f"there are: {quoted(there)}"
        raise UserError(f"There is no command `{name}`; {hint}.")
    return int(callable_as_its_family(find(name, PLUGIN_COMMANDS))(name, rest) or GOOD)


def plugin_commands() -> dict[str, str]:
    """Names of the commands that plugins add, and the distributions that add them."""
    return {component.name: component.distribution for component in components() if component.group == PLUGIN_COMMANDS}


def _help() -> str:
    lines = ["usage: unmask COMMAND ...", "", "Masked self-supervised pretraining of any modality.", ""]
    lines += [f"  {name:12} {command.help}" for name, command in COMMANDS.items()]
    lines += [f"  {name:12} of {distribution}" for name, distribution in plugin_commands().items()]
    lines += ["", "  unmask COMMAND --help tells more, and unmask --version which version this is."]
    lines += ["  --traceback (or UNMASK_TRACEBACK=1) shows where an error comes from."]
    return "\n".join(lines)
