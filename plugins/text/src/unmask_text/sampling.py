"""Samplers of masked diffusion: documents written from [MASK] tokens, in any order.

Ancestral sampling walks down a grid of times (MDLM, Sahoo et al. 2024, arXiv:2406.07524, section 3.3);
the first-hitting sampler jumps from one change to the next (Zheng et al. 2024, arXiv:2409.02908, section 3).
Both draw in float64: in float32 the noise is cut off, which lowers the temperature unasked.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(ids [B, N], document [M], place [M]) -> scores [M, V]`` of the tokens at some of the masked places."""


def ancestral(
    denoise: Denoise,
    ids: Tensor,
    mask_id: int,
    num_steps: int = 128,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fills masked places in steps from time 1 to 0: from t to s, each with probability ``(t - s) / t``.

    Exact for an exact denoiser as the steps become many; places filled in one step do not see each other.

    Args:
        denoise: scores of tokens, given all that is known so far.
        ids: ``[B, N]``; places with ``mask_id`` are filled, the others stay (infilling).
        mask_id: of [MASK]. Its score is not used: nothing is filled with it.
        num_steps: at least 1.
        temperature: scores are divided by it, above 0.
        generator: of the random numbers, on the device of ``ids``.

    Returns:
        ``[B, N]`` without [MASK].

    Raises:
        ValueError: a number outside its range.
    """
    _check(num_steps, "num_steps", temperature)
    ids = ids.clone()
    for step in range(num_steps, 0, -1):
        masked = ids == mask_id
        draw = torch.rand(ids.shape, generator=generator, device=ids.device, dtype=torch.float64)
        document, place = (masked & (draw < 1 / step)).nonzero(as_tuple=True)  # t - s = 1 / steps, t = step / steps
        _fill(denoise, ids, document, place, mask_id, temperature, generator)
    return ids


def first_hitting(
    denoise: Denoise,
    ids: Tensor,
    mask_id: int,
    at_once: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fills one masked place of each document after the other, each time one drawn evenly.

    With n places masked at time t, the next one is filled at ``t u^(1 / n)``; as long as the denoiser is not
    told the time, only the order matters, and no time passes in which nothing changes. Exact for an exact denoiser.

    Args:
        denoise: as for `ancestral`.
        ids: likewise.
        mask_id: likewise.
        at_once: places of a document filled in one step; above 1 it is quicker, and no longer exact.
        temperature: likewise.
        generator: likewise.

    Returns:
        ``[B, N]`` without [MASK].

    Raises:
        ValueError: a number outside its range.
    """
    _check(at_once, "at_once", temperature)
    ids = ids.clone()
    masked = ids == mask_id
    draw = torch.rand(ids.shape, generator=generator, device=ids.device, dtype=torch.float64)
    turn = draw.masked_fill(~masked, float("inf")).argsort(1).argsort(1)  # [B, N] which place comes when
    for step in range(0, int(masked.sum(1).max()), at_once):
        document, place = (masked & (turn >= step) & (turn < step + at_once)).nonzero(as_tuple=True)
        _fill(denoise, ids, document, place, mask_id, temperature, generator)
    return ids


def _check(count: int, name: str, temperature: float) -> None:
    if count < 1:
        raise ValueError(f"`{name}` must be at least 1, but is {count}.")
    if temperature <= 0:
        raise ValueError(f"`temperature` must be above 0, but is {temperature}.")


def _fill(
    denoise: Denoise,
    ids: Tensor,
    document: Tensor,
    place: Tensor,
    mask_id: int,
    temperature: float,
    generator: torch.Generator | None,
) -> None:
    """Draws the tokens of some places, all given what is known before."""
    if not len(document):
        return
    scores = denoise(ids, document, place).double() / temperature  # [M, V]
    scores[:, mask_id] = float("-inf")
    noise = torch.rand(scores.shape, generator=generator, device=ids.device, dtype=torch.float64)
    ids[document, place] = (scores - noise.clamp(min=1e-300).log().neg().log()).argmax(1)
