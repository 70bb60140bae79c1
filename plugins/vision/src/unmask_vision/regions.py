"""Regions of an image: which parts of a face, say, each patch holds (FSFM, Wang et al. 2024, arXiv:2412.12032)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Tokens
from unmask_vision.tokenizer import PatchTokenizer

FACE = (
    ((2, 3),),  # brows
    ((4, 5),),  # eyes
    ((6,),),  # nose
    ((7, 8, 9),),  # mouth
    ((1,), (0, 10)),  # outline: skin and, in the same patch, hair or background
    ((10,),),  # hair
    ((1,),),  # skin
    ((0,),),  # background
)
"""Regions of a parsing map of 11 classes, from background (0) to hair (10), as in FSFM's released code."""


class RegionTokenizer(PatchTokenizer):
    """Patches, and as their note ``regions`` ``[B, N, R]`` which regions each of them holds.

    Batches may have a map of classes, ``regions`` ``[B, H, W]``, pixel by pixel. Without one, as where a trained model
    is used, patches have no note.

    Args:
        patch_size: as `PatchTokenizer`, as are ``channels``, ``mean`` and ``std``.
        regions: for each region, sets of classes; a patch holds it which has a pixel of each of its sets. None: the
            eight of a face, see `FACE`.

    Raises:
        ValueError: as `PatchTokenizer`; no region, or one without a class; a map of another size than the images.
    """

    def __init__(
        self,
        patch_size: int = 16,
        channels: int = 3,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        regions: list[list[list[int]]] | None = None,
    ) -> None:
        super().__init__(patch_size, channels, mean, std)
        self.regions: Any = FACE if regions is None else regions
        if not self.regions or any(not region or not all(region) for region in self.regions):
            raise ValueError(f"`regions` must be lists of sets of at least one class each, but are {self.regions}.")

    def forward(self, batch: Any) -> Tokens:
        tokens = super().forward(batch)
        given = batch.get("regions") if isinstance(batch, Mapping) else None
        return tokens if given is None else replace(tokens, notes={"regions": self.member(given, batch["image"])})

    def member(self, given: Tensor, image: Tensor) -> Tensor:
        """Which regions each patch of a map ``[B, H, W]`` holds ``[B, N, R]``."""
        if given.shape[-2:] != image.shape[-2:]:
            raise ValueError(
                f"The map `regions` must be of the images' size, {tuple(image.shape[-2:])}, but is "
                f"{tuple(given.shape[-2:])}."
            )
        return torch.stack([self._holding(given, region) for region in self.regions], -1)

    def _holding(self, given: Tensor, sets: Any) -> Tensor:
        each = []
        for classes in sets:
            found = torch.isin(given, torch.tensor(list(classes), device=given.device, dtype=given.dtype))
            each.append(F.max_pool2d(found[:, None].float(), self.patch_size).flatten(1) > 0)  # [B, N]
        return torch.stack(each).all(0)
