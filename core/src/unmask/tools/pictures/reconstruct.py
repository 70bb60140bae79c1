"""What a trained model makes of hidden places: input, what was seen and the prediction, in pictures, files, numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from unmask import seeds
from unmask.data import MaskedDataModule
from unmask.draws import Draws
from unmask.embedder import check_parts
from unmask.model import MaskedModel
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Progress
from unmask.structures import Mask, Tokens
from unmask.support.errors import UserError
from unmask.tools.features.labels import real_tokens
from unmask.tools.features.samples import some
from unmask.tools.features.vectors import evaluating
from unmask.tools.pictures.drawing import NOTHING_PREDICTED, OnePart, View, draw, parts_of, views_of


@dataclass(frozen=True)
class Reconstruction:
    """What was predicted, and how well.

    Args:
        samples: their numbers in the split.
        loss: the model's own, on these samples.
        error: where answers are values: squared error as a share of their variance at the asked places, so that
            the mean of these values, dimension by dimension, has 1. A target normalised by a token's own mean and
            deviation is given back with the true ones, which flatters. None: answers are no values.
        accuracy: where answers are ids: the share that is right, in [0, 1]; else None.
        picture: see `unmask.tools.pictures.drawing.draw`; None: this modality has none.
        files: this modality's own files: contents by ``ROW-input.SUFFIX``, ``ROW-seen.SUFFIX`` and, where
            answers can be shown, ``ROW-prediction.SUFFIX``; of parts by ``ROW-PART-input.SUFFIX`` and so on.
        by_part: error and accuracy of each part that answers are asked of; empty: samples have no parts. ``error`` and
            ``accuracy`` are then None.
    """

    samples: list[int]
    loss: float
    error: float | None
    accuracy: float | None
    picture: np.ndarray | None
    files: dict[str, bytes]
    by_part: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)


def reconstruct(
    model: MaskedModel,
    datamodule: MaskedDataModule,
    *,
    num_samples: int = 8,
    seed: int = 0,
    split: str = "val",
    device: torch.device | str = "cpu",
    parts: Sequence[str] | None = None,
) -> Reconstruction:
    """One step in evaluation mode, with masks keyed by ``seed`` alone.

    Args:
        model: in training or not; it is left as it was.
        datamodule: the data.
        num_samples: at least 1, spread evenly over the split.
        seed: of the masks.
        split: of the data; not augmented.
        device: where to compute.
        parts: of joint samples, what is shown whole, while all of the others is hidden and asked for; None: as the
            model's mask hides.

    Raises:
        ValueError: an argument outside its range, parts that are not there, or no part left to ask for.
        UserError: a method that predicts nothing.
    """
    if model.loss is None and not model.objectives:
        raise UserError(f"`run` must be of a method that predicts, but {NOTHING_PREDICTED}")
    if parts is not None:
        check_parts(parts, model.part_names)
        if len(parts) == len(model.part_names):
            raise ValueError(f"`parts` must leave one out to reconstruct it, but are all: {', '.join(parts)}.")
    with evaluating(model.to(device)), torch.no_grad(), _masked_by(model, parts):
        batch, samples = some(datamodule, split, num_samples, device)
        step = model.step(batch, seeds.mix("reconstruct", seed))
        try:
            found = parts_of(model, step)
        except NotImplementedError as refusal:
            raise UserError(f"`run` must be of a method that predicts, but {refusal}") from refusal
        scores = {part.name: _scores(part) for part in found if part.step.prediction is not None}
        error, accuracy = scores.get("", (None, None))
        try:
            picture = draw(model, step)
        except NotImplementedError:
            picture = None
        files = {name: content for part in found for name, content in _files(part, views_of(part)).items()}
        by_part = {} if "" in scores else scores
        return Reconstruction(samples, float(step.loss.total), error, accuracy, picture, files, by_part)


class GivenParts(MaskSampler):
    """Some parts of joint samples are shown whole, and all of the others is hidden.

    Args:
        names: of those that are shown.
    """

    joint = True

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
        masks = {}
        for name, part in (tokens.parts or {}).items():
            shown, real = name in self.names, real_tokens(part)  # [B, N], packed [T]
            dense = part.valid is None and part.offsets is None
            count = 0 if shown else real.shape[1] if dense else None
            hidden = torch.zeros_like(real) if shown else real
            masks[name] = Mask(hidden, valid=part.valid, num_hidden=count, draws=draws.named(name))
        return replace(Mask.join(masks), draws=draws)

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        """Not called: nothing is drawn."""
        raise NotImplementedError


@contextmanager
def _masked_by(model: MaskedModel, parts: Sequence[str] | None) -> Iterator[None]:
    own = model.mask
    try:
        model.mask = own if parts is None else GivenParts(parts)
        yield
    finally:
        model.mask = own


def _scores(part: OnePart) -> tuple[float | None, float | None]:
    """Error of values, or accuracy of ids, over all asked places."""
    step = part.step
    if part.target is None:
        return None, None
    restored = part.target.restore(step.prediction, step.tokens, step.mask)
    if restored is None:
        return None, None
    asked = step.prediction.asked
    real = torch.ones_like(asked.index, dtype=torch.bool) if asked.valid is None else asked.valid
    if not real.any():
        return None, None
    right, given = (values[real] for values in (asked.gather(step.tokens.values), restored))  # [n, V] or ids [n]
    if not right.is_floating_point():
        return None, float((given == right).double().mean())
    right, given = right.double().flatten(1), given.double().flatten(1)  # values of a token may have several axes
    spread = float((right - right.mean(0)).square().sum())
    return (float((given - right).square().sum()) / spread if spread else None), None


def _files(part: OnePart, shown: list[View]) -> dict[str, bytes]:
    tokenizer, tokens, hidden = part.tokenizer, part.step.tokens, part.step.mask.hidden
    own = f"{part.name}-" if part.name else ""

    def made(tokens: Tokens, hidden: Tensor | None) -> dict[str, list[bytes]]:
        return tokenizer.files(tokens, hidden)

    several = {"input": made(shown[0].tokens, None), "seen": made(shown[1].tokens, shown[1].hidden)}
    answered = tokenizer.files(tokens, hidden, part.step.prediction)
    if answered != made(tokens, hidden):  # it reads predictions itself, such as the likeliest ids
        several["prediction"] = answered
    elif len(shown) > 2:
        several["prediction"] = made(shown[2].tokens, shown[2].hidden)
    return {
        f"{row}-{own}{name}{suffix}": content
        for name, files in several.items()
        for suffix, contents in files.items()
        for row, content in enumerate(contents)
    }
