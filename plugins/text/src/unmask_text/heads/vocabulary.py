"""Vocabulary head: BERT's transform and tied decoder, at asked places only (Devlin et al. 2018, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from unmask import Draws, Encoder, Latent, Mask, Prediction, Predictor, Tokens


@dataclass(frozen=True, eq=False)
class VocabularyPrediction(Prediction):
    """Answers whose logits are made when asked for: ``values @ table.T + bias``.

    Args:
        values: ``[M, E]`` (packed) or ``[B, M, E]``.
        table: ``[V, E]``, one row per token of the vocabulary.
        bias: ``[V]``; None: the head has none.
    """

    table: Tensor = None  # type: ignore[assignment]
    bias: Tensor | None = None

    def logits(self) -> Tensor:
        """Scores of all tokens of the vocabulary ``[..., M, V]``, all at once."""
        bias = None if self.bias is None else self.bias.to(self.values.dtype)
        return F.linear(self.values, self.table.to(self.values.dtype), bias)


class VocabularyHead(Predictor):
    """``h = norm(act(W code + b))`` at each asked place; its logits are ``h table.T + bias``.

    Args:
        encoder_width: D, width of the codes.
        vocab_size: V.
        width: E, width of the table of token embeddings; None: ``encoder_width``.
        activation: transformers' name of it.
        epsilon: of the norm.
        dense_bias: whether the transform has a bias; ModernBERT: no.
        norm_bias: whether the norm has one; ModernBERT: no.
        decoder_bias: whether each token of the vocabulary has one.
        tied: whether the table is that of the input embeddings; a method then calls `tie`. Until it
            does, and without, the table is the head's own, normal(0.02).
        excluded_id: a token that is never an answer ([MASK], in masked diffusion); None: all may be.

    Raises:
        ValueError: codes of visible places only; a table of another size in `tie`.
    """

    def __init__(
        self,
        encoder_width: int,
        vocab_size: int,
        width: int | None = None,
        activation: str = "gelu",
        epsilon: float = 1e-12,
        dense_bias: bool = True,
        norm_bias: bool = True,
        decoder_bias: bool = True,
        tied: bool = True,
        excluded_id: int | None = None,
    ) -> None:
        super().__init__()
        width = width or encoder_width
        self.dense = nn.Linear(encoder_width, width, bias=dense_bias)
        self.activation = ACT2FN[activation]
        self.norm = nn.LayerNorm(width, eps=epsilon, bias=norm_bias)
        self.table = nn.Parameter(torch.empty(vocab_size, width))
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if decoder_bias else None
        self.tied = tied
        self.excluded_id = excluded_id
        for weight in (self.dense.weight, self.table):
            nn.init.normal_(weight, std=0.02)
        if dense_bias:
            nn.init.zeros_(self.dense.bias)

    @classmethod
    def matching(cls, encoder: Encoder, **options: Any) -> VocabularyHead:
        """The head that transformers puts on a model of that kind, for a method to give as its default."""
        model: Any = encoder.model
        settings = model.config
        vocab_size, width = model.get_input_embeddings().weight.shape
        shape: dict[str, Any] = {"epsilon": getattr(settings, "layer_norm_eps", 1e-12)}
        if settings.model_type == "modernbert":
            shape = {
                "activation": settings.classifier_activation,
                "epsilon": settings.norm_eps,
                "dense_bias": settings.classifier_bias,
                "norm_bias": settings.norm_bias,
                "decoder_bias": settings.decoder_bias,
            }
        elif settings.model_type in ("bert", "deberta", "deberta-v2"):
            shape["activation"] = settings.hidden_act
        return cls(settings.hidden_size, vocab_size, width, **(shape | options))

    def tie(self, table: nn.Parameter) -> None:
        """Shares the table of the input embeddings, unless the head is to have its own."""
        if not self.tied:
            return
        if table.shape != self.table.shape:
            raise ValueError(
                f"`vocab_size` and `width` of the head must be {tuple(table.shape)}, those of the encoder's "
                f"embeddings, but are {tuple(self.table.shape)}."
            )
        self.table = table

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> VocabularyPrediction:
        if latent.seen is not None:
            raise ValueError(
                "VocabularyHead needs a code at every place, but `corruption` drops the hidden ones; use "
                "a masked decoder (`text.masked-decoder`), or a corruption with `drop` 0."
            )
        return self.answer(mask.asked.gather(latent.values), mask.asked)

    def answer(self, codes: Tensor, asked: Any) -> VocabularyPrediction:
        """The answers of codes ``[..., M, D]`` at asked places."""
        hidden = self.norm(self.activation(self.dense(codes)))  # [..., M, E]
        bias: Tensor | None = self.bias
        if self.excluded_id is not None:
            bias = self.table.new_zeros(len(self.table)) if bias is None else bias
            bias = bias.index_fill(0, torch.tensor(self.excluded_id, device=bias.device), float("-inf"))
        return VocabularyPrediction(hidden, asked, table=self.table, bias=bias)


@torch.no_grad()
def sample(prediction: VocabularyPrediction, draws: Draws, temperature: float = 1.0, chunk: int = 2**22) -> Tensor:
    """A token for each asked place, drawn from its softmax with one random number of 24 bits.

    So a token of probability below 2^-24 is drawn somewhat too often or never: harmless where tokens are replaced in
    training, not for writing whole texts, which draws in float64 (`unmask.decode`).

    Args:
        prediction: the answers.
        draws: a stream for each of them, ``[M]`` or ``[B, M]``.
        temperature: scores are divided by it, above 0.
        chunk: scores held at a time.

    Returns:
        ids ``[M]`` or ``[B, M]``.
    """
    values = prediction.values.flatten(0, -2)  # [M, E]
    streams = Draws(draws.keys.flatten(), draws.seed)
    size = max(chunk // len(prediction.table), 1)
    ids = []
    for start in range(0, len(values), size):
        rows = slice(start, start + size)
        scores = replace(prediction, values=values[rows]).logits().float() / temperature
        ids.append(streams[rows].categorical(scores.softmax(-1)))
    drawn = torch.cat(ids) if ids else values.new_empty(0, dtype=torch.long)
    return drawn.view(prediction.values.shape[:-1])
