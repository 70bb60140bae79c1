"""Two looks at one image: the same places in other colours (LUT, Kim et al. 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torchvision.transforms import v2

from unmask import Tokenizer, Tokens
from unmask.api import inside
from unmask_vision.tokenizer import PatchTokenizer


class TwoLooks:
    """An augmentation: the image in two draws of brightness, contrast, saturation and hue, as ``image`` and ``second``.

    Args:
        strength: brightness, contrast and saturation are multiplied by numbers in [1 - strength, 1 + strength]; in
            [0, 1).
        hue: share of the colour circle that colours turn by at most, in [0, 0.5]; 0 for grey images.
        before: another augmentation, of the geometry that both share; None: none.

    Raises:
        ValueError: a number outside its range.
    """

    def __init__(self, strength: float = 0.4, hue: float = 0.1, before: Any = None) -> None:
        inside("[0, 1)", strength=strength)
        inside("[0, 0.5]", hue=hue)
        self.colours = v2.ColorJitter(strength, strength, strength, hue)
        self.before = before

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        sample = sample if self.before is None else self.before(sample)
        image = sample["image"]  # [C, H, W]
        return {**sample, "image": self._look(image), "second": self._look(image)}

    def _look(self, image: Tensor) -> Tensor:
        if image.shape[0] in (1, 3):
            return self.colours(image)
        return image


class TwoLooksTokenizer(Tokenizer):
    """Parts ``first``, the batch's ``image``, and ``second``, its ``second``, or the image again where it has none.

    Args:
        patches: cuts each of them.
    """

    def __init__(self, patches: PatchTokenizer) -> None:
        super().__init__()
        self.patches = patches

    def forward(self, batch: Any) -> Tokens:
        looks = {"first": batch["image"], "second": batch.get("second", batch["image"])}
        return Tokens.join({name: self.patches({"image": image}) for name, image in looks.items()})

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """The first look."""
        first = tokens.part("first")
        return self.patches.render(first, None if hidden is None else hidden[:, : first.num_tokens])
