"""What was seen of images before training: sizes, values, and what is odd, told in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from unmask.data import NUM_NAMED, Report
from unmask_vision.data.scale import Scale

COARSE = "are finer than 8 bits, unlike those looked at before training, and are read at 8"
"""What findings say of images that cannot be as fine as their file, for all must be alike."""
NUM_LOOKED = 64
"""Images, spread evenly over many, whose values are looked at."""
NUM_PIXELS = 2**16
"""Pixels of each that its mean and standard deviation are measured on, about."""
One = TypeVar("One")
SMALL = 1 / 16
"""Values that span less of [0, 1] look alike to a model: 12-bit numbers in 16 bits do."""
SMALL_STD = 1 / 64
"""So do those that deviate less from their mean, a few far ones aside."""


@dataclass
class Looks(Report):
    """What a data set of images is like.

    Args:
        sizes: number of images by height and width, of those that were looked at.
        num_images: whose values were looked at.
        low: least value, pixels of 8 and 16 bits being in [0, 1].
        high: greatest value.
        fine: whether any of them is finer than 8 bits.
        scale: of numbers, where it is other than by their type.
        moments: number of pixels, and sums of values and of their squares, per channel ``[3, C]`` float64.

    Further arguments are those of `Report`.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    num_images: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    fine: bool = False
    scale: Scale | None = None
    moments: Tensor | None = None

    def see(self, image: Tensor) -> None:
        """Looks at the values of ``image``, ``[C, H, W]`` uint8 or float."""
        scale = 255 if image.dtype == torch.uint8 else 1
        low, high = (float(value) / scale for value in torch.aminmax(image))
        self.num_images += 1
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.fine = self.fine or image.is_floating_point()
        step = max(int((image[0].numel() / NUM_PIXELS) ** 0.5), 1)
        values = image[:, ::step, ::step].flatten(1).double() / scale  # [C, n]
        moments = torch.stack([torch.full_like(values[:, 0], values.shape[1]), values.sum(1), values.square().sum(1)])
        self.moments = moments if self.moments is None else self.moments + moments

    def amount(self) -> str:
        if len(self.sizes) <= NUM_NAMED:
            return f"{', '.join(f'{width} x {height}' for height, width in sorted(self.sizes))} pixels"
        sides = [side for size in self.sizes for side in size]
        return f"sides of {min(sides):,} to {max(sides):,} pixels"

    def lines(self) -> Iterator[str]:
        yield from super().lines()
        if self.scale is not None:
            yield f"Numbers are scaled: {self.scale} become 0 and 1."
        if self.moments is None:
            return
        seen = f"The values of {self.num_images:,} image{'s' * (self.num_images != 1)}"
        span = f"[{self.low:.4g}, {self.high:.4g}]"
        if self.low < 0 or self.high > 1:
            yield f"{seen} lie in {span}, but those of floats should lie in [0, 1].{self._advice()}"
        elif self.low == self.high:
            yield f"{seen} are all {self.low:.4g}: there is nothing to learn from."
        elif self.high - self.low < SMALL:
            bits = f" ({self.low * 65535:,.0f} to {self.high * 65535:,.0f} as 16-bit numbers)"
            bits = bits if self.fine and self.scale is None else ""
            yield f"{seen} lie in {span}{bits}, so near together that all images look alike.{self._advice()}"
        elif self._spread()[1].max() < SMALL_STD:
            most = float(self._spread()[1].max())
            yield (
                f"{seen} lie in {span}, but deviate by {most:.2g} at most from the mean of their channel, so near "
                f"together that all images look alike.{self._advice()}"
            )

    def _spread(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation per channel ``[C]``."""
        assert self.moments is not None
        count, total, squares = self.moments
        mean = total / count
        return mean, (squares / count - mean.square()).clamp(min=0).sqrt()

    def _advice(self) -> str:
        mean, std = self._spread()
        if not bool((std > 0).all()):
            return ""
        if self.scale is None:
            return " Scale them by what they are: `--data.scale percentiles`, or `range` or `mean-std`."
        mean_, std_ = (f"'[{', '.join(f'{number:.4g}' for number in each.tolist())}]'" for each in (mean, std))
        return (
            " Tell the tokenizer their mean and standard deviation: `--model.tokenizer unmask_vision.tokenizer."
            f"PatchTokenizer --model.tokenizer.mean {mean_} --model.tokenizer.std {std_}`, with "
            f"`--model.tokenizer.channels {len(mean)}` and `--model.tokenizer.patch_size` as the model has it."
        )


def spread(numbers: Sequence[One], most: int) -> list[One]:
    """At most ``most`` of them, spread evenly."""
    count = min(len(numbers), most)
    return [numbers[place * len(numbers) // count] for place in range(count)]
