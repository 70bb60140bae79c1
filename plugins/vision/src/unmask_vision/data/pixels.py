"""From numbers of an image to a tensor with the channels asked for, by the rules of `unmask_vision.data.reading`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.data import FILLED, Findings, Unreadable, fill_not_finite
from unmask_vision.data.scale import Numbers

EMPTY = "have places without data, which became 0"
"""What findings say of images with numbers that stand for no data."""
BY_TYPE = Numbers()

_LUMA = (0.299, 0.587, 0.114)
_STRIP_PIXELS = 2**22
"""Larger images become tensors by strips of rows, which keeps floats of the whole out of memory."""


class Pixels(NamedTuple):
    """Makes the tensor ``[channels, H, W]`` of the numbers of an image, whole or by strips of rows."""

    channels: int
    findings: Findings
    name: str | None
    numbers: Numbers

    def of(self, array: np.ndarray, alpha: bool = False, nodata: float | None = None) -> Tensor:
        """Of ``[H, W, C]``.

        Args:
            array: the numbers.
            alpha: whether the last channel is one.
            nodata: what stands for no data, as the file says.
        """
        return self.in_strips(lambda rows: array[rows], array.shape[:2], alpha, nodata)

    def in_strips(
        self,
        strip: Callable[[slice], np.ndarray],
        size: tuple[int, ...],
        alpha: bool = False,
        nodata: float | None = None,
    ) -> Tensor:
        """Of strips of rows ``[rows, W, C]``, as `of` takes the whole."""
        height, width = size
        step = max(_STRIP_PIXELS // width, 1)
        whole: Tensor | None = None
        num_filled = num_empty = num_values = 0
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            values = strip(rows)
            empty = _empty(values, [float(one) for one in (self.numbers.nodata, nodata) if one is not None])
            num_empty += 0 if empty is None else int(empty.sum())
            values, filled = fill_not_finite(unfilled := values)
            num_filled, num_values = num_filled + filled, num_values + values.size
            if filled and (self.numbers.scale is not None or self.numbers.raw):  # 0 is a number like any other there
                empty = ~np.isfinite(unfilled) if empty is None else empty | ~np.isfinite(unfilled)
            part = self._scaled(values, alpha, empty)
            if step >= height:
                whole = part
            else:
                whole = part.new_empty(self.channels, height, width) if whole is None else whole
                whole[:, rows] = part
        assert whole is not None
        if num_filled == num_values:
            raise Unreadable("none of its values is finite")
        if num_empty + num_filled == num_values:
            raise Unreadable("it has no data")
        self.findings.note(FILLED, self.name, int(num_filled > 0))
        self.findings.note(EMPTY, self.name, int(num_empty > 0))
        return whole

    def _scaled(self, values: np.ndarray, alpha: bool, empty: np.ndarray | None) -> Tensor:
        """``[rows, W, C]`` as ``[channels, rows, W]``; ``empty`` are places without data."""
        scale, _, raw = self.numbers
        if scale is None and not raw:
            image = match(_to_tensor(values), self.channels, alpha)
        else:
            whole = 1 if values.dtype.kind in "fb" else np.iinfo(values.dtype).max
            numbers = np.ascontiguousarray(np.moveaxis(values, -1, 0)).astype(np.float32)
            image = match(torch.from_numpy(numbers), self.channels, alpha, whole)
            image = image if raw or scale is None else scale(image)
        if empty is None:
            return image
        gone = torch.from_numpy(np.ascontiguousarray(np.moveaxis(empty, -1, 0)))
        gone = gone if len(gone) == len(image) else gone.any(0, keepdim=True).expand(len(image), -1, -1)
        return image.masked_fill(gone, float("nan") if raw else 0)


def _empty(values: np.ndarray, nodata: list[float]) -> np.ndarray | None:
    """Where ``values`` equal one of those numbers, as their type has them; None: nowhere."""
    empty: np.ndarray | None = None
    for one in nodata:
        if np.isnan(one) or (values.dtype.kind not in "f" and not one.is_integer()):
            continue  # NaN is looked for anyway
        if values.dtype.kind in "iu" and not np.iinfo(values.dtype).min <= one <= np.iinfo(values.dtype).max:
            continue
        found = values == np.asarray(one).astype(values.dtype)
        empty = found if empty is None else empty | found
    return empty if empty is not None and empty.any() else None


def _to_tensor(array: np.ndarray) -> Tensor:
    """``[H, W, C]`` to ``[C, H, W]`` uint8 or float32."""
    array = np.require(np.moveaxis(array, -1, 0), requirements=["C", "W"])
    if array.dtype == np.uint8:
        return torch.from_numpy(array)
    if array.dtype.kind not in "iu":
        return torch.from_numpy(array.astype(np.float32))
    ends = np.iinfo(array.dtype)
    wide = torch.from_numpy(array.astype(np.float32 if array.itemsize <= 2 else np.float64))
    return wide.sub_(int(ends.min)).div_(int(ends.max) - int(ends.min)).float()


def match(image: Tensor, channels: int, alpha: bool, opaque: float | None = None) -> Tensor:
    """``image`` ``[C, H, W]`` with ``channels`` channels; ``alpha``: the last of its own is one, whose greatest value
    is ``opaque``; None: that of its type."""
    if len(image) == channels:
        return image
    found = len(image)
    if opaque is None:
        opaque = 255 if image.dtype == torch.uint8 else 1
    if alpha:
        share = image[-1:].float() / opaque
        colour = image[:-1].float() * share + opaque * (1 - share)
        image = colour if image.is_floating_point() else colour.round().to(torch.uint8)
    if len(image) == 1 and channels in (3, 4):
        image = image.expand(3, -1, -1)
    elif len(image) == 3 and channels in (1, 2):
        grey = (image.float() * torch.tensor(_LUMA)[:, None, None]).sum(0, keepdim=True)
        image = grey if image.is_floating_point() else grey.round().to(torch.uint8)
    if channels in (2, 4) and len(image) == channels - 1:
        image = torch.cat([image, torch.full_like(image[:1], opaque)])
    if len(image) != channels:
        raise Unreadable(f"{found} channels instead of {channels}")
    return image.contiguous()


def to_float(image: Tensor) -> Tensor:
    """float32 in [0, 1], or float as it is."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def to_uint8(image: Tensor) -> Tensor:
    """uint8, from uint8 or from float in [0, 1]."""
    return image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)
