"""Log mel energies of frames: on CPU in pieces that stay in its cache, written into memory that is kept.

A batch in one go, or fresh memory for every operation, is several times slower there: memory is fetched, and given
back, page by page. Elsewhere a batch is one piece.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

PIECE = 512
"""Frames of a piece, per thread."""
BAND = 16
"""Neighbouring filters that are applied together, to those bins alone that any of them weighs."""
_KEPT = threading.local()


class LogMelEnergies(nn.Module):
    """``log(max(|FFT(window * frame)|^2 filters, floor))``, operation by operation as torchaudio's Kaldi functions do.

    The order of operations matters: where a bin holds little beside a loud one, rounding shows in the logarithm.

    Args:
        window: ``[W]``.
        filters: ``[bins, F]``, for an FFT of ``2 * (bins - 1)`` points, at least W; frames are filled up with zeros.
        floor: least energy, above 0.
        preemphasis: p of ``x[n] - p * x[n - 1]`` within a frame; before the first sample stands the first itself.
        centred: subtract each frame's mean first.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, window: Tensor, filters: Tensor, floor: float, preemphasis: float = 0.0, centred: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.floor = floor
        self.preemphasis = preemphasis
        self.centred = centred
        self.bands = [_band(filters, first) for first in range(0, filters.shape[1], BAND)]

    def forward(self, frames: Tensor) -> Tensor:
        """``frames`` ``[B, T, W]``, which may overlap in memory, to ``[B, T, F]``.

        Raises:
            ValueError: samples in 16 bits, which torch makes no spectra of.
        """
        if frames.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(
                f"`trainer.precision` must keep samples in float32 for spectra, but they are {frames.dtype}; nearest: "
                "'bf16-mixed'."
            )
        if frames.device.type != "cpu" or frames.requires_grad or torch.compiler.is_exporting():
            return self._at_once(frames)
        num_clips, num_frames, _ = frames.shape
        logs = frames.new_empty(num_clips, num_frames, self.filters.shape[1])  # [B, T, F]
        most = PIECE * torch.get_num_threads()
        several = max(most // num_frames, 1)
        for clip in range(0, num_clips, several):
            for start in range(0, num_frames, most):
                piece = slice(clip, clip + several), slice(start, start + most)
                self._write(frames[piece], logs[piece])
        return logs

    def power(self, logs: Tensor, hidden: Tensor | None = None) -> Tensor:
        """About the spectrum ``[B, T, bins]`` that had these ``logs``, by least squares, without pre-emphasis.

        Where ``hidden``, bool that goes with ``logs``, there is silence.
        """
        energies = logs.exp() if hidden is None else logs.exp().masked_fill(hidden, 0)
        power = (energies @ torch.linalg.pinv(self.filters)).clamp(min=0)  # [B, T, bins]
        turn = torch.linspace(0, torch.pi, power.shape[-1], device=power.device)
        gain = 1 + self.preemphasis**2 - 2 * self.preemphasis * turn.cos()  # of the pre-emphasis, squared
        return power / gain.clamp(min=1e-6)

    def _at_once(self, frames: Tensor) -> Tensor:
        if self.centred:
            frames = frames - frames.mean(-1, keepdim=True)
        if self.preemphasis:
            frames = frames - self.preemphasis * torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft(frames * self.window, n=2 * (len(self.filters) - 1))  # [B, T, bins]
        energies = (spectrum.real.square() + spectrum.imag.square()) @ self.filters
        return energies.clamp(min=self.floor).log()

    def _write(self, frames: Tensor, logs: Tensor) -> None:
        """The same, a band of filters at a time and with nothing allocated but means and spectra."""
        shape, bins = frames.shape, len(self.filters)
        size, num_rows = shape[-1], shape[0] * shape[1]
        padded, scaled, power = (kept[:num_rows] for kept in _kept(num_rows, size, bins))
        centred = padded.view(*shape[:2], -1)[..., :size]
        if self.centred:
            torch.sub(frames, frames.mean(-1, keepdim=True), out=centred)
        else:
            centred.copy_(frames)
        rows = padded[:, :size]
        if self.preemphasis:
            torch.mul(rows, self.preemphasis, out=scaled)
            rows[:, 1:] -= scaled[:, :-1]
            rows[:, :1] -= scaled[:, :1]
        rows *= self.window
        squares = torch.view_as_real(torch.fft.rfft(padded)).square_()  # [rows, bins, 2]; `out` would be a copy of it
        torch.add(squares[..., 0], squares[..., 1], out=power)
        flat = logs.view(num_rows, -1)
        for first, last, low, high, weights in self.bands:
            torch.mm(power[:, low:high], weights, out=flat[:, first:last])
        flat.clamp_(min=self.floor).log_()


def _band(filters: Tensor, first: int) -> tuple[int, int, int, int, Tensor]:
    """Filters ``[first, last)``, the bins ``[low, high)`` that they weigh, and those weights ``[bins, filters]``."""
    block = filters[:, first : first + BAND]
    used = block.any(1).nonzero()
    low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
    return first, first + block.shape[1], low, high, block[low:high].contiguous()


@torch.inference_mode(False)  # or memory first used in validation could not be written in training
def _kept(num_rows: int, size: int, bins: int) -> tuple[Tensor, ...]:
    """This thread's memory for frames filled up with zeros, scaled frames and powers of their spectra."""
    known: dict[tuple[int, int], tuple[Tensor, ...]] = _KEPT.__dict__.setdefault("memory", {})
    memory = known.get((size, bins))
    if memory is None or len(memory[0]) < num_rows:
        padded, scaled, power = (num_rows, 2 * (bins - 1)), (num_rows, size), (num_rows, bins)
        memory = known[size, bins] = torch.zeros(padded), torch.empty(scaled), torch.empty(power)
    return memory
