"""Images of another size for a teacher: as many patches, each of other pixels."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torchvision.transforms.v2 import functional as F

from unmask import Tokenizer, Tokens
from unmask.api import at_least
from unmask_vision.tokenizer import PatchTokenizer


class ResizedTokenizer(Tokenizer):
    """Patches of images that are resized first: 224 pixels in patches of 16 become 196 in patches of 14, one for one.

    Args:
        patches: cuts the resized images; its means and deviations may be the teacher's own.
        size: side of the resized images in pixels, bicubic and antialiased; at least one patch.

    Raises:
        ValueError: a size below a patch; when called, as `PatchTokenizer`.
    """

    def __init__(self, patches: PatchTokenizer, size: int) -> None:
        super().__init__()
        at_least(patches.patch_size, size=size)
        self.patches = patches
        self.size = size

    def forward(self, batch: Any) -> Tokens:
        image = batch["image"] if isinstance(batch, dict) else batch
        image = image if isinstance(image, Tensor) else image[0]  # [B, C, H, W]
        image = image if image.is_floating_point() else image.to(self.patches.mean.dtype) / 255
        resized = F.resize(image, [self.size, self.size], F.InterpolationMode.BICUBIC, antialias=True)
        return self.patches(resized)
