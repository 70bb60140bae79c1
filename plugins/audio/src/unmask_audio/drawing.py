"""Spectrograms for people: time to the right, frequency upwards, loud is bright, and what is hidden in grey."""

from __future__ import annotations

import numpy as np
from torch import Tensor

RANGE = 2.0
"""Levels from minus this, drawn darkest, to this, drawn brightest."""
COLOURS = np.array([(8, 6, 40), (70, 18, 120), (160, 40, 120), (235, 95, 70), (253, 180, 80), (252, 253, 190)], float)
"""From quiet to loud; in none of them, nor between, are red, green and blue alike."""
HIDDEN = (140, 140, 140)
PADDING = (255, 255, 255)


def spectrogram(levels: Tensor, hidden: Tensor | None = None, padding: Tensor | None = None) -> list[np.ndarray]:
    """Pictures of one pixel per feature and frame.

    Args:
        levels: ``[B, T, F]``, in standard deviations from the mean.
        hidden: ``[B, T, F]`` bool, drawn in grey; None: none are.
        padding: likewise, drawn in white.

    Returns:
        B pictures ``[F, T, 3]`` uint8.
    """
    share = ((levels / RANGE).nan_to_num() + 1).clamp(0, 2).cpu().numpy() / 2 * (len(COLOURS) - 1)
    below = np.minimum(share.astype(int), len(COLOURS) - 2)
    above = (share - below)[..., None]
    pictures = COLOURS[below] * (1 - above) + COLOURS[below + 1] * above  # [B, T, F, 3]
    for places, colour in ((hidden, HIDDEN), (padding, PADDING)):
        if places is not None:
            pictures[places.cpu().numpy()] = colour
    return list(pictures.round().astype(np.uint8).transpose(0, 2, 1, 3)[:, ::-1])
