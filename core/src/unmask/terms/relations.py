"""Relations: how alike the places of a sample are, as a teacher sees it (Hybrid Distillation, Shi et al. 2023,
arXiv:2306.15876; ViT-Linearizer, Wei et al. 2025)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Target, Term
from unmask.schedules import Schedule
from unmask.step import Step
from unmask.structures import Latent, Mask
from unmask.support.checks import at_least


class Relations(Term):
    """Likeness of all pairs of places that the encoder saw, by its codes and by a teacher's features.

    ``kl``: ``mean over places of KL(softmax(t t' / sqrt(d)) || softmax(x x' / sqrt(d)))``; ``mse``: mean squared
    difference of all cosines. Codes and features may be of other widths.

    Args:
        teacher: whose features, of the places that the encoder saw.
        layer: of the encoder, in [1, its layers]; None: the last one's codes, normed.
        form: ``kl`` or ``mse``.
        num_heads: codes are cut into as many pieces, each with relations of its own; it must divide both widths.
        weight: at least 0, or a schedule of it.

    Raises:
        ValueError: an unknown form, fewer heads than one, a weight below 0; when called, joint or packed tokens, or a
            width that the heads do not divide.
    """

    def __init__(
        self,
        teacher: Target,
        layer: int | None = None,
        form: Literal["kl", "mse"] = "kl",
        num_heads: int = 1,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight)
        if form not in ("kl", "mse"):
            raise ValueError(f"`form` must be one of kl, mse, but is {form!r}.")
        at_least(1, num_heads=num_heads)
        self.teacher = teacher
        self.layer = layer
        self.reads = () if layer is None else (layer,)
        self.form = form
        self.num_heads = num_heads

    def forward(self, step: Step, model: Any) -> Tensor:
        if step.mask.parts is not None or step.tokens.offsets is not None:
            raise ValueError(
                "Relations works on dense samples of one part and one mask, but these are packed or have several."
            )
        latent = step.latent.layer(self.layer)
        mask = _asking_seen(step.mask, latent)
        with torch.no_grad():
            features = self.teacher(step.tokens, mask, step.given)  # [B, K, T]
        codes = mask.asked.gather(latent.values) if latent.seen is None else latent.values  # [B, K, D]
        mine, theirs = (self._related(one) for one in (codes, features))  # [B, H, K, K]
        valid = mask.asked.valid
        real = torch.ones_like(mask.asked.index, dtype=torch.bool) if valid is None else valid
        pairs = (real[:, None, :, None] & real[:, None, None, :]).expand_as(mine)
        if self.form == "mse":
            return ((mine - theirs).square() * pairs).sum() / pairs.sum()
        low = torch.finfo(mine.dtype).min
        mine, theirs = (F.log_softmax(one.masked_fill(~pairs, low), -1) for one in (mine, theirs))
        divergence = (theirs.exp() * (theirs - mine)).masked_fill(~pairs, 0).sum(-1)  # [B, H, K]
        return divergence.sum() / pairs.any(-1).sum()

    def _related(self, codes: Tensor) -> Tensor:
        width = codes.shape[-1]
        if width % self.num_heads:
            raise ValueError(f"`num_heads` must divide the width of codes, {width}, but is {self.num_heads}.")
        pieces = codes.float().unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, K, d]
        if self.form == "mse":
            pieces = F.normalize(pieces, dim=-1)
        with torch.autocast(codes.device.type, enabled=False):
            return pieces @ pieces.mT / (1 if self.form == "mse" else pieces.shape[-1] ** 0.5)


def _asking_seen(mask: Mask, latent: Latent) -> Mask:
    """A mask that asks at the places which the encoder saw."""
    real = torch.ones_like(mask.hidden) if mask.valid is None else mask.valid
    seen = real if latent.seen is None else real & ~mask.hidden
    known = None if mask.valid is not None else mask.hidden.shape[1] if latent.seen is None else latent.values.shape[1]
    return Mask(mask.hidden, predict=seen, valid=mask.valid, num_hidden=mask.num_hidden, num_predict=known)
