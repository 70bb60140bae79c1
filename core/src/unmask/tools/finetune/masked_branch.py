"""A second, masked pass in fine-tuning: by the labels or by what the whole sample was answered.

`prediction` is MaskSub (Heo et al. 2023, arXiv:2306.11339); `labels` with an agreement is MaskSup for segmentation
(Zunair & Ben Hamza 2022, arXiv:2210.00923) and MSL for several labels a sample (the same 2023, arXiv:2310.18517).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.draws import Draws
from unmask.masks import RandomMask
from unmask.structures import Mask, Tokens
from unmask.tools.features.labels import Task
from unmask.tools.finetune.objective import Objective
from unmask.tools.finetune.settings import Settings


@dataclass(frozen=True)
class MaskedBranch:
    """The masked pass, and what it adds to the loss ``L`` of the whole sample's outputs ``o``.

    ``prediction``: ``(L + weight * D(o_masked, stop-gradient(p))) / (1 + weight)``, p the whole sample's own answer:
    shares of classes by cross-entropy, numbers by the loss of regression.
    ``labels``: ``L + weight * L(o_masked) + agreement * mean((p - p_masked)^2)``, which reaches both passes.

    Args:
        target: ``prediction`` or ``labels``.
        ratio: share of a sample's tokens that are hidden, at random, in [0, 1).
        weight: at least 0.
        agreement: at least 0.
        shown: ``drop``: the encoder is not given hidden tokens; ``zero``: it is given zeros for their values, which are
            the mean value where a tokenizer normalises.

    Differs from MaskSup and its successor in hiding tokens at random, where those hide strokes of a brush.
    """

    target: str
    ratio: float = 0.5
    weight: float = 1.0
    agreement: float = 0.0
    shown: str = "drop"

    @classmethod
    def of(cls, settings: Settings) -> MaskedBranch | None:
        """As settings have it; None: there is no such pass."""
        if settings.masked_branch == "none":
            return None
        default = 1.0 if settings.masked_branch == "labels" else 0.0
        agreement = default if settings.masked_agreement is None else settings.masked_agreement
        return cls(settings.masked_branch, settings.masked_ratio, settings.masked_weight, agreement, settings.masked_as)

    def check(self, tokens: Tokens, task: Task) -> None:
        """Refuse what cannot be hidden.

        Raises:
            ValueError: dropped tokens that have labels, or are packed; zeros for ids; joint tokens.
        """
        if tokens.parts is not None:
            raise ValueError(f"`masked_branch` must be 'none' for samples of several parts, but is {self.target!r}.")
        if self.shown == "drop" and (task.per_token or tokens.offsets is not None):
            why = "labels per token, which need a code of each" if task.per_token else "packed samples"
            raise ValueError(f"`masked_as` must be 'zero' for {why}, but is 'drop'.")
        if self.shown == "zero" and not tokens.values.is_floating_point():
            raise ValueError("`masked_as` must be 'drop' for tokens that are ids, but is 'zero'.")

    def hide(self, tokens: Tokens, draws: Draws) -> tuple[Tokens, Mask | None]:
        """What the masked pass is given: tokens, and the mask of those that are dropped."""
        if not self.ratio:
            return tokens, None
        mask = RandomMask(self.ratio)(tokens, draws=draws)
        if self.shown == "drop":
            return tokens, mask
        return replace(tokens, values=tokens.values.masked_fill(mask.hidden[..., None], 0)), None

    def total(
        self, objective: Objective, whole: Tensor, masked: Tensor, target: Tensor, known: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its summands by name.

        Args:
            objective: what the labels ask.
            whole: outputs of the whole samples ``[n, C]`` float32.
            masked: outputs of the masked ones.
            target: as of `Objective.target`.
            known: likewise.
        """
        own = objective.loss(whole, target, known)
        if self.target == "prediction":
            losses = objective.distilled(masked, objective.soft(whole).detach())
            other = losses.where(known, 0).sum() / known.sum().clamp(min=1)
            return (own + self.weight * other) / (1 + self.weight), {"masked": other}
        other = objective.loss(masked, target, known)
        apart = F.mse_loss(objective.soft(whole), objective.soft(masked), reduction="none")
        seen = known[:, None].expand_as(apart) if known.ndim < apart.ndim else torch.ones_like(apart, dtype=torch.bool)
        agreement = apart.where(seen, 0).sum() / seen.sum().clamp(min=1)
        return own + self.weight * other + self.agreement * agreement, {"masked": other, "agreement": agreement}
