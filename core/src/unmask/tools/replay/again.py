"""A kept step, taken again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from torch import Tensor

from unmask.configs.building import build
from unmask.model import MaskedModel
from unmask.runs.match import load_weights
from unmask.runs.not_finite import FOLDER, kept
from unmask.runs.weights import read_torch
from unmask.schedules import Progress
from unmask.support.errors import UserError
from unmask.support.nearest import quoted
from unmask.tools.replay.watch import Watch
from unmask.training.guard import not_finite


class Replayed(NamedTuple):
    """What came of it.

    Args:
        folder: of the step.
        about: what ``about.json`` says.
        loss: now.
        gradients_finite: whether all gradients are; None: the loss is not, so none were asked for.
        odd: numbers of samples that hold values that are not finite.
        odd_weights: names of weights that were not finite before the step.
        watch: what the modules did.
    """

    folder: Path
    about: dict[str, Any]
    loss: float
    gradients_finite: bool | None
    odd: list[int]
    odd_weights: list[str]
    watch: Watch

    @property
    def again(self) -> bool:
        """Whether it is not finite this time either."""
        return not self.gradients_finite


def replay(run: Path, step: int | None = None, device: torch.device | str = "cpu") -> list[Replayed]:
    """Takes a kept step again, the part of each process after the other.

    Args:
        run: the run folder.
        step: which; None: the first that was kept.
        device: where to compute. Masks are the same everywhere; dropout is so on one kind of device.

    Raises:
        UserError: no such step, or files that are not what a run writes.
    """
    names = kept(run)
    if not names:
        raise UserError(f"`{run}` holds no step that was not finite: there is no `{FOLDER}/step-*` in it.")
    steps = list(dict.fromkeys(int(name.split("-")[1]) for name in names))
    if step is not None and step not in steps:
        raise UserError(f"`--step` must be one that was kept, {quoted(map(str, steps))}, but is {step}.")
    chosen = [run / FOLDER / name for name in names if int(name.split("-")[1]) == (step or steps[0])]
    whole = [folder for folder in chosen if (folder / "about.json").is_file()]
    state_file = chosen[0] / "state.pt"
    if not whole or not state_file.is_file():
        raise UserError(f"`{chosen[0]}` is not whole: the run ended while it was written.")
    state = read_torch(state_file)
    return [_taken(folder, run, state_file, state, torch.device(device)) for folder in whole]


def _taken(folder: Path, run: Path, state_file: Path, state: Any, device: torch.device) -> Replayed:
    about = _about(folder / "about.json")
    if about["left_out"]:
        raise UserError(
            f"`{folder}` cannot be taken again: {quoted(about['left_out'])} of its batch could not be saved."
        )
    model, _ = build(run / "config.yaml", about["seed"])
    model.agreed.update(state["agreed"])
    load_weights(model, state["state_dict"], f"`{state_file}`", f"`{run / 'config.yaml'}`")
    odd_weights = [name for name, one in state["state_dict"].items() if not bool(torch.as_tensor(one).isfinite().all())]
    batch = read_torch(folder / "batch.pt")

    precision = _precision(about["precision"], device)
    precision.convert_module(model)
    model.to(device).train()
    model.seed, model.standing = about["seed"], Progress(**about["progress"])
    watch = Watch(model)
    with watch.watching(), torch.enable_grad():
        with precision.forward_context():
            total = _loss(model, _moved(precision.convert_input(batch), device), about)
        finite = None
        if bool(total.isfinite()):
            (total / about["accumulate_grad_batches"]).backward()
            finite = all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    return Replayed(folder, about, float(total.detach()), finite, not_finite(batch), odd_weights, watch)


def _loss(model: MaskedModel, batch: Any, about: dict[str, Any]) -> Tensor:
    return model.trained_on(batch, about["batch_idx"], about["epoch"], about["rank"]).loss.total


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(one, device) for key, one in value.items()}
    return type(value)([_moved(one, device) for one in value]) if isinstance(value, list | tuple) else value


def _precision(name: str, device: torch.device) -> Precision:
    """Lightning's own, also where its trainer takes another on a CPU."""
    if name in ("16-mixed", "bf16-mixed"):
        return MixedPrecision(name, device.type)  # type: ignore[arg-type]
    if name in ("16-true", "bf16-true"):
        return HalfPrecision(name)  # type: ignore[arg-type]
    if name in ("64-true", "32-true"):
        return DoublePrecision() if name == "64-true" else Precision()
    raise UserError(f"The precision `{name}` of the run cannot be had here: its step cannot be taken again.")


_WHOLE = ("step", "epoch", "batch_idx", "rank", "world_size", "seed", "accumulate_grad_batches")


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text("utf-8"))
        fits = all(type(about[key]) is int for key in _WHOLE) and isinstance(about["left_out"], list)
        fits = fits and isinstance(about["progress"], dict) and bool(Progress(**about["progress"]))
        fits = fits and all(isinstance(about[key], str) for key in ("what", "loss", "precision", "device"))
        fits = fits and isinstance(about["index"], list) and isinstance(about["names"], dict)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"`{path}` is not what a run writes: {error!r}.") from error
    if not fits:
        raise UserError(f"`{path}` is not what a run writes.")
    return about
