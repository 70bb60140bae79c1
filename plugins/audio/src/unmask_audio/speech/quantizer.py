"""Gumbel quantiser: one entry of each codebook for a feature (wav2vec 2.0, Baevski et al. 2020, section 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Draws
from unmask.api import at_least


class Quantized(NamedTuple):
    """What features became.

    Args:
        values: ``[B, M, Q]``, the chosen entries side by side.
        ids: ``[B, M]`` int64, equal where all the same entries were chosen.
        perplexity: how many entries are used, over all codebooks: in (G, G V].
    """

    values: Tensor
    ids: Tensor
    perplexity: Tensor


class GumbelQuantizer(nn.Module):
    """Scores of all entries, of which the best is taken; in training after noise, with the gradient of a softmax.

    ``p = softmax((scores + Gumbel noise) / temperature)``; forward the entry of the largest p, backward their mixture.

    Args:
        feature_width: of what comes in.
        num_codebooks: G. Paper: 2.
        num_entries: V of each codebook. Paper: 320.
        width: Q of what goes out, a multiple of G. Release, base size: 256.

    Raises:
        ValueError: a number below 1, or a width that is no multiple of the codebooks.
    """

    def __init__(self, feature_width: int, num_codebooks: int = 2, num_entries: int = 320, width: int = 256) -> None:
        super().__init__()
        at_least(1, num_codebooks=num_codebooks, num_entries=num_entries)
        if width % num_codebooks:
            near = max(round(width / num_codebooks), 1) * num_codebooks
            raise ValueError(
                f"`codebook_width` must be a multiple of `num_codebooks` {num_codebooks}, but is {width}; "
                f"nearest: {near}."
            )
        self.score = nn.Linear(feature_width, num_codebooks * num_entries)
        self.entries = nn.Parameter(torch.rand(num_codebooks, num_entries, width // num_codebooks))
        nn.init.normal_(self.score.weight)  # both as the release does
        nn.init.zeros_(self.score.bias)

    def forward(
        self,
        features: Tensor,
        valid: Tensor | None = None,
        temperature: float = 1.0,
        draws: Draws | None = None,
    ) -> Quantized:
        """Entries for features.

        Args:
            features: ``[B, M, C]``.
            valid: ``[B, M]`` bool, False where a row was filled up: of no account for the perplexity.
            temperature: of the softmax, above 0; lower ones are nearer to the forward pass.
            draws: ``[B]`` streams of the noise; not read in evaluation mode, where there is none.
        """
        num_codebooks, num_entries, _ = self.entries.shape
        scores = self.score(features).float().unflatten(-1, (num_codebooks, num_entries))  # [B, M, G, V]
        noisy = scores
        if self.training:
            draws = draws or Draws.fresh(len(scores), scores.device)
            noisy = scores + draws.gumbel(*scores.shape[1:])
        best = noisy.argmax(-1)  # [B, M, G]
        chosen = F.one_hot(best, num_entries).to(scores.dtype)  # [B, M, G, V]
        used = chosen
        if self.training:
            soft = (noisy / temperature).softmax(-1)
            chosen, used = chosen + (soft - soft.detach()), scores.softmax(-1)
        with torch.autocast(features.device.type, enabled=False):
            values = torch.einsum("bmgv,gvd->bmgd", chosen, self.entries.float()).flatten(2)
        places = num_entries ** torch.arange(num_codebooks, device=best.device)
        return Quantized(values, (best * places).sum(-1), _perplexity(used, valid))


def _perplexity(used: Tensor, valid: Tensor | None) -> Tensor:
    """``sum over codebooks of exp(entropy of the mean use)`` of ``[B, M, G, V]``, over real places."""
    used = used.flatten(0, 1) if valid is None else used[valid]
    mean = used.mean(0)  # [G, V]
    return torch.special.entr(mean).sum(-1).exp().sum()
