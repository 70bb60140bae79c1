"""Time-frequency mask: whole times and whole frequencies (Audio-MAE, Huang et al. 2022, section 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unmask import Candidates, Draws, Grid, Layout, MaskSampler, Ratio
from unmask.masks import lowest

AXES = ("both", "time", "frequency")


class TimeFrequencyMask(MaskSampler):
    """Hides chunks of neighbouring times (all their frequencies) and of frequencies (all their times), in random order.

    Shares of times and of frequencies grow alike until the count is reached: at a ratio of 0.8 each is about
    ``1 - sqrt(0.2) = 0.55``. Chunks begin at a random phase. Of the line hidden last only as much is hidden as the
    count says, from one end on.

    Args:
        ratio: share of the patches to hide, in (0, 1), a schedule or a spread of it; the default is the paper's.
        axes: hide times, frequencies or ``both``.
        time_chunk: neighbouring times that are hidden together, at least 1.
        frequency_chunk: neighbouring frequencies that are hidden together, at least 1.

    Differs from the paper in that the count is exact, that times and frequencies are hidden in equal shares (the
    released code: 0.6 and 0.5), and in the chunks, which are single lines there.

    Raises:
        ValueError: an argument outside its range, a layout that is no 2-D grid, or padding that leaves a part of a
            time.
    """

    layouts = (Grid,)
    grid_sides = (2,)

    def __init__(
        self,
        ratio: Ratio = 0.8,
        axes: Literal["both", "time", "frequency"] = "both",
        time_chunk: int = 1,
        frequency_chunk: int = 1,
    ) -> None:
        super().__init__(ratio)
        if axes not in AXES:
            raise ValueError(f"`axes` must be one of {', '.join(AXES)}, but is {axes!r}.")
        for name, chunk in (("time_chunk", time_chunk), ("frequency_chunk", frequency_chunk)):
            if chunk < 1:
                raise ValueError(f"`{name}` must be at least 1 patch, but is {chunk}.")
        self.axes = axes
        self.time_chunk = time_chunk
        self.frequency_chunk = frequency_chunk

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if valid is not None:
            times = valid.unflatten(1, layout.shape)  # type: ignore[attr-defined]  # a grid, or refused above
            if not torch.equal(times.any(-1), times.all(-1)):
                raise ValueError("Padding must leave out whole times of the grid, but leaves out parts.")

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        assert isinstance(among.layout, Grid)  # `check` let nothing else pass
        real = among.valid.unflatten(1, among.layout.shape)  # [B, T, F]
        times = _turns(real.any(2), self.time_chunk, draws)[:, :, None]  # [B, T, 1]
        frequencies = _turns(real.any(1), self.frequency_chunk, draws)[:, None]  # [B, 1, F]
        never = torch.tensor(2.0, device=real.device)
        if self.axes != "both":
            times, frequencies = (times, never) if self.axes == "time" else (never, frequencies)
        # A patch is hidden in the turn of the first line that covers it.
        return lowest(torch.minimum(times, frequencies).expand(real.shape).flatten(1), among.counts, among.valid)


def _turns(real: Tensor, chunk: int, draws: Draws) -> Tensor:
    """When each line of an axis is hidden, in [0, 1): lines ``[B, L]`` of a chunk one after the other.

    Lines of padding come after that.
    """
    num_lines = real.shape[1]
    num_chunks = -(-num_lines // chunk) + 1  # the phase may cut one
    phase, lots = draws.uniform(1), draws.uniform(num_chunks)
    place = torch.arange(num_lines, device=real.device) + (phase * chunk).long()  # [B, L]
    used = torch.zeros_like(lots).scatter_add(1, place // chunk, real.float()) > 0
    order = lots.masked_fill(~used, 2).argsort(1).argsort(1)  # [B, C]
    turn = order.gather(1, place // chunk) + (place % chunk) / chunk
    return turn / used.sum(1, keepdim=True)
