"""Wholes: what samples are pieces of, such as the sound of a window or the document of a text that was cut.

Results count wholes: what is said of the pieces of one whole is averaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Wholes:
    """Numbers wholes from 0, in the order in which their first pieces come, batch after batch.

    A sample without ``piece`` is a whole. Pieces of one ``name`` are of one whole, in any order and wherever they are
    held out, as long as each has a number of its own; a number that comes again begins another whole, so that two files
    of one name stay two.

    Attributes:
        count: wholes so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last: dict[str, tuple[int, int]] = {}  # by name: the whole, and a bit for each of its pieces

    def of(self, batch: Any, num_samples: int) -> np.ndarray:
        """The number of each sample's whole ``[B]`` int64.

        Args:
            batch: its ``name`` (B words) and ``piece`` ``[B]``, whole numbers from 0, are read, where it has both.
            num_samples: B.
        """
        names, pieces = (batch.get(key) if hasattr(batch, "get") else None for key in ("name", "piece"))
        if names is None or pieces is None:
            return self.alone(num_samples)
        numbers = np.empty(num_samples, dtype=np.int64)
        pieces = pieces.tolist() if hasattr(pieces, "tolist") else pieces
        for place, (name, piece) in enumerate(zip(map(str, names), pieces, strict=True)):
            number, seen = self._last.get(name, (-1, 0))
            if number < 0 or seen >> piece & 1:
                number, seen = int(self.alone(1)[0]), 0
            self._last[name] = number, seen | 1 << piece
            numbers[place] = number
        return numbers

    def alone(self, num_samples: int) -> np.ndarray:
        """The numbers ``[B]`` int64 of samples that are wholes."""
        self.count += num_samples
        return np.arange(self.count - num_samples, self.count)


def averaged(values: Tensor, whole: np.ndarray) -> Tensor:
    """Means ``[k, ...]`` of the rows ``[n, ...]`` of each whole, in the order in which wholes first come.

    Args:
        values: of pieces; floating point.
        whole: the number of each row's whole ``[n]``, in any order.
    """
    first, place = _places(whole)
    if len(first) == len(values):
        return values
    place = place.to(values.device)
    sums = values.new_zeros(len(first), *values.shape[1:]).index_add(0, place, values)
    counts = torch.bincount(place, minlength=len(first))
    return sums / counts.view(-1, *[1] * (values.ndim - 1))


def firsts(whole: np.ndarray) -> np.ndarray:
    """The row ``[k]`` int64 at which each whole first comes."""
    return _places(whole)[0].numpy()


def shared(label: Tensor, whole: np.ndarray) -> Tensor:
    """The label ``[k]`` or ``[k, C]`` of each whole, in the order in which wholes first come.

    Args:
        label: of pieces, ``[n]`` or ``[n, C]``.
        whole: the number of each piece's whole ``[n]``.

    Raises:
        ValueError: a whole has pieces of different labels.
    """
    first, place = _places(whole)
    if len(first) == len(label):
        return label
    own, of_whole = label, label[first][place]
    same = (own == of_whole) | ((own != own) & (of_whole != of_whole))  # NaN: unknown
    differs = (~same).nonzero()
    if len(differs):
        row = int(differs[0, 0])
        raise ValueError(
            f"Pieces of one thing must have one label, but some have {of_whole[row].tolist()} and {own[row].tolist()}; "
            "leave `piece` out of samples that count each for itself."
        )
    return label[first]


def _places(whole: np.ndarray) -> tuple[Tensor, Tensor]:
    """Where each whole first comes ``[k]``, ascending, and each row's place among those ``[n]``."""
    _, first, place = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return torch.from_numpy(first[order]), torch.from_numpy(rank[place])
