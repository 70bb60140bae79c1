"""The first of two stages: a run of its own on the same data, trained by its recipe and read back when finished."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import lightning as L
import yaml
from torch import Tensor, nn

from unmask.agreements import Agreement
from unmask.configs.building import build
from unmask.plugins import registry
from unmask.runs.alike import config_of, difference
from unmask.runs.checkpoints import read_checkpoint
from unmask.runs.folders import holds_a_run, is_finished, is_in_use, newest_checkpoint
from unmask.runs.launched import alone
from unmask.runs.match import load_weights
from unmask.runs.records import RunFolder

ASKED = "first-stage.yaml"
"""What a first stage is asked for beside its recipe: its data, and what its model must have. Lies in its folder."""


class FirstStage:
    """A run that a method needs before its own, of the same data and the same tokenizer.

    Args:
        name: what the method's options begin with: ``dvae`` for ``dvae_run`` and ``dvae_recipe``.
        method: of that run, by its registered name.
        run: folder of the run; None: there is none.
        recipe: recipe or file that trains the run when it is not finished; None: none does.
        settings: options of the run's model that follow from the method's own, as a config has them.
    """

    def __init__(
        self, name: str, method: str, run: str | None, recipe: str | None, settings: Mapping[str, Any]
    ) -> None:
        self.name, self.method = name, method
        self.run_option, self.recipe_option = f"{name}_run", f"{name}_recipe"
        self.run = None if run is None else Path(run)
        self.recipe = recipe
        self.settings = dict(settings)
        self._compared = False

    def ensure(self, model: L.LightningModule) -> None:
        """Trains the run, or carries on what lies there, unless it is finished.

        It is trained on the data of ``model``'s own run: in the recipe's batches where that is the recipe's data, else
        in those of ``model``'s run. It is a command of its own, so neither random numbers nor loggers of two runs meet.

        Raises:
            ValueError: as `compare`; training it failed; or no config can say what data to train it on.
        """
        if self.run is None or model.trainer.state.fn != "fit":
            return
        if told := self.compare(model):
            print(told, flush=True)
        if is_in_use(self.run):
            print(f"First stage: waiting for the run that writes to {self.run}.", flush=True)
            while is_in_use(self.run):
                time.sleep(1)
        if self.recipe is not None and not is_finished(self.run):
            self._train(self.run, self.recipe, model.trainer)

    def compare(self, model: L.LightningModule) -> str | None:
        """What to say of the run that lies there, once; None: no run does.

        Raises:
            ValueError: it is of another tokenizer; or of other data, where ``recipe`` says what it should be.
        """
        if self.run is None or self._compared or not holds_a_run(self.run):
            return None
        self._compared = True
        first, its_data = build(self.run / "config.yaml", 0)
        own = getattr(model.tokenizer, "patches", model.tokenizer)  # one that builds on a first stage has it inside
        if odd := difference(first.tokenizer, own):
            raise ValueError(
                f"`{self.run_option}` must be a run with this run's tokenizer, but {self.run} has {odd}; give another "
                "folder, or delete it."
            )
        data = model.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            return f"First stage: {self.run}; whether it was trained on the data of this run is not known."
        odd = difference(its_data, data)
        if odd is None:
            return f"First stage: {self.run}, trained on the same data."
        if self.recipe is None:
            return f"First stage: {self.run}, trained on other data: {odd}."
        anyway = f", or set `{self.recipe_option}` to null to take it as it is" if is_finished(self.run) else ""
        raise ValueError(
            f"`{self.run_option}` must be a run on the same data, but {self.run} was trained on {odd}; give another "
            f"folder, {'' if anyway else 'or '}delete it{anyway}."
        )

    def weights(self) -> tuple[dict[str, Tensor], Path] | None:
        """Weights of the encoder of the finished run, by name, and the file that they were read from; None: it is not.

        Raises:
            UserError: the file is none of ``unmask fit``, or damaged.
        """
        if self.run is None or not is_finished(self.run):
            return None
        file = newest_checkpoint(self.run)
        assert file is not None
        state = read_checkpoint(file)["state_dict"]
        return {name.removeprefix("encoder."): x for name, x in state.items() if name.startswith("encoder.")}, file

    def give(self, encoder: nn.Module) -> bool:
        """Puts the weights of the finished run into an encoder of its kind; whether there is such a run.

        Raises:
            UserError: as `weights`, or they do not fit.
        """
        found = self.weights()
        if found is not None:
            load_weights(encoder, found[0], f"`{found[1]}`", f"`{self.name}`")
        return found is not None

    def needed(self, encoder: nn.Module) -> None:
        """As `give`, of a run that must be there.

        Raises:
            ValueError: it is not.
            UserError: as `give`.
        """
        if self.give(encoder):
            return
        run = None if self.run is None else str(self.run)
        raise ValueError(
            f"`{self.run_option}` must be the folder of a finished run of `{self.method}`, or `{self.recipe_option}` "
            f"must make one there, but they are {run!r} and {self.recipe!r}."
        )

    def _train(self, folder: Path, recipe: str, trainer: L.Trainer) -> None:
        file = Path(recipe) if Path(recipe).is_file() else registry.find(recipe, registry.RECIPES).path()
        asked: dict[str, Any] = {"model": {"init_args": self.settings}} if self.settings else {}
        if data := self._other_data(file, trainer):
            asked["data"] = data
        command = ["fit", "--config", recipe]
        if asked:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ASKED).write_text(yaml.safe_dump(asked, sort_keys=False))
            command += ["--config", str(folder / ASKED)]
        command += ["--out", str(folder)]
        if newest_checkpoint(folder) is not None:
            command += ["--ckpt_path", "last"]
        print(f"First stage, on the same data: unmask {' '.join(command)}", flush=True)
        done = subprocess.run([sys.executable, "-m", "unmask", *command], check=False, env=alone())
        if done.returncode or not is_finished(folder):
            raise ValueError(f"The first stage must be trained, but `unmask {' '.join(command)}` did not finish.")
        self._compared = True

    def _other_data(self, recipe: Path, trainer: L.Trainer) -> dict[str, Any] | None:
        """The ``data`` entry of a config for the data of ``trainer``; None: the recipe has it."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        try:
            if data is None:
                raise ValueError("the trainer was given loaders, not a data module")
            if difference(build(recipe, 0)[1], data) is None:
                return None
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, RunFolder):  # a command made the data, from a config
                    return dict(yaml.safe_load(callback.config)["data"])
            return config_of(data)
        except ValueError as error:
            raise ValueError(
                f"`{self.recipe_option}` must be left out where a command cannot make this run's data: {error}; train "
                f"the first stage before, and give its folder as `{self.run_option}`."
            ) from error


class SameFirstStage(Agreement):
    """The data and the tokenizer of a first stage must be those of the run that builds on it. One that is not trained
    yet is trained on them; a finished one of other data or another tokenizer is refused, or told where no recipe says
    how it is trained.
    """

    between: ClassVar[tuple[str, str]] = ("model.…_run", "data")
    otherwise: ClassVar[Literal["refused", "made to agree", "told"]] = "refused"
    reads_data = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        stage = getattr(model, "first_stage", None)
        trainer = getattr(model, "_trainer", None)
        if not isinstance(stage, FirstStage) or trainer is None or trainer.state.fn != "fit":
            return None  # a run that is looked at has what its first stage gave
        return stage.compare(model)
