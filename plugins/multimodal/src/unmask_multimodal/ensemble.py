"""``unmask multimodal-ensemble RUN``: answers for a hidden part, averaged over masks of the others (PHG-MAE)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask import Draws, Mask, MaskedModel, Prediction, Step, Tokens, seeds
from unmask.api import GOOD, Arguments, UserError, checked_device, evaluating, load_run, one_of, whole_number
from unmask_multimodal.masks import WholePartMask


class Averaged(NamedTuple):
    """How far averaged answers are from the right ones.

    Args:
        num_masks: K, how many answers are averaged.
        loss: mean over samples.
        error: its standard error.
        samples: how many.
    """

    num_masks: int
    loss: float
    error: float
    samples: int


def run(command: str, arguments: list[str]) -> int:
    """The loss of one part, hidden whole, by the number of masks, on the data that the run held out."""
    parser = Arguments(command, "The loss of one part, hidden whole, when answers under several masks are averaged.")
    parser.add_argument("run", help="a run folder of a method over several parts, or a checkpoint in one")
    parser.add_argument("--part", required=True, help="that is hidden and answered for")
    parser.add_argument("--num_masks", default="1,2,4,8", help="numbers of masks; default: 1,2,4,8")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)
    counts = sorted({whole_number("--num_masks", word) for word in given.num_masks.split(",")})
    device = checked_device(given.device)

    trained = load_run(given.run)
    model = trained.model.to(device)
    found = ensembles(model, trained.datamodule.val_dataloader(), given.part, counts)
    print(f"{trained.about} Loss of `{given.part}`, hidden whole, its answers averaged over masks of the other parts:")
    for one in found:
        print(f"{one.num_masks:6} masks  {one.loss:.4f} +- {one.error:.4f}  ({one.samples} samples)")
    return GOOD


@torch.no_grad()
def ensembles(model: MaskedModel, batches: Iterable[Any], part: str, counts: list[int]) -> list[Averaged]:
    """The loss of averaged answers, for each of these numbers of masks; more masks begin with those of fewer.

    Raises:
        UserError: a part that the model does not know, or one that it does not predict.
    """
    losses: dict[int, list[Tensor]] = {count: [] for count in counts}
    with evaluating(model):
        for batch in batches:
            batch = _moved(batch, model.device)
            tokens = model.tokenizer(batch)
            one_of("--part", part, list(tokens.parts or ()))
            total: Tensor | float = 0.0
            for number in range(max(counts)):
                step = answered_under(model, batch, drawn(tokens, batch, part, number))
                if step.prediction is None or part not in (step.prediction.parts or {}):
                    raise UserError(
                        f"`run` must be of a method that predicts `{part}`, but {type(model).__name__} does not."
                    )
                answers = step.prediction.part(part)
                total = total + answers.values
                if number + 1 in losses:
                    losses[number + 1].append(_by_sample(model, answers, total / (number + 1), step.target[part], part))
    return [_averaged(count, torch.cat(found)) for count, found in losses.items()]


def drawn(tokens: Tokens, batch: Any, part: str, number: int) -> Mask:
    """One of the masks: the part hidden whole, each other part with a chance of a half, never all."""
    index = batch.get("index")
    index = torch.arange(tokens.num_samples) if index is None else index
    draws = Draws.of(seeds.mix("ensemble", number), index.to(tokens.device))
    made: Mask = WholePartMask(0.5, always=(part,))(tokens, draws=draws)
    return made


def answered_under(model: MaskedModel, batch: Any, mask: Mask) -> Step:
    """A step of validation with this mask."""
    hook = model.mask.register_forward_hook(lambda module, inputs, made: mask)
    try:
        return model.step(batch, seeds.mix("validate"))
    finally:
        hook.remove()


def _by_sample(model: MaskedModel, answers: Prediction, values: Tensor, target: Tensor, part: str) -> Tensor:
    """Mean loss of each sample ``[B]``."""
    averaged = Prediction(values, answers.asked)
    if model.loss.joint:
        losses = model.loss(Prediction.join({part: averaged}), {part: target}).per_token
    else:
        losses = model.loss(averaged, target).per_token
    valid = answers.asked.valid
    real = torch.ones_like(losses, dtype=torch.bool) if valid is None else valid
    return losses.double().masked_fill(~real, 0).sum(1) / real.sum(1)


def _averaged(count: int, losses: Tensor) -> Averaged:
    losses = losses[~losses.isnan()]
    return Averaged(count, float(losses.mean()), float(losses.std() / len(losses) ** 0.5), len(losses))


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _moved(one, device) for name, one in batch.items()}
    return batch
