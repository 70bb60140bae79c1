"""Partition mask: each place is shown of one part alone (MixedAE, Chen et al. 2023, section 3.1)."""

from __future__ import annotations

import torch

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Progress
from unmask.structures import Mask, Tokens


class PartitionMask(MaskSampler):
    """Of several parts with the same places, hides at each place all but one: parts that are mixed into one.

    Which one is drawn for each sample so that each of S parts shows ``N / S`` places, or one more.

    Raises:
        ValueError: when called, tokens of fewer than two parts, packed or padded ones, or of different places.
    """

    joint = True

    def __init__(self) -> None:
        super().__init__()

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        parts = dict(tokens.parts or {})
        if len(parts) < 2:
            raise ValueError(f"PartitionMask needs tokens of at least 2 parts, but they have {len(parts)}.")
        first = next(iter(parts.values()))
        for name, part in parts.items():
            dense = part.offsets is None and part.valid is None
            if not dense or part.layout != first.layout or part.num_tokens != first.num_tokens:
                raise ValueError(f"All parts must be dense tokens of the same places, but `{name}` is not.")
        draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
        num_tokens, num_parts = first.num_tokens, len(parts)
        rank = draws.named("partition").uniform(num_tokens).argsort(1).argsort(1)  # [B, N]
        owner = torch.div(rank * num_parts, num_tokens, rounding_mode="floor")
        sizes = [-(-(i + 1) * num_tokens // num_parts) - -(-i * num_tokens // num_parts) for i in range(num_parts)]
        made = {
            name: Mask(owner != number, num_hidden=num_tokens - sizes[number], draws=draws.named(name))
            for number, name in enumerate(parts)
        }
        return Mask.join(made)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        """Not called: all parts are drawn together."""
        raise NotImplementedError
