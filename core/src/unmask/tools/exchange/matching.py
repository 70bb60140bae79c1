"""Which format, and which prefix of its names, a file of weights is understood by: those that find the most."""

from __future__ import annotations

from dataclasses import dataclass

from unmask.model import MaskedModel
from unmask.runs.weights import State
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.tools.exchange.format import Format, find_format, formats

OPTIMIZERS = (
    "optimizer", "opt", "optimizer_states", "optimizer_state", "last_optimizer_state", "lr_scheduler", "scaler",
)  # fmt: skip
"""What tensors of a checkpoint that are no model's lie under."""
DEEPEST = 4
"""Most parts of a prefix, such as ``state_dict.module.encoder``."""


@dataclass(frozen=True)
class Reading:
    """One way to understand a file.

    Args:
        name: of the format.
        format: itself.
        prefix: that all names taken share; empty: none.
        num_values: values of the model that are found so.
        rivals: other prefixes under which as many are.
    """

    name: str
    format: Format
    prefix: str = ""
    num_values: int = 0
    rivals: tuple[str, ...] = ()

    def load(self, tensors: State, model: MaskedModel) -> State:
        """The tensors below the prefix, under the model's names."""
        return self.format.load(self.below(tensors), model)

    def below(self, tensors: State) -> State:
        """The tensors below the prefix, without it; an optimiser's are no weights."""
        return _below(tensors, self.prefix)

    def outside(self, tensors: State) -> list[str]:
        """Names of the others."""
        start = self.prefix and f"{self.prefix}."
        return [name for name in tensors if not name.startswith(start) or (not start and _is_optimizers(name))]

    def __str__(self) -> str:
        return f"`{self.name}`" + (f" under `{self.prefix}.`" if self.prefix else "")


def best_reading(model: MaskedModel, tensors: State, name: str | None = None, prefix: str | None = None) -> Reading:
    """The format and prefix under which most values of the model are found; shapes are looked at, no values.

    Args:
        model: whose.
        tensors: of the file.
        name: of the format; None: of all.
        prefix: None: of all that names begin with.

    Raises:
        ValueError: none are found at all, or no name begins so.
        UserError: an unknown format, or one that does not suit the model.
    """
    candidates = _candidates(model, name)
    shapes = {key: tensor.to("meta") for key, tensor in tensors.items()}
    prefixes = _prefixes(shapes)
    if prefix is not None:
        if prefix.rstrip(".") not in prefixes:
            near = quoted(nearest(prefix, prefixes[1:]) or prefixes[1:4])
            raise ValueError(f"no name begins with `{prefix}`; nearest: {near}.")
        prefixes = [prefix.rstrip(".")]
    own = model.state_dict()
    readings = []
    for one in prefixes:
        for key, made in candidates.items():
            given = made.load(_below(shapes, one), model)
            count = sum(x.numel() for n, x in given.items() if n in own and own[n].shape == x.shape)
            readings.append(Reading(key, made, one, count))
    # The first of equals: the shortest prefix. Layouts that are written can compare more (heads, means) than releases.
    best = max(readings, key=lambda reading: (reading.num_values, reading.format.writes))
    if best.num_values == 0:
        raise ValueError(
            f"none of its {len(tensors)} tensors ({quoted(list(tensors)[:2])}, ...) fits the config's model, whose "
            f"encoder is a {type(model.encoder).__name__}."
        )
    rivals = [r.prefix for r in readings if r.num_values == best.num_values and not _nested(r.prefix, best.prefix)]
    return Reading(best.name, best.format, best.prefix, best.num_values, tuple(dict.fromkeys(rivals)))


def _candidates(model: MaskedModel, name: str | None) -> dict[str, Format]:
    if name is None:
        return {n: one for n, one in formats().items() if one.reads and one.refusal(model) is None}
    made = find_format(name)
    if not made.reads:
        readable = quoted(n for n, one in formats().items() if one.reads)
        raise UserError(f"`--format` must hold weights, but `{name}` is a program; there are: {readable}.")
    if refusal := made.refusal(model):
        raise UserError(refusal)
    return {name: made}


def _prefixes(tensors: State) -> list[str]:
    """What names begin with, shortest first, none before all; numbers, and what follows them, belong to a model."""
    found: dict[str, None] = {"": None}
    for name in tensors:
        parts = name.split(".")
        for depth in range(1, min(len(parts), DEEPEST + 1)):
            if parts[depth - 1].isdigit():
                break
            found[".".join(parts[:depth])] = None
    return sorted(found, key=lambda one: one.count(".") + bool(one))


def _below(tensors: State, prefix: str) -> State:
    if not prefix:
        return {name: x for name, x in tensors.items() if not _is_optimizers(name)}
    return {name[len(prefix) + 1 :]: x for name, x in tensors.items() if name.startswith(prefix + ".")}


def _is_optimizers(name: str) -> bool:
    return name.partition(".")[0] in OPTIMIZERS


def _nested(one: str, other: str) -> bool:
    """Whether one prefix lies in the other."""
    return (other + ".").startswith(one + ".") or (one + ".").startswith(other + ".") or not one or not other
