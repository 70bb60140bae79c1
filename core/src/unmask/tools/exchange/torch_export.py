"""The encoder as a program of `torch.export`, which runs without unmask."""

from __future__ import annotations

from pathlib import Path

import torch

from unmask.model import MaskedModel
from unmask.tools.exchange.format import Export, Format
from unmask.tools.exchange.pipeline import inputs, trace, traceable

TOLERANCE = 1e-5
"""Largest difference between an output of the program and the encoder's; seen is none."""


class TorchExport(Format):
    """``.pt2``: from the raw batch to codes, at any batch size."""

    suffix = ".pt2"
    reads = False

    def refusal(self, model: MaskedModel) -> None:
        return None

    def save(self, export: Export, out: Path) -> str:
        pipeline, batch, few = traceable(export)
        program = trace(pipeline, batch)
        program.example_inputs = None  # samples of the data set, which need not travel
        torch.export.save(program, out)
        read = torch.export.load(out).module()
        with torch.no_grad():
            difference = max((pipeline(one) - read(one)).abs().max().item() for one in (batch, few))
        if not difference <= TOLERANCE:
            raise ValueError(f"The program must be within {TOLERANCE:g} of the encoder, but is {difference:.2g} off.")
        told = "bit-equal to the encoder" if difference == 0 else f"at most {difference:.2g} from the encoder"
        sizes = f"{len(next(iter(few.values())))} and {len(next(iter(batch.values())))}"
        return f"Read back: {told}, on {sizes} samples. Input: {inputs(batch)}."

    def usage(self, export: Export, out: Path) -> str:
        return f"import torch\n\ncodes = torch.export.load({str(out)!r}).module()(batch)  # batch: a dict of tensors"
