"""Layer masking: any part of an image is hidden from a trained CNN (Balasubramanian & Feizi 2022, arXiv:2211.14646)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AvgPoolNd, _MaxPoolNd

from unmask_vision.encoders.sparse import resized


class LayerMasked(nn.Module):
    """A network of convolutions that answers as if some pixels were not there, without training and without a colour in
    their place.

    Before every layer that looks at several cells, hidden ones are filled in from their neighbours: as many rounds as
    its kernel is wide, each giving the cells beside known ones the mean of those among their 3 x 3. Its outputs are 0
    where nothing below is visible, and a mean over a whole map is that over its visible cells.

    Args:
        net: a trained network, called with images ``[B, C, H, W]``; hooks are added to it, and do nothing outside.
        fill: ``neighbours`` or ``zero``.

    Raises:
        ValueError: another ``fill``; when called, a mask of another shape than the images, or one that hides all.

    Differs from the paper in that a cell is visible if any pixel of its own square is, whatever the kernels below.
    """

    def __init__(self, net: nn.Module, fill: Literal["neighbours", "zero"] = "neighbours") -> None:
        super().__init__()
        if fill not in ("neighbours", "zero"):
            raise ValueError(f"`fill` must be 'neighbours' or 'zero', but is {fill!r}.")
        self.net, self.fill = net, fill
        self._seen: Tensor | None = None
        for module in net.modules():
            if isinstance(module, _AdaptiveAvgPoolNd):
                module.register_forward_hook(self._mean)
            elif isinstance(module, nn.Conv2d | _AvgPoolNd | _MaxPoolNd):
                module.register_forward_pre_hook(self._filled)
                module.register_forward_hook(self._covered)

    def forward(self, image: Tensor, hidden: Tensor) -> Any:
        """Answers for ``image`` with pixels ``hidden`` ``[B, H, W]`` bool."""
        if hidden.shape != (len(image), *image.shape[2:]):
            raise ValueError(
                f"`hidden` must have the shape {[len(image), *image.shape[2:]]} of the images, but has "
                f"{list(hidden.shape)}."
            )
        if bool(hidden.flatten(1).all(1).any()):
            raise ValueError("`hidden` must leave a pixel of each image visible.")
        self._seen = ~hidden
        try:
            return self.net(image)
        finally:
            self._seen = None

    def _cells(self, x: Tensor) -> Tensor:
        """Which cells of a map are visible ``[B, 1, rows, columns]``."""
        assert self._seen is not None
        return resized(self._seen, (x.shape[2], x.shape[3]))[:, None]

    def _filled(self, module: Any, given: tuple[Any, ...]) -> Any:
        if self._seen is None:
            return None
        x = given[0]
        known = self._cells(x)
        x = x.masked_fill(~known, 0)
        kernel = module.kernel_size
        width = kernel if isinstance(kernel, int) else max(kernel)
        rounds = width if self.fill == "neighbours" and width > 1 else 0
        for _ in range(rounds):
            if bool(known.all()):
                break
            beside = F.avg_pool2d(known.to(x.dtype), 3, 1, 1)  # [B, 1, rows, columns]
            mean = F.avg_pool2d(x, 3, 1, 1) / beside.clamp(min=0.1)
            x = torch.where(known | (beside == 0), x, mean)
            known = known | (beside > 0)
        return (x, *given[1:])

    def _covered(self, module: nn.Module, given: tuple[Any, ...], out: Tensor) -> Any:
        return None if self._seen is None else out.masked_fill(~self._cells(out), 0)

    def _mean(self, module: nn.Module, given: tuple[Any, ...], out: Tensor) -> Any:
        if self._seen is None or out.shape[2:] != (1, 1):
            return None
        cells = self._cells(given[0])
        if bool(cells.all()):
            return None
        return given[0].masked_fill(~cells, 0).sum((2, 3), keepdim=True) / cells.sum((2, 3), keepdim=True)
