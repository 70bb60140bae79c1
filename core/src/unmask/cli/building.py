"""Model and data of a command line as ``unmask fit`` takes it, without a trainer or a run folder."""

from __future__ import annotations

from typing import Any

from unmask import agreements
from unmask.cli import fit as training
from unmask.configs.errors import message_of
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.support.errors import UserError


def built(command: str, words: list[str]) -> tuple[MaskedModel, MaskedDataModule] | None:
    """What ``words`` describe.

    Args:
        command: what to call the command in a message.
        words: options of ``unmask fit``.

    Returns:
        A freshly initialised model and its data; None after ``--print_config``.

    Raises:
        UserError: anything that ``unmask fit`` would refuse, or parts that mask nothing.
    """
    made: list[Building] = []

    def kind(*args: Any, **kwargs: Any) -> Building:
        made.append(Building(*args, **kwargs))
        return made[-1]

    training.run(command, words, kind)
    if not made:
        return None
    model, datamodule = made[0].model, made[0].datamodule
    for option, part, family in (("--model", model, MaskedModel), ("--data", datamodule, MaskedDataModule)):
        if not isinstance(part, family):
            raise UserError(f"`{option}` must be a {family.__name__} here, but is a {type(part).__name__}.")
    try:
        agreements.check(model, datamodule, loaded=False)
    except ValueError as error:
        raise UserError(message_of(error)) from error
    return model, datamodule


class Building(training.Training):
    """Parses and builds as a run would, and stops there."""

    def before_instantiate_classes(self) -> None:
        """No run folder is made."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """None is needed."""

    def go(self) -> None:
        """Nothing is run."""
