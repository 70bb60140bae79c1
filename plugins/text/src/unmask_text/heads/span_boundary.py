"""Span boundary objective: each token of a hidden span from the two tokens around it (SpanBERT, Joshi et al.
2020, arXiv:1907.10529, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from unmask import Given, Latent, LossValue, Mask, Places, Prediction, Predictor, Tokens
from unmask_text.encoders.packing import packed
from unmask_text.heads.vocabulary import VocabularyHead, VocabularyPrediction
from unmask_text.losses import VocabularyLoss


@dataclass(frozen=True, eq=False)
class SpanPrediction(VocabularyPrediction):
    """Answers from the token's own code, and others from the boundaries of its span.

    Args:
        boundary: answers at some of the asked places, packed.
        chosen: ``[S]`` which of the real asked places, in their order, those are.
    """

    boundary: VocabularyPrediction = None  # type: ignore[assignment]
    chosen: Tensor = None  # type: ignore[assignment]


class SpanBoundaryHead(Predictor):
    """``h = f([code before span; code after span; position in span])``, f two layers with GELU and norm.

    Boundaries of a span at the beginning or end of a document are its class token and separator. Beside
    this head, and with the same table, an ordinary one answers from the codes themselves.

    Args:
        head: the ordinary one; its table is shared.
        encoder_width: D, width of the codes.
        position_width: of the position embedding. Paper: 200.
        longest: places of a span that are answered for, from its beginning. Released code: 15.

    Raises:
        ValueError: an encoder without class token and separator in the latent's prefix.
    """

    def __init__(self, head: VocabularyHead, encoder_width: int, position_width: int = 200, longest: int = 15) -> None:
        super().__init__()
        self.head = head
        self.longest = longest
        vocab_size, width = head.table.shape
        self.position = nn.Embedding(longest, position_width)
        nn.init.normal_(self.position.weight, std=0.02)
        self.layers = nn.Sequential()
        for inputs in (2 * encoder_width + position_width, width):
            linear = nn.Linear(inputs, width)
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            self.layers.extend([linear, ACT2FN["gelu"], nn.LayerNorm(width, eps=head.norm.eps)])
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def tie(self, table: nn.Parameter) -> None:
        """Shares the table of the input embeddings with both heads."""
        self.head.tie(table)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> SpanPrediction:
        own = self.head(latent, places, mask)
        if latent.prefix is None or latent.prefix.shape[1] < 2:
            raise ValueError("SpanBoundaryHead needs codes of a class token and of a separator, but there are none.")
        flat, flat_mask = packed(places, mask)
        assert flat.offsets is not None
        assert flat_mask is not None
        codes = latent.values if places.offsets is not None else latent.values[_real(mask)]  # [T, D]
        asked = flat_mask.asked.index  # [M]

        # Where each asked token's span begins and ends, and how far inside it the token lies.
        first, last = spans(flat_mask.hidden, flat.offsets)  # [T]
        inside = asked - first[asked]
        chosen = (flat_mask.hidden[asked] & (inside < self.longest)).nonzero().squeeze(1)  # [S]
        inside, asked = inside[chosen], asked[chosen]
        document = torch.searchsorted(flat.offsets, asked, right=True) - 1
        begin, end = first[asked], last[asked]
        # Rows of one table: all codes, then the class tokens, then the separators.
        table = torch.cat([codes, latent.prefix[:, 0], latent.prefix[:, 1]])
        left = torch.where(begin > flat.offsets[document], begin - 1, len(codes) + document)
        separator = len(codes) + len(latent.prefix) + document
        right = torch.where(end + 1 < flat.offsets[document + 1], end + 1, separator)
        around = [table.index_select(0, left), table.index_select(0, right), self.position(inside)]
        hidden = self.layers(torch.cat([part.to(codes.dtype) for part in around], dim=-1))  # [S, E]
        boundary = VocabularyPrediction(hidden, Places(asked), table=self.head.table, bias=self.bias)
        return SpanPrediction(own.values, own.asked, table=own.table, bias=own.bias, boundary=boundary, chosen=chosen)


class SpanBoundaryLoss(VocabularyLoss):
    """The mean loss of hidden tokens from their own codes, plus the mean from the boundaries of their spans
    (section 3.4). The loss per token is the sum of the two, where there are two."""

    def forward(self, prediction: Prediction, target: Tensor, given: Given | None = None) -> LossValue:
        own = super().forward(prediction, target, given)
        if not isinstance(prediction, SpanPrediction):
            return LossValue(2 * own.total, 2 * own.per_token)  # one answer stands for both
        valid = prediction.asked.valid
        flat = target.flatten() if valid is None else target[valid]
        boundary = super().forward(prediction.boundary, flat[prediction.chosen], given)
        per_token = own.per_token.clone()
        each = torch.zeros_like(flat, dtype=per_token.dtype).index_copy_(0, prediction.chosen, boundary.per_token)
        per_token += each.view_as(target) if valid is None else torch.zeros_like(per_token).masked_scatter(valid, each)
        return LossValue(own.total + boundary.total, per_token)


def spans(hidden: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """First and last place of the run of hidden places that each place of packed documents belongs to.

    Args:
        hidden: ``[T]`` bool.
        offsets: ``[B + 1]``; runs end with their document.
    """
    place = torch.arange(len(hidden), device=hidden.device)
    starts = hidden.clone()
    starts[1:] &= ~hidden[:-1]
    inner = offsets[1:-1]
    inner = inner[(inner > 0) & (inner < len(hidden))]
    starts[inner] = hidden[inner]
    ends = hidden.clone()
    ends[:-1] &= ~hidden[1:]
    ends[inner - 1] = hidden[inner - 1]
    first = torch.where(starts, place, 0).cummax(0).values
    last = torch.where(ends, place, len(hidden)).flip(0).cummin(0).values.flip(0)
    return first, last


def _real(mask: Mask) -> Tensor:
    return mask.valid if mask.valid is not None else torch.ones_like(mask.hidden)
