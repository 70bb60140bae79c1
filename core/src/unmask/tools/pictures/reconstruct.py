"""What a trained model makes of hidden places: input, what was seen and the prediction, in pictures, files, numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unmask import seeds
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel, Step
from unmask.structures import Tokens
from unmask.support.errors import UserError
from unmask.tools.features.samples import some
from unmask.tools.features.vectors import evaluating
from unmask.tools.pictures.drawing import View, asked_part, draw, views


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
            answers can be shown, ``ROW-prediction.SUFFIX``.
    """

    samples: list[int]
    loss: float
    error: float | None
    accuracy: float | None
    picture: np.ndarray | None
    files: dict[str, bytes]


def reconstruct(
    model: MaskedModel,
    datamodule: MaskedDataModule,
    *,
    num_samples: int = 8,
    seed: int = 0,
    split: str = "val",
    device: torch.device | str = "cpu",
) -> Reconstruction:
    """One step in evaluation mode, with masks keyed by ``seed`` alone.

    Args:
        model: in training or not; it is left as it was.
        datamodule: the data.
        num_samples: at least 1, spread evenly over the split.
        seed: of the masks.
        split: of the data; not augmented.
        device: where to compute.

    Raises:
        ValueError: an argument outside its range.
        UserError: a method that predicts nothing.
    """
    with evaluating(model.to(device)), torch.no_grad():
        batch, samples = some(datamodule, split, num_samples, device)
        try:
            step = asked_part(model.step(batch, seeds.mix("reconstruct", seed)))
        except NotImplementedError as refusal:
            raise UserError(f"`run` must be of a method that predicts, but {refusal}") from refusal
        shown = views(model, step)
        error, accuracy = _scores(model, step)
        try:
            picture = draw(model, step)
        except NotImplementedError:
            picture = None
        return Reconstruction(samples, float(step.loss.total), error, accuracy, picture, _files(model, step, shown))


def _scores(model: MaskedModel, step: Step) -> tuple[float | None, float | None]:
    """Error of values, or accuracy of ids, over all asked places."""
    restored = model.target.restore(step.prediction, step.tokens, step.mask)
    if restored is None:
        return None, None
    asked = step.prediction.asked
    real = torch.ones_like(asked.index, dtype=torch.bool) if asked.valid is None else asked.valid
    right, given = (values[real] for values in (asked.gather(step.tokens.values), restored))  # [n, V] or ids [n]
    if not right.is_floating_point():
        return None, float((given == right).double().mean())
    right, given = right.double().flatten(1), given.double().flatten(1)  # values of a token may have several axes
    spread = float((right - right.mean(0)).square().sum())
    return (float((given - right).square().sum()) / spread if spread else None), None


def _files(model: MaskedModel, step: Step, shown: list[View]) -> dict[str, bytes]:
    tokenizer, tokens, hidden = model.tokenizer, step.tokens, step.mask.hidden

    def made(tokens: Tokens, hidden: Tensor | None) -> dict[str, list[bytes]]:
        return tokenizer.files(tokens, hidden)

    several = {"input": made(shown[0].tokens, None), "seen": made(shown[1].tokens, shown[1].hidden)}
    answered = tokenizer.files(tokens, hidden, step.prediction)
    if answered != made(tokens, hidden):  # it reads predictions itself, such as the likeliest ids
        several["prediction"] = answered
    elif len(shown) > 2:
        several["prediction"] = made(shown[2].tokens, shown[2].hidden)
    return {
        f"{row}-{name}{suffix}": content
        for name, files in several.items()
        for suffix, contents in files.items()
        for row, content in enumerate(contents)
    }
