"""What a mask hides on real samples: pictures, files and the shares measured, before any training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from unmask import seeds as keyed
from unmask.data import MaskedDataModule
from unmask.draws import Draws
from unmask.model import MaskedModel
from unmask.parts import Tokenizer
from unmask.schedules import Progress
from unmask.structures import Mask, Tokens
from unmask.tools.features.labels import in_line, real_tokens
from unmask.tools.features.samples import count_per_sample, some
from unmask.tools.features.vectors import evaluating
from unmask.tools.pictures.drawing import regions
from unmask.tools.pictures.picture_grid import Strip, sheet

COLORS = np.array([[230, 70, 50], [40, 120, 230], [40, 170, 80], [235, 165, 20], [150, 70, 200], [20, 180, 190]])
"""Of groups of asked places, over and over."""


@dataclass(frozen=True)
class Preview:
    """What was measured and drawn.

    Args:
        mask: the mask's name.
        samples: their numbers in the split.
        num_tokens: real tokens of each sample.
        hidden_ratios: share of them that is hidden, in [0, 1], by seed.
        asked_ratios: share of them where an answer is asked, by seed; empty where that is wherever hidden.
        picture: a row per sample ``[height, width, 3]`` uint8; None: this modality has none.
        files: this modality's own files: contents by ``ROW-seedSEED.SUFFIX``.
        by_part: share of each part's tokens that is hidden, over all samples and seeds; empty: samples have no parts.
    """

    mask: str
    samples: list[int]
    num_tokens: list[int]
    hidden_ratios: dict[int, list[float]]
    asked_ratios: dict[int, list[float]]
    picture: np.ndarray | None
    files: dict[str, bytes]
    by_part: dict[str, float] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """One line: mask, mean shares, tokens per sample."""
        least, most = min(self.num_tokens), max(self.num_tokens)
        tokens = f"{least}" if least == most else f"{least} to {most}"
        asked = f", asks at {_mean(self.asked_ratios):.1%}" if self.asked_ratios else ""
        parts = ", ".join(f"{ratio:.1%} of {name}" for name, ratio in self.by_part.items())
        parts = f" ({parts})" if parts else ""
        return f"{self.mask} hides {_mean(self.hidden_ratios):.1%}{parts}{asked}; {tokens} tokens per sample"


def preview(
    model: MaskedModel,
    datamodule: MaskedDataModule,
    *,
    num_samples: int = 8,
    seeds: Sequence[int] = (0, 1, 2),
    split: str = "val",
    device: torch.device | str = "cpu",
) -> Preview:
    """Draw ``model.mask`` as it is at the beginning of a run. Nothing is encoded.

    A picture has the columns: input; for each seed, the input with hidden places covered, and, where
    answers are asked elsewhere than wherever hidden, the asked places in a colour per group.

    Args:
        model: whose tokenizer and mask are used.
        datamodule: the data.
        num_samples: rows, at least 1, spread evenly over the split.
        seeds: of the masks, at least one.
        split: of the data; not augmented.
        device: where to compute.

    Raises:
        ValueError: an argument outside its range, or a mask that does not work on these tokens.
    """
    if not seeds:
        raise ValueError("`seeds` must have at least one number, but has none.")
    with evaluating(model.to(device)), torch.no_grad():
        batch, samples = some(datamodule, split, num_samples, device)
        tokens = model.tokenizer(batch)
        masks = {
            seed: model.mask(
                tokens,
                Progress(),
                Draws.of(keyed.mix("preview", seed), torch.arange(tokens.num_samples, device=device)),
            )
            for seed in seeds
        }
        num_tokens = count_per_sample(real_tokens(tokens), tokens)  # [B]
        made = Preview(
            mask=type(model.mask).__name__,
            samples=samples,
            num_tokens=num_tokens.tolist(),
            hidden_ratios={s: _ratios(mask.hidden, tokens) for s, mask in masks.items()},
            asked_ratios={s: _ratios(_asked(mask), tokens) for s, mask in masks.items() if _elsewhere(mask)},
            picture=None,
            files=_files(model.tokenizer, tokens, masks),
            by_part={name: _hidden_of(name, tokens, masks) for name in tokens.parts or ()},
        )
        try:
            return replace(made, picture=_draw(model.tokenizer, tokens, masks, made))
        except NotImplementedError:
            return made


def _draw(tokenizer: Tokenizer, tokens: Tokens, masks: dict[int, Mask], made: Preview) -> np.ndarray:
    columns = [Strip("input", tokenizer.render(tokens), [f"sample {number}" for number in made.samples])]
    for seed, mask in masks.items():
        captions = [f"{ratio:.1%} hidden" for ratio in made.hidden_ratios[seed]]
        columns.append(Strip(f"seed {seed}", tokenizer.render(tokens, mask.hidden), captions))
        if seed in made.asked_ratios:
            captions = [f"{ratio:.1%} asked" for ratio in made.asked_ratios[seed]]
            columns.append(Strip(f"seed {seed}, asked", _tinted(tokenizer, tokens, mask), captions))
    return sheet(columns, made.about)


def _tinted(tokenizer: Tokenizer, tokens: Tokens, mask: Mask) -> list[np.ndarray]:
    """What is shown as it is, asked places in the colour of their group (mixed where groups overlap)."""
    grouped = mask.parts is None and mask.predict is not None and mask.predict.ndim == 3
    groups = mask.predict.unbind(1) if grouped else (_asked(mask),)  # type: ignore[union-attr]
    cells = [cell.astype(float) for cell in tokenizer.render(tokens, mask.hidden & ~_asked(mask))]
    paint, coats = [np.zeros_like(cell) for cell in cells], [np.zeros(cell.shape[:2]) for cell in cells]
    for group, color in zip(groups, itertools.cycle(COLORS)):
        for row, region in enumerate(regions(tokenizer, tokens, group)):
            paint[row][region] += color
            coats[row] += region
    for cell, painted, count in zip(cells, paint, coats, strict=True):
        region = count > 0
        cell[region] = 0.4 * cell[region] + 0.6 * painted[region] / count[region][:, None]
    return [cell.astype(np.uint8) for cell in cells]


def _files(tokenizer: Tokenizer, tokens: Tokens, masks: dict[int, Mask]) -> dict[str, bytes]:
    return {
        f"{row}-seed{seed}{suffix}": content
        for seed, mask in masks.items()
        for suffix, contents in tokenizer.files(tokens, mask.hidden).items()
        for row, content in enumerate(contents)
    }


def _asked(mask: Mask) -> Tensor:
    """Where any answer is asked: ``[B, N]``, packed ``[T]``."""
    if mask.parts is not None:
        return in_line({name: _asked(part) for name, part in mask.parts.items()})
    if mask.predict is None:
        return mask.hidden
    return mask.predict.any(1) if mask.predict.ndim == 3 else mask.predict


def _elsewhere(mask: Mask) -> bool:
    """Whether answers are asked in groups, or at other places than the hidden ones."""
    if mask.parts is not None:
        return any(map(_elsewhere, mask.parts.values()))
    if mask.predict is None:
        return False
    return mask.predict.ndim == 3 or not torch.equal(mask.predict, mask.hidden)


def _ratios(places: Tensor, tokens: Tokens) -> list[float]:
    counts = count_per_sample(places, tokens).double()
    return (counts / count_per_sample(real_tokens(tokens), tokens).clamp(min=1)).tolist()


def _hidden_of(name: str, tokens: Tokens, masks: dict[int, Mask]) -> float:
    part = tokens.part(name)
    return _mean({seed: _ratios(mask.part(name).hidden, part) for seed, mask in masks.items()})


def _mean(ratios: dict[int, list[float]]) -> float:
    return float(np.mean(list(ratios.values())))
