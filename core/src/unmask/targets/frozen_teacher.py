"""Frozen teacher: codes of an encoder trained before (MaskDistill, Peng et al. 2022; MR-MAE, Gao et al. 2023)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from unmask.frozen import Frozen
from unmask.parts import Encoder, Target
from unmask.step import Given
from unmask.structures import Mask, Tokens


class FrozenTeacher(Target):
    """Codes ``[B, M, D]`` of the asked places, by an encoder that is not trained.

    Its weights are those that ``encoder`` is made with; they are left out of checkpoints, see `Frozen`.

    Args:
        encoder: the teacher, which must lie on the same tokens.
        layer: whose codes, in [1, its number of layers]; None: the last one's, normed.
        normalize: of each code: ``layer`` norm without scale and shift, its ``length`` set to 1, or ``none``.
        sees: ``all`` places, or the ``visible`` ones alone; then only they may be asked for.

    Raises:
        ValueError: a layer or a word out of range; when called, places that the teacher has not seen.
    """

    def __init__(
        self,
        encoder: Encoder,
        layer: int | None = None,
        normalize: Literal["layer", "length", "none"] = "layer",
        sees: Literal["all", "visible"] = "all",
    ) -> None:
        super().__init__()
        encoder.depth(layer)  # refuses one out of range
        for name, word, words in (
            ("normalize", normalize, ("layer", "length", "none")),
            ("sees", sees, ("all", "visible")),
        ):
            if word not in words:
                raise ValueError(f"`{name}` must be one of {', '.join(words)}, but is {word!r}.")
        self.teacher = Frozen(encoder)
        self.layer = layer
        self.normalize = normalize
        self.sees = sees

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        if self.sees == "all":
            codes = mask.asked.gather(self.teacher(tokens, None, self.layer).values)
        else:
            latent = self.teacher(tokens, mask, self.layer)
            if latent.seen is None or latent.seen.index.shape != mask.asked.index.shape:
                raise ValueError("`ask` must be 'visible' for a teacher that sees visible places alone, but is not.")
            codes = latent.values
        if self.normalize == "layer":
            return F.layer_norm(codes.float(), codes.shape[-1:])
        return F.normalize(codes.float(), dim=-1) if self.normalize == "length" else codes
