"""Are tokens scaled as training expects them, about 0 and 1? Looked at on a few held-out samples before a run."""

from __future__ import annotations

import math
from itertools import chain

import lightning as L
import torch

from unmask.agreements import Agreement
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.tools.features.labels import real_tokens
from unmask.tools.features.samples import some
from unmask.tools.features.vectors import evaluating

NUM_SAMPLES = 8
LEAST_SPREAD = 0.05
"""Standard deviation over mean. Bytes of photographs have 1; 12 bits in a scale of 16 have 0.02."""
LARGEST = 10.0
"""Root mean square. Decibels have 26; scaled values have about 1."""


class TokenSpread(Agreement):
    """Token values of held-out samples should have a mean of about 0 and a standard deviation of about 1. Values that
    hardly differ (standard deviation below 5 % of the mean) or are large (root mean square above 10) are told before
    training, with both numbers.

    Neither stops a run: what is odd for an image is right for features of a graph.
    """

    between = ("data", "model.tokenizer")
    otherwise = "told"
    reads_data = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if not isinstance(model, MaskedModel) or not isinstance(data, MaskedDataModule):
            return None
        try:
            found = _moments(model, data)
        except Exception:  # training meets the same mistake, and says more about it
            return None
        if found is None:
            return None
        mean, std = found
        if std == 0 or std < LEAST_SPREAD * abs(mean):
            what = "hardly differ"
        elif math.hypot(mean, std) > LARGEST:
            what = "are large"
        else:
            return None
        return (
            f"Token values {what}: mean {mean:.3g}, standard deviation {std:.3g}, but about 0 and 1 are expected; "
            "check the units of the data, and the range or mean that it is scaled by."
        )


@torch.no_grad()
def _moments(model: MaskedModel, data: MaskedDataModule) -> tuple[float, float] | None:
    """Mean and standard deviation of values of real tokens; None for ids, places alone, and values not finite."""
    tokenizer = model.tokenizer
    device = next((x.device for x in chain(tokenizer.parameters(), tokenizer.buffers())), torch.device("cpu"))
    with evaluating(tokenizer):
        tokens = tokenizer(some(data, "val", NUM_SAMPLES, device)[0])
    if not tokens.values.is_floating_point():
        return None
    values = tokens.values[real_tokens(tokens)].double()
    if not values.numel() or not bool(values.isfinite().all()):
        return None
    if values.shape[-1] == 1 and bool((values == 1).all()):  # how tokens are written that are places alone
        return None
    return values.mean().item(), values.std(correction=0).item()
