"""Sparse convolution by masks: a convolutional network sees visible cells alone (SparK, Tian et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from timm.layers import EffectiveSEModule, SEModule
from timm.layers.grn import GlobalResponseNorm
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AvgPoolNd, _MaxPoolNd

SQUEEZES = (SEModule, EffectiveSEModule, SqueezeExcite)
"""Layers that average a map over its cells before their first convolution."""
MIXERS = ("Attention", "Attn", "GroupNorm", "InstanceNorm", "MlpMixer", "FilterResponseNorm")
"""In names of classes whose layers mix cells in a way that no rule here is for."""


class Sparse:
    """Lets a network run on the visible cells of its input, by hooks: its classes, weights and their names stay.

    A cell of a map is visible if anything below it is. Wherever a layer looks at several cells (a convolution, a
    pooling, a global response norm), hidden ones are 0. BatchNorm is given the rows of visible cells alone
    ``[n, C, 1, 1]``, so its statistics are theirs, whichever module stands there (also one over several processes). A
    mean over a whole map, as in squeeze and excitation, is that over its visible cells. All other layers work cell by
    cell, so the visible cells of each map are those of a network in which every output is multiplied by the mask.

    Args:
        net: any network of convolutions; hooks are added to its modules.
    """

    def __init__(self, net: nn.Module) -> None:
        self.seen: Tensor | None = None
        self._sizes: dict[tuple[int, int], Tensor] = {}
        self.mixers = sorted({type(one).__name__ for one in net.modules() if _mixes(one)})
        for module, hooks in _hooks(self, net):
            module.register_forward_pre_hook(hooks.before)
            module.register_forward_hook(hooks.after)
            module.compilable = False  # type: ignore[assignment]  # how many rows are visible changes with each batch

    def show(self, seen: Tensor | None) -> None:
        """From here on, these cells of a grid over the image are visible ``[B, rows, columns]`` bool; None: all, and
        the network runs as if there were no hooks."""
        self.seen, self._sizes = seen, {}

    def check(self, name: str) -> None:
        """Refuses networks that are more than convolutions.

        Raises:
            ValueError: layers that mix cells otherwise.
        """
        if self.mixers:
            raise ValueError(
                f"`drop` of the corruption must be 0 for {name}, for {', '.join(self.mixers)} mixes cells and hidden "
                "ones cannot be left out of it; nearest: `token` 1."
            )

    def cells(self, size: tuple[int, int]) -> Tensor:
        """Which cells of a map of this size are visible: ``[B, rows, columns]`` bool."""
        assert self.seen is not None
        if size not in self._sizes:
            self._sizes[size] = resized(self.seen, size)
        return self._sizes[size]

    def zeroed(self, x: Tensor, channels_last: bool = False) -> Tensor:
        """A map ``[B, C, rows, columns]`` (channels last: ``[B, rows, columns, C]``) with 0 at hidden cells."""
        cells = self.cells(_size(x.movedim(-1, 1) if channels_last else x))
        return x.masked_fill(~(cells[..., None] if channels_last else cells[:, None]), 0)

    def share(self, size: tuple[int, int]) -> Tensor:
        """Which share of the cells of such a map is visible: ``[B, 1, 1, 1]``."""
        return self.cells(size).float().mean((1, 2))[:, None, None, None]

    def rejoin(self, x: Any) -> None:
        """A block that is computed once more, in the backward pass, is given its input of the first time: what was
        visible then is written there, and read again."""
        seen = getattr(x, "_seen_cells", None)
        if seen is not None and seen is not self.seen:
            self.show(seen)


def resized(seen: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells ``[B, r, c]`` bool of a grid as those of another: True where anything below is. ``[B, *size]``."""
    if seen.shape[1:] == size:
        return seen
    for axis, (old, new) in enumerate(zip(seen.shape[1:], size, strict=True), start=1):
        if new % old == 0:
            seen = seen.repeat_interleave(new // old, axis)
        else:
            sides = (new, seen.shape[2]) if axis == 1 else (seen.shape[1], new)
            seen = F.adaptive_max_pool2d(seen[:, None].float(), sides)[:, 0] > 0
    return seen


class _Hook:
    """What is done to the input and the output of a module while cells are hidden."""

    def __init__(self, sparse: Sparse) -> None:
        self.sparse = sparse

    def before(self, module: nn.Module, given: tuple[Any, ...]) -> Any:
        x = given[0] if given else None
        self.sparse.rejoin(x)
        if self.sparse.seen is None or getattr(x, "ndim", 0) != 4:
            return None
        new = self.into(module, x)
        return None if new is None else (new, *given[1:])

    def after(self, module: nn.Module, given: tuple[Any, ...], out: Any) -> Any:
        return None if self.sparse.seen is None or getattr(out, "ndim", 0) != 4 else self.out(module, out)

    def into(self, module: nn.Module, x: Any) -> Any:
        return None

    def out(self, module: nn.Module, x: Any) -> Any:
        return None


class _Block(_Hook):
    """Writes on the input what is visible: it may be needed again in the backward pass."""

    def into(self, module: nn.Module, x: Any) -> Any:
        x._seen_cells = self.sparse.seen


class _Zero(_Hook):
    """Hidden cells of the input are 0."""

    def into(self, module: nn.Module, x: Any) -> Any:
        last = getattr(module, "channel_dim", 1) == -1  # of a global response norm
        return self.sparse.zeroed(x, last)


class _Mean(_Zero):
    """A mean over all cells of which the hidden ones are 0, as that over the visible ones."""

    def into(self, module: nn.Module, x: Any) -> Any:
        self._size = _size(x)
        return super().into(module, x)

    def out(self, module: nn.Module, x: Any) -> Any:
        return x / self.sparse.share(self._size) if _size(x) == (1, 1) else None


class _Squeeze(_Zero):
    """The same where the mean is no module: its first convolution is given that over visible cells."""

    def into(self, module: nn.Module, x: Any) -> Any:
        self.size = _size(x)
        return super().into(module, x)


class _Squeezed(_Hook):
    def __init__(self, sparse: Sparse, squeeze: _Squeeze) -> None:
        super().__init__(sparse)
        self.squeeze = squeeze

    def into(self, module: nn.Module, x: Any) -> Any:
        return x / self.sparse.share(self.squeeze.size)


class _Rows(_Hook):
    """A norm over the batch is given visible cells alone."""

    def into(self, module: nn.Module, x: Any) -> Any:
        rows = x.permute(0, 2, 3, 1)  # [B, rows, columns, C]
        self._cells, self._shape = self.sparse.cells(_size(x)), rows.shape
        return rows[self._cells][:, :, None, None]

    def out(self, module: nn.Module, x: Any) -> Any:
        whole = x.new_zeros(self._shape)
        whole[self._cells] = x[:, :, 0, 0]
        return whole.permute(0, 3, 1, 2)


def _hooks(sparse: Sparse, net: nn.Module) -> Iterator[tuple[nn.Module, _Hook]]:
    for module in net.modules():
        if isinstance(module, SQUEEZES):
            squeeze = _Squeeze(sparse)
            yield module, squeeze
            yield next(one for one in module.modules() if isinstance(one, nn.Conv2d)), _Squeezed(sparse, squeeze)
        elif isinstance(module, _BatchNorm):
            yield module, _Rows(sparse)
        elif isinstance(module, _AdaptiveAvgPoolNd):
            yield module, _Mean(sparse)
        elif isinstance(module, _AvgPoolNd | _MaxPoolNd | GlobalResponseNorm) or _looks_around(module):
            yield module, _Zero(sparse)
        elif next(module.children(), None) is not None:
            yield module, _Block(sparse)


def _looks_around(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and max(module.kernel_size) > 1


def _mixes(module: nn.Module) -> bool:
    return any(part in type(module).__name__ for part in MIXERS)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]
