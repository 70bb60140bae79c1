"""Reports: words about an image are hidden and restored with the help of its code (UrFound, Yu et al. 2024)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Draws, Schedule, Step, Term
from unmask.api import at_least, inside
from unmask.nn import Transformer

PADDING, HIDDEN = 0, 1
"""Ids of what is no word."""


class ReportTerm(Term):
    """``mean over hidden words of -log p(word | other words, mean visible code)``: a masked language model on codes.

    Each class has a report; the mean code of the visible patches, through a linear layer, is added to every word's
    embedding. Words are those of the reports, split at spaces.

    Args:
        reports: of the classes, by their numbers. UrFound: findings in words, by expert labels.
        mask_ratio: share of a report's words to hide, in (0, 1]; at least one is.
        width: of the language model. UrFound's released BERT is 384 wide.
        depth: its blocks.
        num_heads: attention heads; must divide ``width``.
        weight: at least 0, or a schedule of it.
        key: of the class numbers in a batch.

    Raises:
        ValueError: no reports, a number out of range; when called, a batch without labels, or a label without report.
    """

    ids: Tensor

    def __init__(
        self,
        reports: list[str],
        mask_ratio: float = 0.5,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        weight: float | Schedule = 1.0,
        key: str = "label",
    ) -> None:
        super().__init__(weight)
        words = [report.split() for report in reports]
        if not words or not all(words):
            raise ValueError("`reports` must have at least one word for each class, but one has none.")
        inside("(0, 1]", mask_ratio=mask_ratio)
        at_least(1, width=width, depth=depth, num_heads=num_heads)
        self.vocabulary = sorted({word for report in words for word in report})
        number = {word: i + 2 for i, word in enumerate(self.vocabulary)}
        longest = max(len(report) for report in words)
        padded = [[number[word] for word in report] + [PADDING] * (longest - len(report)) for report in words]
        self.register_buffer("ids", torch.tensor(padded), persistent=False)  # [classes, L]
        self.mask_ratio, self.width, self.key = mask_ratio, width, key
        self.embed = nn.Embedding(len(self.vocabulary) + 2, width)
        self.place = nn.Parameter(torch.zeros(1, longest, width))
        self.trunk = Transformer(width, depth, num_heads)
        self.bias = nn.Parameter(torch.zeros(len(self.vocabulary) + 2))
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.normal_(self.place, std=0.02)

    def start(self, model: Any) -> None:
        if not hasattr(self, "offset"):
            self.offset = nn.Linear(model.encoder.width, self.width)

    def forward(self, step: Step, model: Any) -> Tensor:
        assert step.given is not None
        words = self.words(step.given.batch)  # [B, L]
        hidden = self.hidden(words, step.mask.streams().named("report"))
        shown = words.masked_fill(hidden, HIDDEN)
        scores = self.scores(shown, step.latent.pool("mean"), words != PADDING).float()
        return F.cross_entropy(scores[hidden], words[hidden])

    def words(self, batch: Any) -> Tensor:
        """Ids of the words of each sample's report ``[B, L]``."""
        labels = batch.get(self.key) if isinstance(batch, dict) else None
        if labels is None:
            raise ValueError(f"A batch must have `{self.key}` for the reports, but has none; use labelled data.")
        if int(labels.max()) >= len(self.ids) or int(labels.min()) < 0:
            raise ValueError(
                f"`reports` must have one for each of {int(labels.max()) + 1} classes, but has {len(self.ids)}."
            )
        return self.ids[labels]

    def hidden(self, words: Tensor, draws: Draws) -> Tensor:
        """Which words are hidden ``[B, L]`` bool: a share of each report, and at least one."""
        real = words != PADDING
        count = (real.sum(1) * self.mask_ratio).round().clamp(min=1)  # [B]
        keys = draws.uniform(words.shape[1]).masked_fill(~real, 2)
        return keys.argsort(1).argsort(1) < count[:, None]

    def scores(self, shown: Tensor, code: Tensor, real: Tensor) -> Tensor:
        """Of each word at each place ``[B, L, words]``, by the words that are shown and a code ``[B, D]``."""
        x = self.embed(shown) + self.place + self.offset(code)[:, None]
        return self.trunk(x, real) @ self.embed.weight.mT + self.bias
