"""Images as maps of codes: what SeiT++ hides and names (Lee et al. 2023, arXiv:2312.10105)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Grid, Loss, Tokenizer, Tokens
from unmask.api import at_least
from unmask.nn import cut
from unmask_vision.encoders.codebook import VQEncoder
from unmask_vision.tokenizer import PatchTokenizer


class CodeMapTokenizer(Tokenizer):
    """Entries of a trained book in place of pixels: ``group x group`` of them, of D numbers each, are one token.

    Values are in (row, column, number) order, as of a patch of an image with D channels; entries have length 1.

    Args:
        patches: cuts images for the tokenizer of the first stage.
        codes: that tokenizer, which is trained no more; its weights are kept with the model's.
        group: side of a token in codes, which must divide the map's sides. SeiT (Park et al. 2023): 2.

    Raises:
        ValueError: less than one code; when called, a map whose sides are no multiples of ``group``; when training
            begins, no finished first stage.
    """

    taken: Tensor
    """Whether the codes have weights of a run."""

    def __init__(self, patches: PatchTokenizer, codes: VQEncoder, group: int = 2) -> None:
        super().__init__()
        at_least(1, group=group)
        self.register_buffer("taken", torch.tensor(False))
        self.patches = patches
        self.codes = codes.requires_grad_(False).eval()
        self.group = group

    def train(self, mode: bool = True) -> CodeMapTokenizer:
        return super().train(False)

    @torch.no_grad()
    def forward(self, batch: Any) -> Tokens:
        tokens = self.patches(batch)
        assert isinstance(tokens.layout, Grid)
        return self.of(self.codes.ids(tokens), tokens.layout.shape)

    def of(self, ids: Tensor, shape: tuple[int, ...]) -> Tokens:
        """Tokens of codes ``[B, N]`` on a map of this shape."""
        for side in shape:
            if side % self.group:
                raise ValueError(
                    f"`group` must divide the map's sides {tuple(shape)}, but is {self.group}; nearest: 1."
                )
        entries = F.normalize(self.codes.book, dim=-1)[ids]  # [B, N, D]
        grid = Grid((shape[0] // self.group, shape[1] // self.group))
        return Tokens(cut(entries.mT.unflatten(2, shape), grid, grid.shape[0] * grid.shape[1]), grid)

    def begin(self, model: Any) -> None:
        if not self.taken:
            if model.first_stage is None:
                raise ValueError(
                    "`tokenizer` must not be `vision.code-map` without a trained book; nearest: the method "
                    "`vision.seit-plus-plus`, whose `codes_run` trains or names one."
                )
            model.first_stage.needed(self.codes)
            self.taken.fill_(True)


class TiedCodesLoss(Loss):
    """``mean over a token's codes of -log softmax(answer . entries)[id]``, by the book of the model's own tokenizer.

    An answer has D numbers for each code of a token, as its values have; a target's codes are the nearest entries.
    """

    def start(self, model: Any) -> None:
        if not isinstance(model.tokenizer, CodeMapTokenizer):
            raise ValueError("`tokenizer` must be a `vision.code-map` for `vision.tied-codes`, whose book it reads.")
        self._codes = (model.tokenizer.codes,)  # not a part of this part: its weights have one name

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        book = F.normalize(self._codes[0].book.float(), dim=-1)  # [C, D]
        answers, entries = (one.float().unflatten(-1, (-1, book.shape[1])) for one in (prediction, target))
        with torch.autocast(answers.device.type, enabled=False):
            scores = answers @ book.mT  # [..., codes of a token, C]
            ids = (entries @ book.mT).argmax(-1)
        loss = F.cross_entropy(scores.flatten(0, -2), ids.flatten(), reduction="none")
        return loss.view(ids.shape).mean(-1)
