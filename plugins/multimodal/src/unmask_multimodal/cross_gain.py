"""``unmask multimodal-cross-gain RUN``: does what is seen of one part help to answer for another?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask import Mask, MaskedModel, Step, Tokens, seeds
from unmask.api import GOOD, Arguments, UserError, checked_device, evaluating, load_run


class Gain(NamedTuple):
    """What one part gives to another.

    ``gain = mean over samples of (loss with another sample's part - loss with its own)``

    Args:
        asked: the part whose hidden places are asked.
        given: the part that is exchanged between samples.
        own: mean loss at those places where the given part is the sample's own.
        other: mean loss where it is another sample's.
        gain: their difference; 0: nothing crosses from one part to the other.
        error: standard error of the gain, over samples.
        samples: how many are asked anything of the part.
    """

    asked: str
    given: str
    own: float
    other: float
    gain: float
    error: float
    samples: int


def run(command: str, arguments: list[str]) -> int:
    """All ordered pairs of parts, on the data that the run held out, with the run's own masks."""
    parser = Arguments(command, "How much worse answers for a part are when another part is another sample's.")
    parser.add_argument("run", help="a run folder of a method over several parts, or a checkpoint in one")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)
    device = checked_device(given.device)

    trained = load_run(given.run)
    found = cross_gains(trained.model.to(device), trained.datamodule.val_dataloader())
    print(f"{trained.about} Loss at hidden places of a part, with the sample's own other part and with another's:")
    print(f"{'asked':>12} {'given':>12} {'own':>9} {'another':>9} {'gain':>9} {'+-':>8} {'samples':>8}")
    for one in found:
        losses = f"{one.own:9.4f} {one.other:9.4f} {one.gain:+9.4f} {one.error:8.4f}"
        print(f"{one.asked:>12} {one.given:>12} {losses} {one.samples:8}")
    return GOOD


@torch.no_grad()
def cross_gains(model: MaskedModel, batches: Iterable[Any]) -> list[Gain]:
    """Of every ordered pair of parts.

    A sample gets the part of the next one of its batch, at the places where its own was visible; the mask comes with
    the part only where that has padding. Masks are drawn as in validation. A batch of one sample is left out.

    Raises:
        UserError: a model that does not predict several parts, or no batch of two samples.
    """
    own: dict[str, list[Tensor]] = {}
    other: dict[tuple[str, str], list[Tensor]] = {}
    with evaluating(model):
        for number, batch in enumerate(batches):
            batch = _moved(batch, model.device)
            step, masks = _step(model, batch, number)
            names = list(step.tokens.parts or {})
            if step.prediction is None or len(names) < 2:
                raise UserError(f"`run` must be of a method that predicts parts, but is of {type(model).__name__}.")
            if step.tokens.num_samples < 2:
                continue
            for name, losses in losses_of(step).items():
                own.setdefault(name, []).append(losses)
            for given in names:
                step, _ = _step(model, batch, number, given, masks)
                for name, losses in losses_of(step).items():
                    if name != given:
                        other.setdefault((name, given), []).append(losses)
    if not own:
        raise UserError("The held-out data must have a batch of two samples or more, but have none.")
    return [_gain(*pair, torch.cat(own[pair[0]]), torch.cat(losses)) for pair, losses in sorted(other.items())]


def exchanged(tokens: Tokens, name: str) -> Tokens:
    """Joint tokens of which each sample has the part of this name of the next one."""
    part = tokens.part(name)
    if part.offsets is not None:
        raise UserError(f"`{name}` must be dense to be exchanged, but is packed; set `pack` of its data to false.")
    turned = _turned(part, "values", "positions", "valid")
    return Tokens.join({**(tokens.parts or {}), name: replace(part, **turned)})


def exchanged_mask(mask: Mask, name: str) -> Mask:
    """The mask that goes with `exchanged` tokens."""
    part = mask.part(name)
    if part.valid is None:
        return mask
    turned = _turned(part, "hidden", "predict", "valid", "show", "donor", "weight")
    whole = Mask.join({**(mask.parts or {}), name: replace(part, **turned)})
    return replace(whole, num_hidden=mask.num_hidden, draws=mask.draws)


def _turned(part: Tokens | Mask, *fields: str) -> dict[str, Any]:
    """What a part has under these names, of each sample that of the next one."""
    return {field: getattr(part, field).roll(-1, 0) for field in fields if getattr(part, field) is not None}


def losses_of(step: Step) -> dict[str, Tensor]:
    """Of each part, the mean loss of each sample over its asked places ``[B]``; nan where it is asked nothing."""
    parts = step.prediction.parts or {}
    counts = [one.asked.index[0].numel() for one in parts.values()]
    found = {}
    for (name, answers), losses in zip(parts.items(), step.loss.per_token.split(counts, dim=1), strict=True):
        valid = answers.asked.valid
        real = torch.ones_like(losses, dtype=torch.bool) if valid is None else valid.flatten(1)
        found[name] = losses.double().masked_fill(~real, 0).sum(1) / real.sum(1)
    return found


def _step(
    model: MaskedModel, batch: Any, number: int, given: str | None = None, masks: Sequence[Mask] = ()
) -> tuple[Step, list[Mask]]:
    """A step of validation and its masks; or one where a part is another sample's, with the masks of the first."""
    drawn: list[Mask] = []

    def tokens_made(module: Any, inputs: Any, tokens: Tokens) -> Tokens:
        return tokens if given is None else exchanged(tokens, given)

    def mask_made(module: Any, inputs: Any, mask: Mask) -> Mask:
        drawn.append(mask if given is None else exchanged_mask(masks[len(drawn)], given))
        return drawn[-1]

    hooks = [model.tokenizer.register_forward_hook(tokens_made), model.mask.register_forward_hook(mask_made)]
    try:
        return model.step(batch, seeds.mix("validate", number)), drawn
    finally:
        for hook in hooks:
            hook.remove()


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _moved(one, device) for name, one in batch.items()}
    return batch


def _gain(asked: str, given: str, own: Tensor, other: Tensor) -> Gain:
    known = ~own.isnan() & ~other.isnan()
    own, other = own[known], other[known]
    more = other - own
    error = more.std() / len(more) ** 0.5 if len(more) > 1 else torch.tensor(float("nan"))
    return Gain(asked, given, float(own.mean()), float(other.mean()), float(more.mean()), float(error), len(more))
