"""Curriculum of two masks: the second one ever more often (A-JEPA, Fei et al. 2023, section 3)."""

from __future__ import annotations

from unmask import Candidates, Draws, Mask, MaskSampler, Progress, Schedule, Tokens, at
from unmask.masks import MultiBlockMask
from unmask_audio.masks.time_frequency_block import TimeFrequencyBlockMask
from unmask_audio.schedules import SquareRoot


class CurriculumMask(MaskSampler):
    """Each batch is hidden by ``second`` with a chance of ``share``, else by ``first``.

    Args:
        first: the easier mask.
        second: the harder one.
        share: the chance in [0, 1], or a schedule of it: from 0.01 to 1 by the square root of the steps done.

    Raises:
        ValueError: a share outside [0, 1], or a layout that one of the two cannot work on.
    """

    def __init__(
        self,
        first: MaskSampler = MultiBlockMask(),
        second: MaskSampler = TimeFrequencyBlockMask(),
        share: float | Schedule = SquareRoot(start=0.01),
    ) -> None:
        super().__init__()
        if not isinstance(share, Schedule) and not 0 <= share <= 1:
            raise ValueError(f"`share` must be in [0, 1], but is {share}.")
        self.first = first
        self.second = second
        self.share = share

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        progress = progress or Progress()
        share = at(self.share, progress)
        draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
        lot = float(draws.named("turn").shared(progress.step).uniform())
        return (self.second if lot < share else self.first)(tokens, progress, draws)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        raise TypeError("CurriculumMask draws nothing itself: call it, and the mask whose turn it is draws.")
