"""Ids of trained codes as tokens, and their stem (4M, Mizrahi et al. 2023, arXiv:2312.06647)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unmask import Encoder, Frozen, Given, Latent, Mask, Prediction, Target, Tokenizer, Tokens
from unmask.api import UserError, at_least, load_run
from unmask.nn import sincos
from unmask_multimodal.maps.depth import drawn
from unmask_multimodal.maps.labels import colours


class CodesTokenizer(Tokenizer):
    """What a run's tokenizer cuts, each token as the id of its code ``[B, N]``, by the run's encoder, trained no more.

    Args:
        run: folder of a run whose encoder names codes, such as of ``vision.vq-vae`` or ``vision.dvae``. It must be
            there whenever the model is made.

    Raises:
        UserError: no such run, or one whose encoder has no ids.
    """

    def __init__(self, run: str) -> None:
        super().__init__()
        model = load_run(run).model
        encoder: Any = model.encoder
        if not hasattr(encoder, "ids"):
            raise UserError(f"`run` must be of a method with codes, but {run} is of {type(model).__name__}; nearest: "
                            "a run of `vision.vq-vae`.")  # fmt: skip
        self.cut, self.codes = Frozen(model.tokenizer), Frozen(encoder)
        self.num_codes = int(encoder.num_codes)

    @torch.no_grad()
    def forward(self, batch: Any) -> Tokens:
        tokens = self.cut(batch)
        encoder: Any = self.codes.module
        return Tokens(encoder.ids(tokens), tokens.layout, valid=tokens.valid)

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """A colour for each id, a pixel for each place."""
        ids = tokens.values.clamp(0, self.num_codes - 1)
        pixels = colours(self.num_codes).to(ids.device)[ids.view(len(ids), *tokens.layout.shape)]  # type: ignore[attr-defined]
        return drawn(pixels.permute(0, 3, 1, 2), tokens, hidden)

    def raw(self, tokens: Tokens) -> Tensor:
        """One-hot ids of all places."""
        return nn.functional.one_hot(tokens.values, self.num_codes).flatten(1).float()


class IdStem(Encoder):
    """A vector for each id, and fixed positions; no layers.

    Args:
        width: D.
        num_codes: ids are in [0, num_codes).

    Raises:
        ValueError: a number below 1; when called, tokens that are no ids.
    """

    num_layers = 0

    def __init__(self, width: int, num_codes: int) -> None:
        super().__init__()
        at_least(1, width=width, num_codes=num_codes)
        self.width = width
        self.ids = nn.Embedding(num_codes, width)
        nn.init.normal_(self.ids.weight, std=0.02)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """Rows of the places seen: there is one layer, 0."""
        if tokens.values.ndim != 2 or tokens.values.is_floating_point():
            raise ValueError(f"Tokens of an id stem must be ids [B, N], but are {tuple(tokens.values.shape)}.")
        seen = None if mask is None else mask.seen
        x = self.ids(tokens.values if seen is None else seen.gather(tokens.values))
        table = sincos(tokens.layout, tokens.values.shape[1], self.width, x.device).expand(len(x), -1, -1)
        return Latent(x + (table if seen is None else seen.gather(table)).to(x.dtype), seen)


class IdTarget(Target):
    """The ids of the asked places ``[B, M]``; in pictures the likeliest id."""

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return mask.asked.gather(tokens.values)

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor:
        return prediction.values.argmax(-1)
