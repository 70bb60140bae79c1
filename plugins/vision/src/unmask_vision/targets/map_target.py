"""Map targets: what a fixed map makes of the image is predicted, patch by patch (MaskFeat, Wei et al. 2021)."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from unmask import Given, Mask, Target, Tokens
from unmask.api import at_least
from unmask.nn import assembled, cell_side, cut


class MapTarget(Target):
    """``map(image)`` at the asked patches, ``[B, M, T]``; the map sees the whole clean image, scaled by the tokenizer.

    A subclass is one map: from pixels ``[B, C, H, W]`` to as many numbers for each cell of a grid as it likes, with as
    many cells in each patch: ``[B, C', H / k, W / k]``. T is the number of those in a patch.

    Args:
        channels: C, of the images.

    Raises:
        ValueError: less than one channel; when called, tokens that are no patches of so many channels.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        at_least(1, channels=channels)
        self.channels = channels

    @abstractmethod
    def map(self, image: Tensor, patch_size: int) -> Tensor:
        """``[B, C', H / k, W / k]`` of pixels ``[B, C, H, W]`` in float32."""

    @torch.no_grad()
    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):
            image = assembled(tokens.values.float(), tokens.layout, self.channels)
            sides = image.ndim - 2
            mapped = self.map(image, cell_side(tokens.values.shape[-1], sides, self.channels))
        return mask.asked.gather(cut(mapped, tokens.layout, tokens.num_tokens))
