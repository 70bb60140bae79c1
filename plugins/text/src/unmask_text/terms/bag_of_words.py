"""Bag of words: which tokens a document is made of, from one code (Ma et al. 2024, arXiv:2401.11248, section 3)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Schedule, Step, Term, Tokens

Pool = Literal["cls", "mean"]


class BagOfWordsTerm(Term):
    """``loss = mean over documents of the mean over their distinct tokens of -log softmax(norm(W c) table.T + b)``

    with ``c`` the document's one code and ``table`` the encoder's token embeddings ``[V, E]``. All tokens of a document
    are asked for, visible ones as well.

    Args:
        weight: at least 0 (paper: 1).
        pool: ``cls``, the class token's code (section 3.2), or ``mean``, the mean of all tokens' codes.

    Differs from the paper and its released code in a linear layer, a norm and a bias of its own; there, it is the
    vocabulary head itself.
    ``W`` starts at one where it is square, so that a code has what it needs for an answer from the first step on.

    Memory grows with documents times vocabulary, ``[B, V]`` logits in float32.

    Raises:
        ValueError: an unknown pool, or (in `start`) an encoder without token embeddings.
    """

    def __init__(self, weight: float | Schedule = 1.0, pool: Pool = "cls") -> None:
        super().__init__(weight)
        if pool not in ("cls", "mean"):
            raise ValueError(f"`pool` must be 'cls' or 'mean', but is {pool!r}.")
        self.pool = pool

    def start(self, model: Any) -> None:
        table = getattr(model.encoder, "embedding", None)
        if table is None:
            kind = type(model.encoder).__name__
            raise ValueError(f"`encoder` must have token embeddings, as `text.transformer` has, but is a {kind}.")
        vocab_size, width = table.shape
        self.dense = nn.Linear(model.encoder.width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        if width == model.encoder.width:
            nn.init.eye_(self.dense.weight)
        else:
            nn.init.orthogonal_(self.dense.weight)

    def forward(self, step: Step, model: Any) -> Tensor:
        code = step.latent.pool(self.pool, step.tokens.places)  # [B, D]
        hidden = self.norm(self.dense(code))  # [B, E]
        scores = F.linear(hidden, model.encoder.embedding.to(hidden.dtype), self.bias.to(hidden.dtype))  # [B, V]
        document, token = bags(step.tokens)  # [S]
        shares = 1 / torch.bincount(document, minlength=len(code)).clamp(min=1)  # [B]
        losses = -scores.float().log_softmax(-1)[document, token] * shares[document]  # [S]
        return losses.sum() / max(len(code), 1)


def bags(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The distinct tokens of each document: numbers of documents ``[S]`` and ids ``[S]``."""
    ids = tokens.values
    if tokens.offsets is not None:
        document = torch.repeat_interleave(torch.arange(tokens.num_samples, device=ids.device), tokens.offsets.diff())
    else:
        document = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        if tokens.valid is not None:
            document, ids = document[tokens.valid], ids[tokens.valid]
    pairs = torch.stack([document.flatten(), ids.flatten()])
    document, token = torch.unique(pairs, dim=1)
    return document, token
