"""Values that are not finite, by one rule: nothing trains on NaN or infinity, and what happens to them is counted.

===================================  ==============================================
where a sample stays whole without   the value becomes 0: pixels, samples of a wave
where a part may be missing          the part is left out: points
where neither is true                the data is refused: features of nodes
===================================  ==============================================
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

Values = TypeVar("Values", np.ndarray, torch.Tensor)

FILLED = "have values that are not finite, which became 0"
"""What findings say of samples that were filled."""


def fill_not_finite(values: Values) -> tuple[Values, int]:
    """``values`` with 0 for NaN and infinity, and how many there were; the same object where there were none."""
    if isinstance(values, torch.Tensor):
        if not values.is_floating_point():
            return values, 0
        finite = values.isfinite()
        count = values.numel() - int(finite.sum())
        return (values.where(finite, 0), count) if count else (values, 0)
    if values.dtype.kind != "f":
        return values, 0
    known = np.isfinite(values)
    count = values.size - int(known.sum())
    return (np.where(known, values, values.dtype.type(0)), count) if count else (values, 0)
