"""A score as a straight line in the logs of sizes, with its band, for studies of scale (Orhan 2023,
arXiv:2308.03712)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class LogLinear:
    """``score = c_0 + sum_i c_i log10(size_i)``, by least squares.

    Args:
        coefficients: ``[1 + d]``, c_0 first; c_i is what ten times as much of size i gives.
        errors: their standard errors; infinite where there are as many runs as coefficients.
        inverse: of ``X' X``.
        deviation: of the residuals.
        freedom: runs beyond the coefficients.
        biggest: the largest of each size that was measured.
    """

    coefficients: np.ndarray
    errors: np.ndarray
    inverse: np.ndarray
    deviation: float
    freedom: int
    biggest: np.ndarray

    @classmethod
    def of(cls, sizes: Sequence[Sequence[float]], scores: Sequence[float]) -> LogLinear:
        """The fit to runs of these ``sizes`` ``[n, d]``.

        Raises:
            ValueError: sizes that are not above 0, fewer runs than coefficients, or sizes that do not vary apart.
        """
        measured = np.asarray(sizes, float)
        if measured.ndim != 2 or not (measured > 0).all():
            raise ValueError("`sizes` must be rows of numbers above 0.")
        x = np.column_stack([np.ones(len(measured)), np.log10(measured)])
        y = np.asarray(scores, float)
        if len(y) < x.shape[1] or np.linalg.matrix_rank(x) < x.shape[1]:
            raise ValueError(
                f"`sizes` must tell {x.shape[1]} coefficients apart, but {len(y)} runs of rank "
                f"{np.linalg.matrix_rank(x)} do not: vary each size by itself."
            )
        inverse = np.linalg.inv(x.T @ x)
        coefficients = inverse @ x.T @ y
        freedom = len(y) - x.shape[1]
        left = float(((y - x @ coefficients) ** 2).sum())
        deviation = (left / freedom) ** 0.5 if freedom else float("inf")
        with np.errstate(invalid="ignore"):
            errors = deviation * np.diag(inverse) ** 0.5
        return cls(coefficients, errors, inverse, deviation, freedom, measured.max(0))

    def at(self, size: Sequence[float] | np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
        """The score at a size, and half the width of the band in which the line lies with this confidence."""
        row = np.concatenate([[1.0], np.log10(np.asarray(size, float))])
        if not self.freedom:
            return float(row @ self.coefficients), float("inf")
        factor = stats.t.ppf(0.5 + confidence / 2, self.freedom)
        return float(row @ self.coefficients), float(factor * self.deviation * (row @ self.inverse @ row) ** 0.5)
