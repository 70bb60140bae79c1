"""Terms of speech methods: what keeps a stem's features small, and a quantiser's entries in use."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unmask import Progress, Schedule, Step, Term


class FeaturePenalty(Term):
    """Mean square of the stem's features of real frames (wav2vec 2.0, Baevski et al. 2020, section 4.2).

    Args:
        weight: at least 0, or a schedule of it. Release: 10.

    Raises:
        ValueError: a weight below 0; when called, codes of an encoder without a stem.
    """

    def __init__(self, weight: float | Schedule = 10.0) -> None:
        super().__init__(weight)

    def forward(self, step: Step, model: Any) -> Tensor:
        if step.latent.features is None:
            raise ValueError(
                f"FeaturePenalty needs an encoder with a stem, but {type(model.encoder).__name__} has none."
            )
        squares = step.latent.features.float().square().mean(-1)  # [B, N]
        valid = step.tokens.valid
        return squares.mean() if valid is None else squares.masked_fill(~valid, 0).sum() / valid.sum()


class Diversity(Term):
    """``1 - perplexity / (G V)`` of a quantiser's entries, which falls as more of them are used (equation 4).

    Args:
        weight: at least 0, or a schedule of it. Section 4.2: 0.1.

    Raises:
        ValueError: a weight below 0; when called, a target that quantises nothing.
    """

    def __init__(self, weight: float | Schedule = 0.1) -> None:
        super().__init__(weight)
        self._perplexity: Tensor | None = None

    def forward(self, step: Step, model: Any) -> Tensor:
        assert step.given is not None
        if "perplexity" not in step.given.shown.made:
            raise ValueError(f"Diversity needs a target that quantises, but {type(model.target).__name__} does not.")
        perplexity: Tensor = step.given.shown.made["perplexity"]
        self._perplexity = perplexity.detach()
        return 1 - perplexity / model.target.num_entries

    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        """The perplexity of the last step: how many entries are used, over all codebooks."""
        return {} if self._perplexity is None else {"perplexity": float(self._perplexity)}
