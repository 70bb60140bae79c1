"""Two things that must agree are compared before training: made to agree, or refused in a line, or told.

Model and data are configured apart, so nothing but a comparison tells whether they fit: a tokenizer and a vocabulary,
the rates of sounds and of a front end, lengths, kinds of labels. Each such comparison is an `Agreement`, registered
in the group ``unmask.agreements`` like any component; its docstring is its row in the table of the documentation. A run
is held against those of core and of the packages that its model and its data come from.

What an agreement changes of an option, it notes in ``amended`` of the model or of the data, a dict of values by the
names of options: the ``config.yaml`` of the run has them in place of those given. What a config leaves open may be
filled in before anything is built (`Agreement.fill`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from itertools import count
from typing import Any, ClassVar, Literal

import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from unmask.plugins import registry

GROUP = "unmask.agreements"
_NUMBERS = count()


class Agreement(ABC):
    """One comparison. The docstring says what must agree, and what happens where it does not.

    A subclass is asked about every run of its package, so it first sees whether it has anything to say: the model and
    the data may be anybody's.
    """

    between: ClassVar[tuple[str, str]]
    """The two options or things that are compared: ``("data.sample_rate", "model.tokenizer.frontend")``."""
    otherwise: ClassVar[Literal["refused", "made to agree", "told"]]
    """What happens where they do not agree; what is only told is told by ``fit``, not by ``validate`` and its like."""
    reads_data: ClassVar[bool] = False
    """Whether it must look at samples: then it is asked once the data is loaded, else before."""
    remembers: ClassVar[bool] = False
    """Whether it keeps something in ``model.agreed``, which checkpoints hold: then it is asked again once a checkpoint
    has been loaded. What is kept is numbers, texts, lists and dicts of them; in an entry that is a dict, the
    ``file`` that it names goes along when the model is pushed to the Hub."""

    @classmethod
    def fill(cls, model: Any, data: Any) -> str | None:
        """Fills in what the config of one leaves open and that of the other says, before they are built.

        Configs of runs then say both, so that every command builds the same model.

        Args:
            model: of its config, ``class_path`` and ``init_args`` as attributes; to be changed.
            data: likewise.

        Returns:
            What the user should know: what was filled in. None: nothing was.
        """
        return None

    @abstractmethod
    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        """Compares.

        Returns:
            What the user should know: what was made to agree, or what is odd. None: they agree.

        Raises:
            ValueError: they do not, in a sentence with both options, both values and the nearest valid choice.
        """

    def check_other(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        """Compares a trained model with other data than it was trained on, as `check` does, but for what such a model
        can be given beyond that, such as images of another size."""
        return self.check(model, data)


def check(model: L.LightningModule, data: Any, loaded: bool, resumed: bool = False, other: bool = False) -> None:
    """Holds a model and its data against every agreement that concerns them, each once.

    Args:
        model: what is trained, or looked at.
        data: what it is given; anything but a data module is not compared.
        loaded: whether the data has been read; if not, agreements that look at samples are left for later.
        resumed: whether a checkpoint was loaded since: then those that remember something are asked again.
        other: whether a trained model is given data that may be other than it was trained on.

    Raises:
        ValueError: two things do not agree.
    """
    if not isinstance(data, L.LightningDataModule):
        return
    looking = data.trainer is not None and data.trainer.state.fn != "fit"
    done: set[tuple[str, int]] = model.__dict__.setdefault("_agreed", set())
    for name, one, member in [("", model, data), *_by_part(model, data)]:
        number = member.__dict__.setdefault("_agreement_number", next(_NUMBERS))  # no `id`, which the next one may have
        before = f"Of the part `{name}`: " if name else ""
        for component in concerning(one, member):
            kind = component.load()
            key = component.class_path, number
            again = resumed and kind.remembers
            if (
                (key in done and not again)
                or (kind.reads_data and not loaded)
                or (kind.otherwise == "told" and looking)
            ):
                continue
            try:
                told = (kind().check_other if other else kind().check)(one, member)
            except ValueError as error:
                if not name:
                    raise
                raise ValueError(f"{before}{error}") from error
            done.add(key)
            if told:
                rank_zero_only(print)(f"{before}{told}", flush=True)


class PartOf(nn.Module):
    """A model as the data of one of its parts sees it: with that part's tokenizer and encoder."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.tokenizer = model.tokenizer.tokenizers[name]
        self.encoder = model.encoder.encoders[name]
        self.agreed = model.agreed.setdefault(f"part {name}", {})


def _by_part(model: Any, data: Any) -> Iterator[tuple[str, Any, Any]]:
    """Parts of a model and the data modules that feed them, where samples are joined (`unmask.data.DataByPart`)."""
    tokenizers, encoders = (
        getattr(getattr(model, part, None), parts, {})
        for part, parts in (("tokenizer", "tokenizers"), ("encoder", "encoders"))
    )
    for name, member in getattr(data, "members", {}).items():
        if name in tokenizers and name in encoders:
            yield name, PartOf(model, name), member


def fill(model: Any, data: Any) -> list[str]:
    """Fills in what the configs of a model and its data leave open, by `Agreement.fill` of their packages.

    Args:
        model: with ``class_path`` and ``init_args``; anything else is left alone.
        data: likewise.

    Returns:
        What was filled in, a line each.
    """
    paths = [str(config.class_path) for config in (model, data) if hasattr(config, "init_args")]
    if len(paths) < 2:
        return []
    told = [one.load().fill(model, data) for one in _of({path.partition(".")[0] for path in paths})]
    return [line for line in told if line]


def concerning(model: nn.Module, data: L.LightningDataModule) -> list[registry.Component]:
    """The agreements of the packages that the model, its parts and the data come from."""
    kinds = {type(model), type(data), *map(type, model.children())}
    return _of({base.__module__.partition(".")[0] for kind in kinds for base in kind.__mro__})


def _of(packages: Collection[str]) -> list[registry.Component]:
    return [
        component
        for component in registry.components()
        if component.group == GROUP and component.value.partition(":")[0].partition(".")[0] in packages
    ]
