"""The trials of a sweep: each a run of its own below one folder, its settings chosen by Optuna.

``sweep.db`` (SQLite) knows all trials, so that several processes may share a sweep, and a killed one goes on: a trial
that nobody works at is taken up where its newest checkpoint is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from unmask import seeds
from unmask.support.errors import GOOD, INTERRUPTED, TERMINATED, UserError
from unmask.tools import listing
from unmask.tools.sweep.space import Setting, written

HOPELESS = 3
"""Trials of which all fail before a sweep gives up."""


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Args:
        number: from 0.
        folder: its run folder.
        settings: by the key of each option, as words of a command line.
        value: what was aimed at; None where it has yet to be, or failed.
        failed: why, in a line; empty where it did not.
    """

    number: int
    folder: Path
    settings: dict[str, str]
    value: float | None = None
    failed: str = ""


class Sweep:
    """Runs of one recipe, each with settings of its own.

    Args:
        folder: where runs and ``sweep.db`` lie.
        words: the words of ``unmask fit`` that all runs share, ``--config`` among them.
        settings: what varies.
        aim: a figure of ``unmask runs``, such as ``val/loss`` or ``probe linear, all labels``, or the beginning of one.
        seed: of the choice of settings.

    Raises:
        UserError: no setting, one given twice, or a folder that holds another sweep.
    """

    def __init__(self, folder: Path, words: Sequence[str], settings: Sequence[Setting], aim: str, seed: int = 0):
        keys = [setting.key for setting in settings]
        if not keys:
            raise UserError("`--vary` must be given, such as `--vary model.mask.ratio=0.4:0.9`.")
        for key in keys:
            if keys.count(key) > 1:
                raise UserError(f"`--vary` must name each option once, but names `{key}` twice.")
        self.folder, self.words, self.settings, self.aim, self.seed = folder, list(words), list(settings), aim, seed
        folder.mkdir(parents=True, exist_ok=True)
        self.study: Any = self._opened()

    def run(self, num_trials: int, say: Any = print) -> None:
        """Trials until ``num_trials`` are done or failed; those that other processes work at are left to them.

        Raises:
            UserError: the first `HOPELESS` all failed.
            KeyboardInterrupt: a trial was stopped; the next call takes it up again.
        """
        while (claimed := self._claimed(num_trials)) is not None:
            number, params, lock = claimed
            try:
                trial = self._trial(number, params)
                told = ", ".join(f"{key} {value}" for key, value in trial.settings.items())
                say(f"[{number + 1}/{num_trials}] {told}", flush=True)
                value, failed = self._worked(trial)
                if failed:
                    self._tell(number, None, failed)
                    say(f"  failed: {failed}", flush=True)
                else:
                    self._tell(number, value, "")
                    say(f"  {self.aimed}: {value:.4g}", flush=True)
            finally:
                lock.release()
            self._give_up()

    @property
    def trials(self) -> list[Trial]:
        """All trials, in order."""
        return [self._trial(one.number, one.params, one) for one in self.study.get_trials(deepcopy=False)]

    @property
    def best(self) -> list[Trial]:
        """Those with a value, the best first."""
        there = [trial for trial in self.trials if trial.value is not None]
        return sorted(there, key=lambda trial: trial.value or 0.0, reverse=not self.less_is_better)

    @property
    def aimed(self) -> str:
        """The whole name of the figure, once a trial is done."""
        return str(self.study.user_attrs.get("aimed", self.aim))

    @property
    def less_is_better(self) -> bool:
        """Of the figure that is aimed at."""
        from optuna.study import StudyDirection

        return bool(self.study.direction == StudyDirection.MINIMIZE)

    def command(self, trial: Trial) -> str:
        """``unmask fit`` with the settings of a trial."""
        options = [f"--{key}={value}" for key, value in trial.settings.items()]
        return " ".join(["unmask fit", *self.words, *options])

    def _opened(self) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        kind = self.aim.split("/")[-1].split()[0]
        direction: Literal["minimize", "maximize"] = "minimize" if kind in ("loss", "score") else "maximize"
        about = {
            "words": self.words,
            "settings": [setting.text for setting in self.settings],
            "aim": self.aim,
            "seed": self.seed,
        }
        with FileLock(self.folder / ".sweep.lock"):
            storage = optuna.storages.RDBStorage(f"sqlite:///{self.folder.resolve() / 'sweep.db'}")
            study = optuna.create_study(
                storage=storage, study_name="sweep", direction=direction, load_if_exists=True, sampler=self._sampler(0)
            )
            before = study.user_attrs.get("about")
            if before is None:
                study.set_user_attr("about", about)
            elif before != about:
                name = next(name for name in about if before.get(name) != about[name])
                raise UserError(
                    f"`{self.folder}` holds another sweep, whose {name} are {_told(before.get(name))}, not "
                    f"{_told(about[name])}; give another `--out`."
                )
        return study

    def _sampler(self, number: int) -> Any:
        """By what earlier trials reached; a sweep that was killed chooses as one that was not."""
        import optuna

        return optuna.samplers.TPESampler(seed=seeds.mix(self.seed, "sweep", number) % 2**32, constant_liar=True)

    def _claimed(self, num_trials: int) -> tuple[int, dict[str, Any], FileLock] | None:
        """A trial to work at, with its lock: one that was left, else a new one; None: no more are needed."""
        from optuna.trial import TrialState

        with FileLock(self.folder / ".sweep.lock"):
            known = self.study.get_trials(deepcopy=False)
            for one in known:
                if one.state == TrialState.RUNNING and (lock := self._lock(one.number)) is not None:
                    return one.number, one.params, lock
            if len(known) >= num_trials:
                return None
            self.study.sampler = self._sampler(len(known))
            asked = self.study.ask({one.key: one.distribution() for one in self.settings})
            lock = self._lock(asked.number)
            assert lock is not None, "a new trial belongs to nobody"
            return asked.number, asked.params, lock

    def _lock(self, number: int) -> FileLock | None:
        locks = self.folder / "locks"
        locks.mkdir(exist_ok=True)
        lock = FileLock(locks / f"{number:04d}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock

    def _trial(self, number: int, params: dict[str, Any], known: Any = None) -> Trial:
        settings = {key: written(value) for key, value in params.items()}
        folder = self.folder / f"trial-{number:04d}"
        if known is None or not known.state.is_finished():
            return Trial(number, folder, settings)
        return Trial(number, folder, settings, known.value, self.study.user_attrs.get(f"failed {number}", ""))

    def _worked(self, trial: Trial) -> tuple[float, str]:
        """The figure that a trial reached, or why it has none."""
        options = [f"--{key}={value}" for key, value in trial.settings.items()]
        if failed := self._called(trial, "fit", *self.words, *options, "--out", trial.folder, "--ckpt_path", "last"):
            return 0.0, failed
        command = self.aim.split()[0]
        if command in listing.RESULTS and (failed := self._called(trial, command, trial.folder)):
            return 0.0, failed
        run = listing.read(trial.folder, trial.folder.name)
        named = self.aim if self.aim in run.figures or self.aim not in listing.RESULTS else _first(run, self.aim)
        name = listing.known(named, list(run.figures))
        if self.study.user_attrs.get("aimed") != name:
            self.study.set_user_attr("aimed", name)
        if (name in run.less_is_better) != self.less_is_better:
            rule = "a loss or a score" if self.less_is_better else "more where it is better"
            raise UserError(f"`--aim {self.aim}` must be {rule}, but `{name}` is not.")
        return run.figures[name], ""

    def _called(self, trial: Trial, *words: Any) -> str:
        """Runs a command of unmask's; why it failed, or nothing."""
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / f"{trial.folder.name}.txt").open("a") as log:
            log.write(f"$ unmask {' '.join(map(str, words))}\n")
            log.flush()
            done = subprocess.run(
                [sys.executable, "-m", "unmask", *map(str, words)], stdout=log, stderr=subprocess.PIPE, text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            log.write(done.stderr)
        if done.returncode in (INTERRUPTED, TERMINATED) or done.returncode < 0:
            raise KeyboardInterrupt
        if done.returncode == GOOD:
            return ""
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        return lines[-1] if lines else f"`unmask {words[0]}` ended with {done.returncode}"

    def _tell(self, number: int, value: float | None, failed: str) -> None:
        from optuna.trial import TrialState

        if failed:
            self.study.set_user_attr(f"failed {number}", failed)
            self.study.tell(number, state=TrialState.FAIL)
        else:
            self.study.tell(number, value)

    def _give_up(self) -> None:
        done = [trial for trial in self.trials if trial.failed or trial.value is not None]
        if len(done) >= HOPELESS and all(trial.failed for trial in done[:HOPELESS]):
            raise UserError(f"The first {HOPELESS} trials failed: {done[0].failed}")


def _first(run: listing.Listed, command: str) -> str:
    """The figure of a command that is aimed at where none is named: of a linear probe on all labels, else the first."""
    names = [name for name in run.figures if name.startswith(f"{command} ")]
    return next((name for name in names if name.startswith("probe linear, all labels")), names[0] if names else command)


def _told(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
