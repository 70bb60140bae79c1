"""Random masks whose numbers are keyed by sample, beside transformers' own, and beside torch's generator::

    python benchmarks/speed/masks.py

Sides: ours (a `RandomMask` from keyed streams, with the indices of visible and asked places), transformers'
``ViTMAEEmbeddings.random_masking`` (one number wide, so that gathering costs nothing), and ours with ``torch.rand`` in
the place of the keyed numbers. Medians of one thread, processor and wall time, turn by turn.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor
from transformers import ViTMAEConfig
from transformers.models.vit_mae.modeling_vit_mae import ViTMAEEmbeddings
from turns import medians

from unmask import Draws, Grid, Tokens
from unmask.masks import RandomMask


class Unkeyed(Draws):
    """Numbers of torch's generator."""

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*self.keys.shape, *shape, device=self.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for num_samples, side in ((64, 14), (256, 14), (64, 64)):
        tokens = Tokens(torch.zeros(num_samples, side * side, 1, device=given.device), Grid((side, side)))
        theirs = ViTMAEEmbeddings(ViTMAEConfig(image_size=16 * side, patch_size=16, hidden_size=48))
        sampler = RandomMask(ratio=0.75)
        index = torch.arange(num_samples, device=given.device)

        def ours(kind: Any, tokens: Tokens = tokens, sampler: RandomMask = sampler, index: Tensor = index) -> None:
            mask = sampler(tokens, None, kind.of(0, index))
            _ = mask.visible.index, mask.asked.index

        sides = {
            "unmask": lambda ours=ours: ours(Draws),
            "transformers": lambda theirs=theirs, tokens=tokens: theirs.random_masking(tokens.values),
            "torch.rand": lambda ours=ours: ours(Unkeyed),
        }
        print(f"{num_samples} samples of {side * side} places")
        for what, clock in (("wall", time.perf_counter), ("processor", time.process_time)):
            found = medians(sides, given.rounds, given.device, warm_up=20, clock=clock)
            told = ", ".join(f"{name} {1e6 * seconds:7.0f} us" for name, seconds in found.items())
            print(f"  {what:9s} {told}; transformers / unmask {found['transformers'] / found['unmask']:5.2f}")


if __name__ == "__main__":
    main()
