"""What a layout of another library must do so that encoders travel to it and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from unmask.model import MaskedModel
from unmask.plugins.inspection import callable_as_its_family
from unmask.plugins.registry import BrokenPluginError, Component, UnknownNameError, components, find
from unmask.runs.weights import State
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted

GROUP = "unmask.formats"


@dataclass(frozen=True)
class Export:
    """What is written.

    Args:
        model: in evaluation mode; the encoder of its `embedder` is what travels.
        config: text of the run's ``config.yaml``.
        seed: of the run.
        step: optimiser steps done.
        batch: gives a raw batch of at least two samples, for formats that trace a program.
        pool: as in `Latent.pool`, for those that trace a program; None: all codes.
    """

    model: MaskedModel
    config: str
    seed: int
    step: int
    batch: Callable[[], Any]
    pool: str | None = "mean"


class Format(ABC):
    """A layout of weights, or of a program, registered in the group ``unmask.formats``.

    Export calls `refusal`, `save` and, of a layout of weights, `load` on what was saved: every tensor
    must come back as it was before the file is put in place.
    """

    suffix: ClassVar[str] = ""
    """Of its files, such as ``.onnx``; empty: it is a folder."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Modules that it imports beyond its package's own dependencies."""

    install: ClassVar[str] = ""
    """What to ``pip install`` for them."""

    reads: ClassVar[bool] = True
    """Whether weights come back from it; False for programs."""

    writes: ClassVar[bool] = True
    """Whether encoders are written in it; False for the names of a repository (`Release`)."""

    @abstractmethod
    def refusal(self, model: MaskedModel) -> str | None:
        """Why this layout has no place for the model's encoder, as a sentence that names what would; None: it has.

        Cheap: asked of every format that is installed.
        """

    @abstractmethod
    def save(self, export: Export, out: Path) -> str:
        """Write ``out``, a file or a folder that is not there yet.

        Returns:
            What was checked of it, as a sentence; may be empty.

        Raises:
            ValueError: what was written does not compute what it should, or cannot be written.
        """

    @abstractmethod
    def usage(self, export: Export, out: Path) -> str:
        """Lines of Python that load ``out`` in the other library."""

    def load(self, weights: State, model: MaskedModel) -> State:
        """The other library's tensors under the names of ``model.state_dict()``.

        Names that mean nothing here stay as they are, and are reported. Called with tensors on the
        ``meta`` device as well, so values must not be looked at.

        Args:
            weights: by the other library's names.
            model: whose encoder, or more, they are for.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be read back.")

    def unheld(self, model: MaskedModel) -> set[str]:
        """Names of ``model.encoder.state_dict()`` that this layout has no place for, such as a mask token's."""
        return set()

    def unheld_of_predictor(self, model: MaskedModel) -> set[str]:
        """Likewise, names of ``model.predictor.state_dict()``."""
        return set()

    def check(self, source: Path, model: MaskedModel) -> list[str]:
        """Compares what lies beside the weights with the model: sentences on what the user should know.

        Args:
            source: the folder that the weights were read from.
            model: that they are for.

        Raises:
            ValueError: the codes would be others, though all tensors fit, as with another number of heads.
        """
        return []

    def agree(self, weights: State, settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
        """Compares values that are fixed here, and the file's settings, with the model: sentences for the user.

        Args:
            weights: as for `load`, with values.
            settings: numbers and texts that the checkpoint holds beside its tensors, such as ``args.norm_pix_loss``.
            model: that the weights are for.

        Raises:
            ValueError: the codes would be others, though all tensors fit, as with other positions.
        """
        return []

    def resize(self, name: str, tensor: Tensor, model: MaskedModel) -> Tensor | None:
        """A position table of another size, made to fit ``model.state_dict()[name]``; None: it is none.

        Called when the user asks for it, and reported.
        """
        return None


def find_format(name: str) -> Format:
    """The format registered under ``name``, ready for use.

    Raises:
        UserError: there is none, it is broken, or what it needs is not installed.
    """
    try:
        component = find(name, GROUP)
    except UnknownNameError as error:
        names = [component.name for component in components() if component.group == GROUP]
        near = quoted(nearest(name, names) or names)
        raise UserError(f"`--format` must be one of {', '.join(names)}, but is `{name}`; nearest: {near}.") from error
    made = _made(component)
    if missing := absent(made):
        raise UserError(f"`{name}` needs {quoted(missing)}, which is not installed: pip install '{made.install}'.")
    return made


def absent(made: Format) -> list[str]:
    """Modules that a format needs and that are not installed."""
    return [module for module in made.needs if util.find_spec(module) is None]


def formats() -> dict[str, Format]:
    """All that are installed with what they need, by name; a broken plugin's are left out, as `unmask doctor` says."""
    made: dict[str, Format] = {}
    for component in components():
        if component.group == GROUP:
            with suppress(BrokenPluginError):
                made[component.name] = _made(component)
    return {name: one for name, one in made.items() if not absent(one)}


def _made(component: Component) -> Format:
    made: type[Format] = callable_as_its_family(component)
    try:
        return made()
    except Exception as error:  # a plugin may fail in any way
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise BrokenPluginError(f"`{component.name}` of {component.distribution} cannot be made: {told}") from error
