"""Patch tokenizer: an image as a grid of square patches (Dosovitskiy et al. 2020, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from unmask import Grid, Layout, Tokenizer, Tokens
from unmask.api import at_least, inside

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = 0.55
"""Brightness in [0, 1] at which hidden places are drawn."""


class PatchTokenizer(Tokenizer):
    """``[B, C, H, W]`` to ``[B, N, p * p * C]``; patches row-major, values in (row, column, channel) order.

    Args:
        patch_size: p, side of a patch in pixels; must divide both sides of the images.
        channels: C.
        mean: per-channel mean subtracted, for pixels in [0, 1]; None: ImageNet's for three
            channels, else 0.5.
        std: per-channel standard deviation divided by, above 0; None: likewise ImageNet's, else 0.5.

    Raises:
        ValueError: numbers of means, deviations or channels that do not agree, a deviation of 0, or
            images whose sides are no multiples of ``patch_size``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        patch_size: int = 16,
        channels: int = 3,
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, patch_size=patch_size)
        self.patch_size = patch_size
        self.channels = channels
        defaults = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ([0.5] * channels, [0.5] * channels)
        for name, given, default in (("mean", mean, defaults[0]), ("std", std, defaults[1])):
            numbers = list(default if given is None else given)
            if len(numbers) != channels:
                raise ValueError(f"`{name}` must have {channels} numbers, one per channel, but has {len(numbers)}.")
            self.register_buffer(name, torch.tensor(numbers).view(-1, 1, 1), persistent=False)
        if bool((self.std <= 0).any()):
            raise ValueError(f"`std` must be above 0, but is {std}.")

    def forward(self, batch: Mapping[str, Any] | Sequence[Tensor] | Tensor) -> Tokens:
        """Tokens of ``batch["image"]``, of the first item of a tuple, or of a bare tensor.

        Images are uint8, or floating point with pixels in [0, 1].
        """
        image = batch["image"] if isinstance(batch, Mapping) else batch
        image = image if isinstance(image, Tensor) else image[0]  # [B, C, H, W]
        _, channels, height, width = image.shape
        p = self.patch_size
        if channels != self.channels:
            raise ValueError(f"`channels` must be {channels}, as in the images, but is {self.channels}.")
        if height % p or width % p:
            nearest = (max(round(height / p), 1) * p, max(round(width / p), 1) * p)
            raise ValueError(
                f"Image sides must be multiples of `patch_size` {p}, but are {height}x{width}; "
                f"nearest: {nearest[0]}x{nearest[1]}."
            )
        if not image.is_floating_point():
            image = image.to(self.mean.dtype) / 255
        image = (image - self.mean) / self.std
        rows, columns = height // p, width // p
        cells = image.view(-1, channels, rows, p, columns, p)
        patches = cells.permute(0, 2, 4, 3, 5, 1).reshape(-1, rows * columns, p * p * channels)  # [B, N, V]
        return Tokens(patches, Grid((rows, columns)))

    def image(self, values: Tensor, layout: Layout) -> Tensor:
        """Patches ``[B, N, V]`` back to pixels ``[B, C, H, W]``, in the units of the batch (0 to 1)."""
        assert isinstance(layout, Grid)
        (rows, columns), p = layout.shape, self.patch_size
        cells = values.view(-1, rows, columns, p, p, self.channels)
        image = cells.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.channels, rows * p, columns * p)
        return image * self.std + self.mean

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        values, layout = tokens.values, tokens.layout
        pixels = self.image(values.float(), layout).clamp(0, 1)
        if hidden is not None:
            shade = hidden[..., None].expand(-1, -1, values.shape[-1]).to(values.dtype)
            covered = (self.image(shade, layout) - self.mean) / self.std > 0.5  # [B, C, H, W]
            pixels = pixels.masked_fill(covered, GREY)
        # Three channels are colour; of any other number the first is shown in grey.
        pixels = pixels if self.channels == 3 else pixels[:, :1].expand(-1, 3, -1, -1)
        return list((pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())  # B x [H, W, 3]


class CropTokenizer(Tokenizer):
    """Several views of an image by one tokenizer, each a part of its own name.

    Args:
        patches: cuts each of them.
        share: of a side that is cropped in the middle where a batch lacks a view, in (0, 1), as validation data does.
        views: what of the batch each part is, by the part's name. CropMAE's: ``whole``, the image, and ``local``, a
            crop of it.

    Raises:
        ValueError: ``share`` outside its range, no view, or none that is the image.
    """

    def __init__(self, patches: PatchTokenizer, share: float = 0.67, views: dict[str, str] | None = None) -> None:
        super().__init__()
        inside("(0, 1)", share=share)
        self.patches = patches
        self.share = share
        self.views = dict(views or {"whole": "image", "local": "local"})
        if "image" not in self.views.values():
            raise ValueError(f"`views` must name a part for 'image', but are {self.views}.")

    def forward(self, batch: Any) -> Tokens:
        return Tokens.join({part: self.patches({"image": self._view(batch, key)}) for part, key in self.views.items()})

    def _view(self, batch: Any, key: str) -> Tensor:
        image: Tensor = batch["image"]  # [B, C, H, W]
        if key in batch:
            view: Tensor = batch[key]
            return view
        sides = [max(round(side * self.share), 1) for side in image.shape[-2:]]
        middle: Tensor = F.resize(F.center_crop(image, sides), list(image.shape[-2:]), antialias=True)
        return middle

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """The view of which something is hidden, or else the last one."""
        if tokens.parts is None:
            return self.patches.render(tokens, hidden)
        sizes = [part.num_tokens for part in tokens.parts.values()]
        parts = list(tokens.parts.values())
        if hidden is None:
            return self.patches.render(parts[-1])
        pieces = hidden.split(sizes, dim=1)
        chosen = max(range(len(sizes)), key=lambda at: (bool(pieces[at].any()), at))
        return self.patches.render(parts[chosen], pieces[chosen])


class MixTokenizer(Tokenizer):
    """Each image of a batch with those that follow it, as parts ``source_0`` (itself), ``source_1`` and so on.

    Args:
        patches: cuts them.
        num_sources: parts, at least 2. After the last image comes the first.

    Raises:
        ValueError: less than 2 parts.
    """

    def __init__(self, patches: PatchTokenizer, num_sources: int = 4) -> None:
        super().__init__()
        at_least(2, num_sources=num_sources)
        self.patches = patches
        self.num_sources = num_sources

    def forward(self, batch: Any) -> Tokens:
        tokens = self.patches(batch)
        return Tokens.join(
            {
                f"source_{number}": Tokens(tokens.values.roll(-number, 0), tokens.layout)
                for number in range(self.num_sources)
            }
        )

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """The images themselves."""
        first = tokens.part("source_0")
        return self.patches.render(first, None if hidden is None else hidden[:, : first.num_tokens])
