"""Diffusion mask: each place by itself, as often as a time of the sample says (MDLM, Sahoo et al. 2024; MD4, Shi et
al. 2024)."""

from __future__ import annotations

from unmask.draws import Draws
from unmask.noise import Process
from unmask.parts import Candidates, MaskSampler
from unmask.structures import Mask


class DiffusionMask(MaskSampler):
    """Hides each place of a sample by itself with probability ``1 - alpha(t)``, t drawn for the sample.

    A sample may be hidden whole, or not at all. The mask weighs the loss of each place by ``weight(t) / T``, T all
    tokens of the batch: the loss is then a bound on the negative log-likelihood per token, in nats (see `Process`).

    Args:
        process: how many places are hidden at which time, and what they count.
        even: whether times are spread evenly over the batch, which lowers the variance of the loss (MDLM, section 3.5).
            A sample's mask then depends on which others are in its batch; without, it is the same in any batch.
    """

    def __init__(self, process: Process = Process(), even: bool = False) -> None:
        super().__init__()
        self.process = process
        self.even = even

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        valid = among.valid
        time = self.process.times(draws, self.even, among.progress.step)[:, None]  # [B, 1]
        hidden = (draws.uniform(valid.shape[1]) < self.process.hidden_share(time)) & valid
        return Mask(hidden, weight=(self.process.weight(time) / valid.sum()).expand(valid.shape))
