"""Bag of words: which tokens a document is made of, from one code (Ma et al. 2024, arXiv:2401.11248, section 3)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Latent, Tokens

Pool = Literal["cls", "mean"]


class BagOfWordsHead(nn.Module):
    """``loss = mean over documents of the mean over their distinct tokens of -log softmax(norm(W c) table.T + b)``

    with ``c`` the document's one code. It is a part of a method beside its predictor: a predictor is not shown values,
    and here they are all asked for, visible ones as well.

    Args:
        encoder_width: D, width of the codes.
        vocab_size: V.
        width: E, width of the table of token embeddings; None: ``encoder_width``.
        pool: ``cls``, the class token's code (section 3.2), or ``mean``, the mean of all tokens' codes.

    Differs from the paper and its released code in a linear layer, a norm and a bias of its own; there, it is the
    vocabulary head itself.
    ``W`` starts at one where it is square, so that a code has what it needs for an answer from the first step on.
    """

    def __init__(self, encoder_width: int, vocab_size: int, width: int | None = None, pool: Pool = "cls") -> None:
        super().__init__()
        if pool not in ("cls", "mean"):
            raise ValueError(f"`pool` must be 'cls' or 'mean', but is {pool!r}.")
        width = width or encoder_width
        self.pool = pool
        self.dense = nn.Linear(encoder_width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        if width == encoder_width:
            nn.init.eye_(self.dense.weight)
        else:
            nn.init.orthogonal_(self.dense.weight)

    def forward(self, latent: Latent, tokens: Tokens, table: Tensor) -> Tensor:
        """The loss of a batch, a scalar in float32, nats per token.

        Args:
            latent: codes of documents of which some tokens were hidden.
            tokens: ids ``[T]`` (packed) or ``[B, N]``, as they were before.
            table: ``[V, E]`` of token embeddings, shared with the encoder.

        Memory grows with documents times vocabulary, ``[B, V]`` logits in float32.
        """
        code = latent.pool(self.pool, tokens.places)  # [B, D]
        hidden = self.norm(self.dense(code))  # [B, E]
        scores = F.linear(hidden, table.to(hidden.dtype), self.bias.to(hidden.dtype))
        document, token = bags(tokens)  # [S]
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
