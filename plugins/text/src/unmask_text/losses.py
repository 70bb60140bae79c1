"""Cross-entropy over a vocabulary without ever holding all of its logits.

Logits are made for a few tokens at a time and turned into gradients at once, while they are there: the
memory needed does not grow with the vocabulary, and nothing is computed twice. (`torch.nn.functional.
linear_cross_entropy` works alike, but of torch 2.13 on and without a loss per token.)
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Given, Loss, LossValue, Prediction
from unmask_text.heads.vocabulary import VocabularyPrediction

CHUNK = 2**24
"""Logits held at a time: 64 MiB in float32."""


class VocabularyLoss(Loss):
    """``-log softmax(W h + b)[t]`` in nats, the mean over asked places; or their sum weighted by
    ``prediction.weights``, where the mask gives them (masked diffusion). Of others, the values are the logits.
    """

    def forward(self, prediction: Prediction, target: Tensor, given: Given | None = None) -> LossValue:
        if not isinstance(prediction, VocabularyPrediction):
            return super().forward(prediction, target, given)
        valid = prediction.asked.valid
        values, ids = (prediction.values, target) if valid is None else (prediction.values[valid], target[valid])
        ids = ids.flatten()  # [M]
        if prediction.weights is not None:
            shares = prediction.weights if valid is None else prediction.weights[valid]
        else:
            shares = torch.full(ids.shape, 1 / max(len(ids), 1), device=ids.device)
        total, losses = linear_cross_entropy(
            values.flatten(0, -2), prediction.table, prediction.bias, ids, shares.flatten()
        )
        if valid is None:
            return LossValue(total, losses.view(target.shape))
        return LossValue(total, losses.new_zeros(target.shape).masked_scatter(valid, losses))

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """Of logits ``[B, M, V]`` that are already there."""
        return F.cross_entropy(prediction.float().flatten(0, -2), target.flatten(), reduction="none").view(target.shape)


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, shares: Tensor, chunk: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """``sum(shares * loss)`` and the losses themselves, of ``cross_entropy(hidden @ weight.T + bias, target)``.

    Args:
        hidden: ``[M, D]``.
        weight: ``[V, D]``.
        bias: ``[V]``, or None.
        target: ``[M]`` int64.
        shares: ``[M]`` float32, what each loss counts.
        chunk: logits held at a time.

    Returns:
        a scalar in float32 with a gradient to ``hidden``, ``weight`` and ``bias``, and ``[M]`` without.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    if torch.is_grad_enabled():
        return cast(tuple[Tensor, Tensor], _Chunked.apply(hidden, weight, bias, target, shares, chunk))
    losses = hidden.new_empty(len(hidden), dtype=torch.float32)
    with torch.autocast(kind, enabled=False):
        table, offset = weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
        for rows in _rows(len(hidden), len(weight), chunk):
            scores = F.linear(hidden[rows], table, offset).float().log_softmax(-1)
            losses[rows] = -scores.gather(1, target[rows, None])[:, 0]
    return (losses * shares).sum(), losses


class _Chunked(torch.autograd.Function):
    """Makes the gradients on the way forward; backward scales them by what comes from above."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, shares: Tensor, chunk: int
    ) -> tuple[Tensor, Tensor]:
        for_hidden, for_weight, for_bias = ctx.needs_input_grad[:3]
        losses = hidden.new_empty(len(hidden), dtype=torch.float32)
        to_hidden = torch.empty_like(hidden) if for_hidden else None
        to_weight = to_bias = None
        if for_weight and not len(hidden):
            to_weight = torch.zeros_like(weight)
        if for_bias:
            assert bias is not None
            to_bias = torch.zeros_like(bias)
        with torch.autocast(hidden.device.type, enabled=False):
            table, offset = weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
            for rows in _rows(len(hidden), len(weight), chunk):
                # Of the chunk's logits, in place: log-probabilities, then probabilities, then the gradient.
                scores = F.linear(hidden[rows], table, offset).float().log_softmax(-1)  # [m, V]
                answers = target[rows, None]
                losses[rows] = -scores.gather(1, answers)[:, 0]
                gradient = scores.exp_().scatter_add_(1, answers, scores.new_full(answers.shape, -1.0))
                gradient *= shares[rows, None]
                if to_bias is not None:
                    to_bias += gradient.sum(0)
                gradient = gradient.to(hidden.dtype)
                if to_hidden is not None:
                    torch.mm(gradient, table, out=to_hidden[rows])
                if not for_weight:
                    continue
                if to_weight is None:
                    to_weight = torch.mm(gradient.T, hidden[rows]).to(weight.dtype)
                elif hidden.dtype == weight.dtype:
                    to_weight.addmm_(gradient.T, hidden[rows])
                else:  # chunks add up in the precision of the weights
                    to_weight += torch.mm(gradient.T, hidden[rows])
        ctx.gradients = (to_hidden, to_weight, to_bias)  # not saved tensors, which would be copied on their way out
        ctx.mark_non_differentiable(losses)
        return (losses * shares).sum(), losses

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("The vocabulary loss gives its gradients once: `retain_graph` is of no use to it.")
        gradients, ctx.gradients = ctx.gradients, None
        if scale.is_cuda or scale != 1:
            for part in gradients:
                if part is not None:
                    part.mul_(scale)
        return (*gradients, None, None, None)


def _rows(num_tokens: int, vocab_size: int, chunk: int) -> list[slice]:
    """Even parts of the tokens, of at most ``chunk`` logits each."""
    parts = math.ceil(num_tokens / max(chunk // vocab_size, 1))
    size = math.ceil(num_tokens / max(parts, 1))
    return [slice(start, start + size) for start in range(0, num_tokens, max(size, 1))]
