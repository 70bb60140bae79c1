"""``unmask sweep``: runs of one recipe with other settings, chosen by what earlier ones reached."""

from __future__ import annotations

import csv
import io
import sys
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.cli.words import prepared
from unmask.support.arguments import Arguments, writable
from unmask.support.errors import GOOD, UserError

if TYPE_CHECKING:
    from unmask.tools.sweep import Sweep

SHOWN = 10
"""Trials of the table at the end."""


def run(command: str, arguments: list[str]) -> int:
    """Train and measure trial after trial, then print the best and write ``sweep.csv`` and ``sweep.png``."""
    parser = Arguments(
        command,
        "Many runs of one recipe with other settings, chosen by what earlier ones reached (Optuna's TPE). The same "
        "command goes on where it was stopped, and may run several times at once. Other options are those of `fit`.",
    )
    parser.add_argument("config", help="a recipe or a config file")
    parser.add_argument(
        "--vary", action="append", default=[], metavar="KEY=VALUES", help="an option of `fit` and its values: "
        "model.mask.ratio=0.4:0.9, model.optim.base_lr=1e-4:1e-2:log, model.encoder.depth=2,4; several times"
    )  # fmt: skip
    parser.add_argument(
        "--aim", default="probe", help="what is aimed at: probe, score, finetune, or a figure of `unmask runs` such as "
        "val/loss or `probe linear, 5 per class`; default: probe"
    )  # fmt: skip
    parser.add_argument("--trials", type=int, default=20, help="runs in all; default: 20")
    parser.add_argument("--out", help="a folder for all runs; default: runs/sweeps/ and the recipe's name")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of settings; default: 0")
    given, rest = parser.parse_known_args(arguments)
    if given.trials < 1:
        raise UserError(f"`--trials` must be at least 1, but is {given.trials}.")
    if util.find_spec("optuna") is None:
        raise UserError('`unmask sweep` needs Optuna: pip install "unmask[sweep]".')
    words = ["--config", given.config, *rest]
    prepared(words)  # refuses what is no recipe

    from unmask.tools.sweep import Sweep, read_setting

    out = Path(given.out or Path("runs", "sweeps", Path(given.config).with_suffix("")))
    sweep = Sweep(writable("--out", out), words, [read_setting(one) for one in given.vary], given.aim, given.seed)
    sweep.run(given.trials)
    _report(sweep)
    return GOOD


def _report(sweep: Sweep) -> None:
    from unmask.tools.output import write, write_all
    from unmask.tools.sweep.picture import picture

    best = sweep.best
    failed = [trial for trial in sweep.trials if trial.failed]
    keys = [setting.key for setting in sweep.settings]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", *keys, sweep.aimed, "failed"])
    table.writerows(
        [trial.folder.name, *[trial.settings[key] for key in keys], trial.value, trial.failed]
        for trial in best + failed
    )
    file = write(sweep.folder / "sweep.csv", text.getvalue().encode())
    if not best:
        raise UserError(f"No trial came to its end; {len(failed)} failed: see `{file}`.")
    _show(sweep, keys)
    in_time = sorted(best, key=lambda trial: trial.number)
    drawn = picture(in_time, sweep.settings, sweep.aimed, sweep.less_is_better)
    pictures = write_all(sweep.folder / "sweep.png", drawn, {})
    print(f"{len(best)} trials, {len(failed)} failed. Best: {best[0].folder}")
    print(f"  {sweep.command(best[0])}")
    print(f"Written to {file}, {pictures[0]}")


def _show(sweep: Sweep, keys: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD)
    for name in ("trial", *keys, sweep.aimed):
        drawn.add_column(name, justify="left" if name == "trial" else "right", overflow="fold")
    for trial in sweep.best[:SHOWN]:
        drawn.add_row(trial.folder.name, *[_short(trial.settings[key]) for key in keys], f"{trial.value:.4g}")
    Console(width=None if sys.stdout.isatty() else 200).print(drawn)


def _short(word: str) -> str:
    try:
        return f"{float(word):.4g}"
    except ValueError:
        return word
