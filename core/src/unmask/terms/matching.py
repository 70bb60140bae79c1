"""Matching: do two parts belong to one sample? (ALBEF, Li et al. 2021, arXiv:2107.07651; M3AE, Chen et al. 2022,
arXiv:2209.07098; UNITER, Chen et al. 2019, arXiv:1909.11740; VIOLET, Fu et al. 2021, arXiv:2111.12681)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.parts import Term
from unmask.schedules import Schedule
from unmask.step import Step
from unmask.structures import Latent, Mask, Tokens
from unmask.support.checks import at_least
from unmask.terms.alignment import width_of
from unmask.terms.contrast import Contrast
from unmask.terms.transport import Transport


class Matching(Term):
    """The encoder reads right pairs and wrong ones, made of the batch, and a head tells which are right.

    ``pairs``: ``(CE(head(right), 1) + mean over negatives of CE(head(wrong), 0)) / 2``; ``choice``: cross-entropy of
    the right one among all, of ``head / temperature``. The head reads both parts' pooled codes, each through a linear
    layer and a tanh, or the trunk's own token through one. Wrong partners come from the device's own batch: at random,
    or hard ones, by the softmax of the similarities of a `Contrast` of the same model. A batch of one sample gives 0,
    and samples that lack a part do not count.

    Args:
        first: the part that stays, by its name.
        second: the part that is exchanged.
        num_negatives: wrong partners of each sample, at least 1. ALBEF, TIP: 1 or 2; VIOLET: 3.
        form: ``pairs`` or ``choice`` (VIOLET).
        hard: the name of the model's `Contrast` that tells likely wrong partners; None: at random.
        hides: whether pairs are read with their masks, as the step shows them (VIOLET); else whole (M3AE's release).
        pools: of the codes: ``mean`` or ``cls``; or ``trunk``, the first token that belongs to no part (FLAVA), or
            ``first``, the class token of the first part alone (LXMERT, UNITER).
        temperature: of ``choice``, above 0. VIOLET: 0.05.
        transport: its distance of right pairs less that of wrong ones is added with its weight (UNITER); None: not.
        weight: at least 0, or a schedule of it.

    Raises:
        ValueError: a number or word outside its range; when called, packed parts, or no such contrast.

    Differs from M3AE, UNITER in that each sample is read once right and once wrong, instead of one of both by a coin.
    """

    def __init__(
        self,
        first: str = "text",
        second: str = "image",
        num_negatives: int = 1,
        form: Literal["pairs", "choice"] = "pairs",
        hard: str | None = None,
        hides: bool = False,
        pools: tuple[Literal["mean", "cls"], Literal["mean", "cls"]] | Literal["trunk", "first"] = ("mean", "mean"),
        temperature: float = 0.05,
        transport: Transport | None = None,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight)
        at_least(1, num_negatives=num_negatives)
        if form not in ("pairs", "choice"):
            raise ValueError(f"`form` must be 'pairs' or 'choice', but is {form!r}.")
        if not temperature > 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.names = (first, second)
        self.num_negatives, self.form, self.hard, self.hides = num_negatives, form, hard, hides
        self.pools: Any = pools if isinstance(pools, str) else tuple(pools)
        if isinstance(pools, str) and pools not in ("trunk", "first"):
            raise ValueError(f"`pools` must be 'trunk', 'first' or one of each part, but is {pools!r}.")
        self.temperature = temperature
        self.transport = transport

    def start(self, model: Any) -> None:
        widths = [width_of(model.encoder, name) for name in self.names]
        widths = {"trunk": [int(model.encoder.width)], "first": widths[:1]}.get(str(self.pools), widths)
        self.poolers = nn.ModuleList(nn.Linear(width, width) for width in widths)
        self.head = nn.Linear(sum(widths), 1 if self.form == "choice" else 2)
        named = model.terms[self.hard] if self.hard is not None and self.hard in model.terms else None
        if self.hard is not None and not isinstance(named, Contrast):
            raise ValueError(f"`hard` must name a contrast among the model's terms, but is {self.hard!r}.")

    def forward(self, step: Step, model: Any) -> Tensor:
        num_samples = step.tokens.num_samples
        num_negatives = min(self.num_negatives, num_samples - 1)
        others = self.partners(step, model, num_negatives)  # [B, K]
        own = torch.arange(num_samples, device=others.device)
        second = torch.cat([own, others.mT.flatten()])  # right pairs first, then the first wrong ones ...
        first = own.repeat(num_negatives + 1)

        tokens, mask = step.tokens, None
        if self.hides:
            assert step.given is not None
            tokens, mask = step.given.shown.tokens, step.given.shown.mask
        index = {self.names[0]: first, self.names[1]: second}
        tokens = Tokens.join({name: _rows(tokens.part(name), index[name], name) for name in self.names})
        mask = mask and Mask.join({name: _rows_of_mask(mask.part(name), index[name]) for name in self.names})
        latent = model.encoder(tokens, mask)
        answers = self.told(latent, tokens).unflatten(0, (-1, num_samples))  # [1 + K, B, C]
        real = _there(tokens, self.names, len(first), answers.device).view(-1, num_samples)  # [1 + K, B]
        with torch.autocast(answers.device.type, enabled=False):
            total = self._compared(answers.float(), real)
        if self.transport is not None and num_negatives:
            distance, there = self.transport.distances(latent, tokens)
            distance, there = distance.view(-1, num_samples), there.view(-1, num_samples)
            right, wrong = (_mean(distance[some], there[some]) for some in (slice(1), slice(1, None)))
            total = total + float(self.transport.weight) * (right - wrong)  # type: ignore[arg-type]
        return total

    def told(self, latent: Latent, tokens: Tokens) -> Tensor:
        """What the head says of each pair: right against wrong ``[B, 2]``, or one score ``[B, 1]``."""
        if isinstance(self.pools, str):
            token = latent.prefix if self.pools == "trunk" else latent.part(self.names[0]).prefix
            if token is None:
                raise ValueError(
                    f"`pools` must not be {self.pools!r} for an encoder without such a token; nearest: mean."
                )
            own: Tensor = self.head(torch.tanh(self.poolers[0](token[:, 0])))
            return own
        pooled = [
            torch.tanh(pooler(latent.part(name).pool(pool, tokens.part(name).places)))
            for name, pool, pooler in zip(self.names, self.pools, self.poolers, strict=True)
        ]
        answers: Tensor = self.head(torch.cat(pooled, dim=-1))
        return answers

    def partners(self, step: Step, model: Any, count: int) -> Tensor:
        """Wrong partners of each sample ``[B, count]``, all different."""
        draws = step.mask.streams().named("matching")
        num_samples = step.tokens.num_samples
        chances = torch.ones(num_samples, num_samples, device=draws.device)
        if self.hard is not None:
            with torch.no_grad():
                chances = (
                    model.terms[self.hard].similarities(step, self.names, model).softmax(1) + 1e-4
                )  # as ALBEF's code
        keys = chances.log() + draws.gumbel(num_samples)  # the largest: a draw without replacement
        return keys.fill_diagonal_(float("-inf")).topk(count, dim=1).indices

    def _compared(self, answers: Tensor, real: Tensor) -> Tensor:
        if len(answers) < 2:
            return answers.sum() * 0
        if self.form == "choice":
            scores = (answers[..., 0] / self.temperature).masked_fill(~real, float("-inf"))  # [1 + K, B]
            chances = scores.mT.log_softmax(1)[:, 0]
            usable = real[0] & real[1:].any(0)
            return _mean(-chances.where(usable, 0), usable)
        right = F.log_softmax(answers, dim=-1)  # [1 + K, B, 2]
        return -(_mean(right[:1, :, 1], real[:1]) + _mean(right[1:, :, 0], real[1:])) / 2


def _mean(values: Tensor, real: Tensor) -> Tensor:
    return (values * real).sum() / real.sum().clamp(min=1)


def _rows(tokens: Tokens, index: Tensor, name: str) -> Tokens:
    """These samples of dense tokens."""
    if tokens.offsets is not None or tokens.parts is not None:
        raise ValueError(f"Tokens of `{name}` must be dense to be matched, but are packed; pad them.")
    values, positions, valid = (
        one if one is None else one[index] for one in (tokens.values, tokens.positions, tokens.valid)
    )
    return replace(tokens, values=values, positions=positions, valid=valid)


def _rows_of_mask(mask: Mask, index: Tensor) -> Mask:
    fields: dict[str, Any] = {
        name: None if getattr(mask, name) is None else getattr(mask, name)[index]
        for name in ("hidden", "predict", "valid", "show", "donor", "weight")
    }
    return replace(mask, **fields, draws=mask.draws and mask.draws[index])


def _there(tokens: Tokens, names: tuple[str, str], count: int, device: torch.device) -> Tensor:
    """Which pairs have both parts: ``[B]``."""
    there = torch.ones(count, dtype=torch.bool, device=device)
    for name in names:
        valid = tokens.part(name).valid
        there = there if valid is None else there & valid.any(1)
    return there
