"""Masked diffusion: the noise process and its loss weights (MDLM, Sahoo et al. 2024, arXiv:2406.07524, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Layout, Mask, MaskSampler, Progress, Tokens
from unmask.api import inside
from unmask_text.heads.vocabulary import WeightedMask


class DiffusionMask(MaskSampler):
    """Hides each token of a document by itself with probability ``1 - alpha(t) = t``, t drawn per document from (0, 1].

    Times are spread evenly over a batch, ``t_i = (u + i) / B`` with one u for all, which lowers the variance of the
    loss (section 3.5, low-discrepancy sampler). A document may be hidden whole, or not at all.

    The loss of the places is to be summed with weights ``-alpha'(t) / (1 - alpha(t)) / T = 1 / (t T)``,
    T all tokens of the batch: the mean is then the negative evidence lower bound per token, in nats (equation 10).

    Args:
        shortest: least time, in (0, 1): bounds the weights. Released code: 1e-3.

    Raises:
        ValueError: ``shortest`` outside (0, 1).
    """

    def __init__(self, shortest: float = 1e-3) -> None:
        super().__init__()
        inside("(0, 1)", shortest=shortest)
        self.shortest = shortest

    def forward(
        self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None
    ) -> WeightedMask:
        if tokens.offsets is not None:
            lengths = tokens.offsets.diff()  # [B]
            self.check(tokens.layout, int(lengths.max()), None)
            time = self.times(len(lengths), lengths.device, generator).repeat_interleave(lengths)  # [T]
            valid = None
            num_tokens: Tensor | int = len(time)
        else:
            batch, longest = tokens.values.shape[:2]
            self.check(tokens.layout, longest, tokens.valid)
            time = self.times(batch, tokens.values.device, generator)[:, None].expand(-1, longest)  # [B, N]
            valid = tokens.valid
            num_tokens = time.numel() if valid is None else valid.sum()
        hidden = torch.rand(time.shape, generator=generator, device=time.device) < time
        if valid is not None:
            hidden = hidden & valid
        return WeightedMask(hidden, valid=valid, weight=1 / (time * num_tokens))

    def times(self, batch: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
        """Evenly spread times ``[B]`` float32 in [shortest, 1), in random order of documents."""
        start = torch.rand(1, generator=generator, device=device)
        spread = (start + torch.randperm(batch, generator=generator, device=device)) / batch
        return self.shortest + (1 - self.shortest) * spread

    def sample(self, among: Candidates, draws: Draws) -> Tensor | Mask:
        """Not used: documents have times, not counts."""
        raise NotImplementedError
