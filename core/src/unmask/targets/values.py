"""Value target: the hidden values themselves, raw or normalised per token (MAE, section 3)."""

from __future__ import annotations

from torch import Tensor

from unmask.parts import Target
from unmask.step import Given
from unmask.structures import Mask, Prediction, Tokens

EPSILON = 1e-6


class ValueTarget(Target):
    """The values of the asked tokens, ``[B, M, V]``; of tokens that are ids, the ids ``[B, M]``.

    Args:
        normalize: subtract each token's own mean and divide by its own standard deviation,
            ``(x - mean) / sqrt(unbiased variance + 1e-6)`` (MAE's "normalised pixels").

    Raises:
        ValueError: normalising tokens of a single value, which have no deviation.
    """

    def __init__(self, normalize: bool = False) -> None:
        super().__init__()
        self.normalize = normalize

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        values = mask.asked.gather(tokens.values)  # [B, M, V]
        if not self.normalize:
            return values
        mean, std = _moments(values)
        return (values - mean) / std

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor:
        """Predicted values in the units of ``tokens``, given each token's true mean and standard deviation.

        Of tokens that are ids ``[B, N]`` the likeliest ones.
        """
        if prediction.values.ndim > tokens.values.ndim and not tokens.values.is_floating_point():
            return prediction.values.argmax(-1)
        if not self.normalize:
            return prediction.values
        mean, std = _moments(prediction.asked.gather(tokens.values))
        return prediction.values * std + mean


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    if values.shape[-1] < 2:
        raise ValueError(f"`normalize` needs tokens of at least 2 values, but they have {values.shape[-1]}.")
    return values.mean(-1, keepdim=True), (values.var(-1, keepdim=True) + EPSILON).sqrt()
