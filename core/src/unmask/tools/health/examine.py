"""A check-up of one model on one batch: what its codes, its targets and its losses look like right now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask import seeds
from unmask.joint import step_of_one_part
from unmask.model import MaskedModel, Step
from unmask.structures import Latent, Mask, Tokens
from unmask.tools.features.labels import real_tokens
from unmask.tools.features.vectors import evaluating
from unmask.tools.health.measures import Spread, constant_loss, perplexity

MAX_TOKENS = 256
"""Token codes measured: more cost a larger decomposition and tell no more."""


class Checkup(NamedTuple):
    """What `check_up` found.

    Args:
        numbers: to be logged, by name.
        pooled: of the mean codes of samples.
        tokens: of the codes of single tokens.
        target: of the samples' mean targets; None: targets are class ids, or asked places alone have one.
        gain: share of a constant answer's loss that the model has done away with; None: there is no such loss.
    """

    numbers: dict[str, float]
    pooled: Spread
    tokens: Spread
    target: Spread | None
    gain: float | None


@torch.no_grad()
def check_up(model: MaskedModel, batch: Any) -> Checkup:
    """Examine ``model`` in evaluation mode; its mode and all generators are left as they were.

    ``numbers`` has, of `MaskedModel.embedder` with nothing hidden: ``effective_rank`` (RankMe),
    ``centered_rank`` and ``feature_std`` of the samples' mean codes, ``token_rank`` and ``token_std`` of
    single tokens' codes; ``target_rank`` and ``target_std`` of the samples' mean targets; ``loss_hidden``
    where the step asks, under a mask that is the same each time; ``loss_visible`` at the places that are
    shown, where the predictor can answer there; ``gain`` over a constant answer. Where targets are class ids
    ``[B, M]``: ``target_perplexity``, ``predicted_perplexity`` and ``codebook_use``, the share of classes that occur.

    Args:
        model: whose parts are on the device of ``batch``.
        batch: of the model's tokenizer.
    """
    with evaluating(model):
        whole = model.step(batch, seeds.mix("health"))
        step, embedder = step_of_one_part(whole), model.embedder
        places = whole.tokens if embedder.tokenizer is model.tokenizer else embedder.tokenizer(batch)
        latent = embedder.coded(places)
        target, loss_visible = _beyond_the_step(model, step)
    pooled = Spread.of(latent.pool("mean").float())
    first = next(iter(latent.parts)) if latent.parts is not None and latent.values is None else None
    of_one = (latent, places) if first is None else (latent.part(first), places.part(first))  # parts of several widths
    tokens = Spread.of(_some(of_one[0].values, of_one[1]).float())
    numbers = {
        "effective_rank": pooled.effective_rank,
        "centered_rank": pooled.centered_rank,
        "feature_std": pooled.feature_std,
        "token_rank": tokens.effective_rank,
        "token_std": tokens.feature_std,
    }
    if target is not None:
        numbers |= {"target_rank": target.effective_rank, "target_std": target.deviation}
    if step.prediction is None:  # a method that predicts nothing
        return Checkup(numbers, pooled, tokens, None, None)
    if not step.target.is_floating_point():
        numbers |= _use_of_classes(step)

    # of places, not the total, to which a method may add other losses
    asked = step.mask.asked
    real = torch.ones_like(asked.index, dtype=torch.bool) if asked.valid is None else asked.valid
    hidden = float(step.loss.per_token[real].mean())
    numbers["loss_hidden"] = hidden
    if loss_visible is not None:
        numbers["loss_visible"] = loss_visible
    if model.loss.joint:  # its losses of parts compare joint answers alone
        return Checkup(numbers, pooled, tokens, target, None)
    given = step.given if step.given is not None and step.given.shown.tokens.parts is None else None
    constant = constant_loss(model.loss, step.prediction, step.target, _num_places(step), given)
    gain = 1 - hidden / constant if constant > 0 else None
    if gain is not None:
        numbers["gain"] = gain
    return Checkup(numbers, pooled, tokens, target, gain)


def _beyond_the_step(model: MaskedModel, step: Step) -> tuple[Spread | None, float | None]:
    """Targets of all places, where they can be had, and the loss at visible ones, where answers can."""
    tokens = step.tokens
    if step.prediction is None or model.target.joint or model.loss.joint:
        return None, None
    try:
        mask = _everywhere(step.mask)
        target = model.target(tokens, mask)  # [B, N, T], a teacher runs once for both
    except (ValueError, NotImplementedError):  # a target of the step's own places
        return None, None
    spread = None
    if target.is_floating_point():
        seen = None if tokens.offsets is not None else mask.asked
        spread = Spread.of(Latent(target.float(), seen).pool("mean", tokens.places))

    visible = _at_visible(step.mask)
    if not visible.asked.index.numel():  # a part of every place is hidden
        return spread, None
    try:
        prediction = model.predictor(step.latent, tokens.places, visible)
    except (ValueError, NotImplementedError):  # it answers elsewhere only
        return spread, None
    full = target if target.ndim > step.mask.hidden.ndim else target[..., None]
    full = mask.asked.scatter(full, full.new_zeros(*step.mask.hidden.shape, full.shape[-1]))  # [B, N, T]
    truth = visible.asked.gather(full).view(*visible.asked.index.shape, *target.shape[step.mask.hidden.ndim :])
    return spread, float(model.loss(prediction, truth).total)


def _everywhere(mask: Mask) -> Mask:
    """The same mask, with answers asked at every real place."""
    real = torch.ones_like(mask.hidden) if mask.valid is None else mask.valid
    return replace(mask, predict=real, num_predict=real.shape[-1] if mask.valid is None else None)


def _at_visible(mask: Mask) -> Mask:
    """The same mask, with answers asked where nothing is hidden."""
    visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
    known = mask.num_hidden is not None and mask.valid is None
    return replace(mask, predict=visible, num_predict=visible.shape[-1] - mask.num_hidden if known else None)  # type: ignore[operator]


def _some(codes: Tensor, tokens: Tokens) -> Tensor:
    """At most `MAX_TOKENS` codes of real tokens, the same places each time."""
    real = real_tokens(tokens)
    codes = codes[real] if codes.shape[: real.ndim] == real.shape else codes.flatten(0, -2)  # [n, D]
    chosen = torch.randperm(len(codes), generator=seeds.generator("cpu", "health"))[:MAX_TOKENS]
    return codes[chosen.to(codes.device)]


def _num_places(step: Step) -> int | None:
    """N when place i is the same place in all samples: dense, none padded, at no positions of their own."""
    tokens = step.tokens
    ragged = tokens.offsets is not None or tokens.valid is not None or tokens.positions is not None
    return None if ragged else int(step.mask.hidden.shape[-1])


def _use_of_classes(step: Step) -> dict[str, float]:
    asked = step.mask.asked
    real = torch.ones_like(asked.index, dtype=torch.bool) if asked.valid is None else asked.valid
    scores = getattr(step.prediction, "logits", lambda: step.prediction.values)()  # some make theirs when asked
    num_classes = scores.shape[-1]
    target, predicted = step.target[real], scores[real].argmax(-1)
    return {
        "target_perplexity": perplexity(target, num_classes),
        "predicted_perplexity": perplexity(predicted, num_classes),
        "codebook_use": len(target.unique()) / num_classes,
    }
