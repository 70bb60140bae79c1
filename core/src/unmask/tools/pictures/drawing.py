"""One picture of one step: input, what the encoder sees, and what was predicted, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.joint import part_given, step_of_one_part
from unmask.parts import Target, Tokenizer
from unmask.structures import RANDOM, TOKEN, Grid, Places, Tokens
from unmask.support.stacked import stacked
from unmask.tools.features.labels import real_tokens
from unmask.tools.features.samples import owners
from unmask.tools.pictures.picture_grid import Strip, sheet

if TYPE_CHECKING:
    from unmask.model import MaskedModel, Step

NUM_LEVELS = 16
"""Colours of a map of the loss."""


class View(NamedTuple):
    """Samples as they were at some point of a step.

    Args:
        title: the point.
        tokens: with the values of that point.
        hidden: places without a value ``[B, N]``, packed ``[T]``, bool; None: all have one.
    """

    title: str
    tokens: Tokens
    hidden: Tensor | None


@torch.no_grad()
def draw(model: MaskedModel, step: Step, heading: str = "") -> np.ndarray:
    """A row per sample: input | seen by the encoder | reconstruction. Parts lie below each other.

    Where answers are no values (latents, classes): input | seen by the encoder | asked places |
    the loss of each asked place over the dimmed input, from blue (least of the sample) to red (most).

    Args:
        model: whose tokenizer draws and whose target turns answers into values.
        step: what `MaskedModel.step` returned; tokens may be dense, padded or packed.
        heading: a line above all.

    Returns:
        ``[height, width, 3]`` uint8.

    Raises:
        NotImplementedError: the tokenizer cannot draw, or nothing is predicted.
    """
    if step.prediction is None and not any(one.prediction is not None for one in step.objectives.values()):
        raise NotImplementedError(NOTHING_PREDICTED)
    each: dict[str, dict[str, list[np.ndarray]]] = {}
    refusal: NotImplementedError | None = None
    for part in parts_of(model, step):
        try:
            each[part.name] = _columns(part)
        except NotImplementedError as error:  # a part without a picture, beside others that have one
            refusal = error
    if not each:
        raise refusal or NotImplementedError(NOTHING_PREDICTED)
    if len(each) == 1:
        return sheet([Strip(title, cells) for title, cells in next(iter(each.values())).items()], heading)
    columns = []
    for title in sorted({title for own in each.values() for title in own}, key=TITLES.index):
        blank = [np.full((1, 1, 3), 255, np.uint8)] * step.tokens.num_samples
        columns.append(Strip(title, stacked({name: own.get(title, blank) for name, own in each.items()})))
    return sheet(columns, heading)


NOTHING_PREDICTED = "this method predicts nothing that could be drawn."
INPUT, SEEN, REBUILT, ASKED, LOSS = TITLES = (
    "input", "seen by encoder", "reconstruction", "asked", "loss: blue low, red high"
)  # fmt: skip


class OnePart(NamedTuple):
    """What one step made of one part of its samples, and who draws it.

    Args:
        name: of the part; empty: samples have none.
        step: of this part alone; its prediction is None where nothing is asked of the part.
        tokenizer: of the part.
        target: of the part.
    """

    name: str
    step: Step
    tokenizer: Tokenizer
    target: Target | None


def parts_of(model: MaskedModel, step: Step) -> list[OnePart]:
    """Each part of the samples of a step; of views and of samples without parts, the one that is asked about."""
    names = model.part_names
    if not names or step.tokens.parts is None:
        return [OnePart("", asked_part(step), model.tokenizer, model.target)]
    tokenizers: Any = model.tokenizer.tokenizers
    targets = getattr(model.target, "targets", {})
    found = []
    for name in names:
        own = step_of_part(step, name)
        own_target = targets[name] if name in targets else model.target  # noqa: SIM401  no `get` in a ModuleDict
        found.append(OnePart(name, own, tokenizers[name], own_target))
    return found


def step_of_part(step: Step, name: str) -> Step:
    """Of a joint step, one part; nothing is predicted where nothing is asked of it."""
    own = step._replace(tokens=step.tokens.part(name), mask=step.mask.part(name), given=part_given(step.given, name))
    answers = step.prediction.parts if step.prediction is not None else None
    if answers is None or name not in answers:
        return own._replace(prediction=None, target=None)  # type: ignore[arg-type]
    start = 0  # losses of all parts lie one after the other
    for other, answer in answers.items():
        index = answer.asked.index
        count = index[0].numel() if index.ndim > 1 else len(index)
        if other == name:
            losses = step.loss.per_token[..., start : start + count].reshape(index.shape)
            right = step.target[name] if isinstance(step.target, Mapping) else step.target
            return own._replace(prediction=answer, target=right, loss=step.loss._replace(per_token=losses))
        start += count
    raise AssertionError("found above")


def _columns(part: OnePart) -> dict[str, list[np.ndarray]]:
    """Pictures of one part, by their titles; none where it has none."""
    step = part.step._replace(tokens=_wide(part.step.tokens))
    tokenizer, tokens = part.tokenizer, step.tokens
    shown = views_of(part._replace(step=step))
    columns = {view.title: tokenizer.render(view.tokens, view.hidden) for view in shown}
    if len(shown) < 3 and step.prediction is not None:
        loss, asked = _spread(step.loss.per_token[..., None], step.mask.asked, step.mask.hidden)
        columns[ASKED] = tokenizer.render(tokens, real_tokens(tokens) & ~asked)
        columns[LOSS] = _heat(tokenizer, tokens, loss[..., 0], asked)
    return columns


def asked_part(step: Step) -> Step:
    """Of a joint step, the part that answers are asked of.

    Raises:
        NotImplementedError: nothing is predicted.
    """
    if step.prediction is None:
        raise NotImplementedError(NOTHING_PREDICTED)
    return step_of_one_part(step)


def views(model: MaskedModel, step: Step) -> list[View]:
    """`views_of` a step of one part, see `asked_part`."""
    return views_of(OnePart("", step, model.tokenizer, model.target))


def views_of(part: OnePart) -> list[View]:
    """Input, what the encoder sees, and, where answers are values, the input with answers where they were asked.

    Where groups of asked places overlap, values are averaged; of ids, the last group's count.
    """
    step = part.step
    tokens, mask, values = step.tokens, step.mask, step.tokens.values  # [B, N, V] or ids [B, N]
    seen, covered = values, mask.hidden
    shown_tokens = step.given.shown.tokens if step.given is not None else tokens
    if shown_tokens.parts is None and shown_tokens.values.shape == values.shape:
        seen = shown_tokens.values.to(values.dtype)  # as a corruption left them
    if mask.show is not None:
        covered = mask.hidden & (mask.show == TOKEN)
        if mask.donor is not None:
            row = torch.arange(len(values), device=values.device)[:, None]
            place = (mask.donor,) if tokens.offsets is not None else (row, mask.donor)  # packed: among all rows
            swapped = mask.hidden & (mask.show == RANDOM)
            # donors of values are places; those of ids are ids themselves
            stand_in = values[place] if values.is_floating_point() else mask.donor
            seen = torch.where(_as_wide(swapped, values), stand_in, seen)
    shown = [View(INPUT, tokens, None), View(SEEN, replace(tokens, values=seen), covered)]

    if step.prediction is None or part.target is None:
        return shown
    restored = part.target.restore(step.prediction, tokens, mask)  # [B, (G,) M, V], packed [M, V]; or ids
    if restored is not None:
        if restored.is_floating_point():
            answers, asked = _spread(restored, mask.asked, mask.hidden)
            rebuilt = torch.where(_as_wide(asked, values), answers.view(values.shape).to(values.dtype), values)
        else:
            nothing = torch.zeros(*mask.asked.index.shape, 1, device=restored.device)
            _, asked = _spread(nothing, mask.asked, mask.hidden)
            wide = values.reshape(*mask.hidden.shape, -1)  # a token may be several ids, as a patch of classes
            rebuilt = _flat(mask.asked).scatter(_rows(restored, mask.asked, wide.shape[-1]), wide).view(values.shape)
        shown.append(View(REBUILT, replace(tokens, values=rebuilt), mask.hidden & ~asked))
    return shown


def regions(tokenizer: Tokenizer, tokens: Tokens, places: Tensor) -> list[np.ndarray]:
    """Where in the pictures ``places`` are: only the tokenizer knows, so it is asked by covering all others.

    Args:
        tokenizer: which draws.
        tokens: what it draws.
        places: ``[B, N]``, packed ``[T]``, bool.

    Returns:
        ``[height, width]`` bool per sample.
    """
    real = real_tokens(tokens)
    others = real & ~places
    pairs = [(tokenizer.render(tokens, others), tokenizer.render(tokens, real))]
    if isinstance(tokens.layout, Grid) and tokens.values.is_floating_point():
        # A spot that has the colour of the cover itself is missed so; of two flat grids it has one at most.
        flats = (torch.full_like(tokens.values, float(end)) for end in (tokens.values.amin(), tokens.values.amax()))
        dark, bright = (tokenizer.render(replace(tokens, values=flat), others) for flat in flats)
        pairs.append((dark, bright))
    differ = [[(a != b).any(-1) for a, b in zip(*pair, strict=True)] for pair in pairs]
    return [np.logical_or.reduce(each) for each in zip(*differ, strict=True)]


def _wide(tokens: Tokens) -> Tokens:
    """Values and positions in float32, where a run in 16 bits has less: NumPy has no bfloat16."""
    parts = {"values": tokens.values, "positions": tokens.positions}
    narrow = {name: one for name, one in parts.items() if one is not None and one.dtype in _NARROW}
    return replace(tokens, **{name: one.float() for name, one in narrow.items()})


_NARROW = (torch.bfloat16, torch.float16)


def _heat(tokenizer: Tokenizer, tokens: Tokens, loss: Tensor, asked: Tensor) -> list[np.ndarray]:
    """The loss of each asked place as a colour over the dimmed input."""
    sample, _ = owners(tokens)
    ends = loss.new_zeros(2, tokens.num_samples)
    for end, how in zip(ends, ("amin", "amax"), strict=True):
        end.scatter_reduce_(0, sample[asked], loss[asked], how, include_self=False)
    least, most = ends[0][sample], ends[1][sample]
    level = ((loss - least) / (most - least).clamp(min=1e-12)).clamp(0, 1).mul(NUM_LEVELS - 1).round()

    cells = [cell * 0.4 for cell in tokenizer.render(tokens)]
    for number in level[asked].unique().tolist():
        heat = number / (NUM_LEVELS - 1)
        color = 255 * np.array([heat, 1 - abs(2 * heat - 1), 1 - heat])
        for cell, region in zip(cells, regions(tokenizer, tokens, asked & (level == number)), strict=True):
            cell[region] = 0.4 * cell[region] + 0.75 * color
    return [cell.clip(0, 255).astype(np.uint8) for cell in cells]


def _spread(answers: Tensor, places: Places, like: Tensor) -> tuple[Tensor, Tensor]:
    """Answers ``[B, (G,) M, F]``, packed ``[M, F]``, back on all places, averaged where groups overlap.

    Returns:
        As ``like`` (``[B, N]``, packed ``[T]``) with F more, 0 where nothing was asked; and bool, where it was.
    """
    flat = like if like.ndim > 1 else like[None]
    index = places.index.reshape(len(flat), -1)  # [B, G * M]
    answers = answers.reshape(*index.shape, answers.shape[-1]).float()  # M may be 0
    real = torch.ones_like(index, dtype=torch.float)
    if places.valid is not None:
        real = places.valid.reshape(index.shape).float()
    count = answers.new_zeros(flat.shape).scatter_add(1, index, real)  # [B, N]
    total = answers.new_zeros(*flat.shape, answers.shape[-1])
    total = total.scatter_add(1, index[..., None].expand_as(answers), answers * real[..., None])
    mean = total / count.clamp(min=1)[..., None]
    return mean.view(*like.shape, -1), (count > 0).view(like.shape)


def _flat(places: Places) -> Places:
    """Groups laid end to end."""
    if places.index.ndim < 3:
        return places
    return Places(places.index.flatten(1), None if places.valid is None else places.valid.flatten(1))


def _rows(ids: Tensor, places: Places, width: int) -> Tensor:
    """Ids in the shape that `Places.scatter` takes: ``[B, G * M, V]``, packed ``[M, V]``."""
    return ids.reshape(*_flat(places).index.shape, width)


def _as_wide(chosen: Tensor, values: Tensor) -> Tensor:
    """``[B, N]`` as ``[B, N, 1]``, if ``values`` have more sides."""
    return chosen.view(*chosen.shape, *[1] * (values.ndim - chosen.ndim))
