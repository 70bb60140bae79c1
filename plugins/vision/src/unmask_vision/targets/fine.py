"""Fine values: what a patch holds in the image before it was made smaller (UrFound, Yu et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Given, Mask, Target, Tokens
from unmask_vision.tokenizer import PatchTokenizer


class FineTarget(Target):
    """Pixels ``[B, M, V]`` of the asked patches in the batch's own images, of which the tokens are smaller copies.

    Args:
        patches: cuts those images into as many patches as there are tokens: of 32 pixels for tokens of 16 in images of
            half the size.
        normalize: subtract each patch's own mean and divide by its own deviation, as MAE does.

    Raises:
        ValueError: when called, a batch that it does not see, or another grid of patches.
    """

    def __init__(self, patches: PatchTokenizer, normalize: bool = True) -> None:
        super().__init__()
        self.patches = patches
        self.normalize = normalize

    @torch.no_grad()
    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        if given is None:
            raise ValueError("`vision.fine` reads the batch, which it was not given here.")
        fine = self.patches(given.batch)
        if fine.layout != tokens.layout:
            raise ValueError(
                f"`patches` must cut the images on the tokens' {tokens.layout}, but cut them on a {fine.layout}; "
                "nearest: a `patch_size` as many times larger as the images are."
            )
        values = mask.asked.gather(fine.values)
        if not self.normalize:
            return values
        deviation = (values.var(-1, keepdim=True) + 1e-6).sqrt()
        return (values - values.mean(-1, keepdim=True)) / deviation
