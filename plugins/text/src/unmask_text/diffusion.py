"""Masked diffusion: the noise process and its loss weights (MDLM, Sahoo et al. 2024, arXiv:2406.07524, section 3)."""

from __future__ import annotations

from torch import Tensor

from unmask import Candidates, Draws, Mask, MaskSampler, Progress, Tokens
from unmask.api import inside
from unmask_text.heads.vocabulary import WeightedMask


class DiffusionMask(MaskSampler):
    """Hides each token of a document by itself with probability ``1 - alpha(t) = t``, t drawn per document from (0, 1].

    Times are spread evenly over a batch, ``t_i = (u + i) / B`` with one u for all, which lowers the variance of the
    loss (section 3.5, low-discrepancy sampler); then a document's time depends on its batch. A document may be hidden
    whole, or not at all.

    The loss of the places is to be summed with weights ``-alpha'(t) / (1 - alpha(t)) / T = 1 / (t T)``,
    T all tokens of the batch: the mean is then the negative evidence lower bound per token, in nats (equation 10).

    Args:
        shortest: least time, in (0, 1): bounds the weights. Released code: 1e-3.
        spread: whether times are spread evenly over a batch; False: each is drawn by itself.

    Raises:
        ValueError: ``shortest`` outside (0, 1).
    """

    def __init__(self, shortest: float = 1e-3, spread: bool = True) -> None:
        super().__init__()
        inside("(0, 1)", shortest=shortest)
        self.shortest = shortest
        self.spread = spread

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> WeightedMask:
        """Which tokens are hidden, and what each loss counts; as `MaskSampler`."""
        draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
        self.check(tokens.layout, tokens.num_tokens, tokens.valid)
        time = self.times(draws, (progress or Progress()).step)  # [B]
        lots, valid = draws.named("tokens").over(tokens).uniform(), tokens.valid
        if tokens.offsets is not None:
            time, num_tokens = time[tokens.owner], len(lots)  # [T]
        else:
            time = time[:, None].expand(lots.shape)  # [B, N]
            num_tokens = time.numel() if valid is None else int(valid.sum())
        hidden = lots < time
        if valid is not None:
            hidden = hidden & valid
        return WeightedMask(hidden, valid=valid, draws=draws, weight=1 / (time * num_tokens))

    def times(self, draws: Draws, step: int = 0) -> Tensor:
        """Times ``[B]`` float32 in [shortest, 1): evenly spread over the batch, in the order of its documents' lots."""
        lots = draws.named("time")
        share = lots.uniform()  # [B]
        if self.spread:
            share = (lots.shared(step).uniform() + share.argsort().argsort()) / len(share)
        return self.shortest + (1 - self.shortest) * share

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        """Not called: documents have times, not counts."""
        raise NotImplementedError
