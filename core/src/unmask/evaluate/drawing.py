"""One picture of one step: input, what the encoder sees, and what was predicted, side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unmask.families import Tokenizer
from unmask.handoffs import RANDOM, TOKEN, Places

if TYPE_CHECKING:
    from unmask.model import MaskedModel, Step

SIDE = 128
"""Least side of a cell in pixels; smaller samples are magnified by a whole factor."""
GAP = 8
TITLE_HEIGHT = 18

Column = tuple[str, list[np.ndarray]]


@torch.no_grad()
def draw(model: MaskedModel, step: Step) -> np.ndarray:
    """A row per sample: input | seen by the encoder | reconstruction.

    Where answers are no values (latents, classes): input | seen by the encoder | asked places |
    the loss of each asked place over the dimmed input, from blue (least in the row) to red (most).

    Args:
        model: whose tokenizer draws and whose target turns answers into values.
        step: what `MaskedModel.step` returned, with dense tokens.

    Returns:
        ``[height, width, 3]`` uint8.

    Raises:
        NotImplementedError: the tokenizer cannot draw.
    """
    tokens, mask, tokenizer = step.tokens, step.mask, model.tokenizer
    values, layout = tokens.values, tokens.layout  # [B, N, V]
    columns: list[Column] = [("input", tokenizer.render(values, layout))]

    seen, covered = values, mask.hidden
    if mask.show is not None:
        covered = mask.hidden & (mask.show == TOKEN)
        if mask.donor is not None:
            other = values.gather(1, mask.donor[..., None].expand_as(values))
            seen = torch.where((mask.hidden & (mask.show == RANDOM))[..., None], other, values)
    columns.append(("seen by encoder", tokenizer.render(seen, layout, covered)))

    restored = model.target.restore(step.prediction, tokens, mask)  # [B, M, V] or [B, G, M, V]
    if restored is not None:
        answers, asked = _spread(restored, mask.asked, values.shape[1])
        rebuilt = torch.where(asked[..., None], answers.to(values.dtype), values)
        columns.append(("reconstruction", tokenizer.render(rebuilt, layout, mask.hidden & ~asked)))
    else:
        per_token, asked = _spread(step.loss.per_token[..., None], mask.asked, values.shape[1])
        columns.append(("asked", tokenizer.render(values, layout, ~asked)))
        columns.append(("loss: blue low, red high", _heat(tokenizer, step, per_token, asked)))
    return _sheet(columns)


def _spread(answers: Tensor, places: Places, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Answers ``[B, (G,) M, F]`` back on all places, averaged where groups overlap.

    Returns:
        ``[B, N, F]``, 0 where nothing was asked, and ``[B, N]`` bool, True where it was.
    """
    index = places.index.flatten(1)  # [B, G * M]
    answers = answers.reshape(*index.shape, -1).float()  # [B, G * M, F]
    real = torch.ones_like(index, dtype=torch.float) if places.valid is None else places.valid.flatten(1).float()
    count = answers.new_zeros(len(index), num_tokens).scatter_add(1, index, real)  # [B, N]
    total = answers.new_zeros(len(index), num_tokens, answers.shape[-1])
    total = total.scatter_add(1, index[..., None].expand_as(answers), answers * real[..., None])
    return total / count.clamp(min=1)[..., None], count > 0


def _heat(tokenizer: Tokenizer, step: Step, per_token: Tensor, asked: Tensor) -> list[np.ndarray]:
    """The loss of each asked place as a colour over the dimmed input."""
    values, layout = step.tokens.values, step.tokens.layout
    low, high = values.min(), values.max()
    if low == high:
        high = low + 1

    def constant(level: Tensor) -> Tensor:  # [B, N, 1] in [0, 1] to flat tokens
        return (low + level * (high - low)).to(values.dtype).expand_as(values)

    # Only the tokenizer knows where a token lies in the picture. So flat tokens are drawn: places
    # look alike at both ends of the scale where they are covered, and their brightness is the loss.
    most = per_token.amax(1, keepdim=True)
    least = per_token.masked_fill(~asked[..., None], float("inf")).amin(1, keepdim=True)
    level = ((per_token - least) / (most - least).clamp(min=1e-12)).clamp(0, 1)
    levels = (torch.zeros_like(level), torch.ones_like(level), level)
    drawn = [tokenizer.render(constant(one), layout, ~asked) for one in levels]

    cells = []
    for picture, dark, bright, here in zip(tokenizer.render(values, layout), *drawn, strict=True):
        dark, bright, here = (one.astype(np.float32).mean(-1) for one in (dark, bright, here))
        heat = np.clip((here - dark) / np.maximum(bright - dark, 1), 0, 1)[..., None]  # [H, W, 1]
        color = 255 * np.concatenate([heat, 1 - np.abs(2 * heat - 1), 1 - heat], axis=-1)
        dimmed = picture * 0.4
        overlaid = np.where((dark != bright)[..., None], 0.4 * dimmed + 0.75 * color, dimmed)
        cells.append(overlaid.clip(0, 255).astype(np.uint8))
    return cells


def _sheet(columns: list[Column]) -> np.ndarray:
    """Columns of pictures under their titles."""
    font = ImageFont.load_default()
    pictures = [cell for _, cells in columns for cell in cells]
    factor = max(math.ceil(SIDE / max(max(cell.shape[:2]) for cell in pictures)), 1)
    heights = [max(cells[row].shape[0] for _, cells in columns) * factor for row in range(len(columns[0][1]))]
    widths = [
        max(math.ceil(font.getlength(title)), *(cell.shape[1] * factor for cell in cells)) for title, cells in columns
    ]
    size = (
        sum(widths) + GAP * (len(widths) + 1),
        TITLE_HEIGHT + GAP + sum(height + GAP for height in heights),
    )
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    left = GAP
    for (title, cells), width in zip(columns, widths, strict=True):
        pen.text((left, GAP // 2), title, fill="black", font=font)
        top = TITLE_HEIGHT + GAP
        for cell, height in zip(cells, heights, strict=True):
            magnified = np.repeat(np.repeat(cell, factor, axis=0), factor, axis=1)
            sheet.paste(Image.fromarray(magnified), (left, top))
            top += height + GAP
        left += width + GAP
    return np.asarray(sheet)
