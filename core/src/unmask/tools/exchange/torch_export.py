"""The encoder as a program of `torch.export`, which runs without unmask."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unmask.model import MaskedModel
from unmask.tools.exchange.format import Export, Format
from unmask.tools.exchange.pipeline import trace, traceable

TOLERANCE = 1e-5
"""Largest difference between an output of the program and the encoder's; seen is none."""


class TorchExport(Format):
    """``.pt2``: from the raw batch to codes, at any batch size."""

    suffix = ".pt2"
    reads = False

    def refusal(self, model: MaskedModel) -> None:
        return None

    def save(self, export: Export, out: Path) -> str:
        program = traceable(export)
        traced = trace(program)
        traced.example_inputs = None  # samples of the data set, which need not travel
        torch.export.save(traced, out)
        read = torch.export.load(out).module()
        with torch.no_grad():
            difference = max(
                _difference(read(one), x) for one, x in zip(program.batches, program.expected, strict=True)
            )
        if not difference <= TOLERANCE:
            raise ValueError(f"The program must be within {TOLERANCE:g} of the encoder, but is {difference:.2g} off.")
        told = "bit-equal to the encoder" if difference == 0 else f"at most {difference:.2g} from the encoder"
        checked = f"Read back: {told}, on inputs {program.seen}. Input: {program.signature}."
        return " ".join(filter(None, [checked, program.note]))

    def usage(self, export: Export, out: Path) -> str:
        return f"import torch\n\ncodes = torch.export.load({str(out)!r}).module()(batch)  # batch: a dict of tensors"


def _difference(got: Tensor, expected: Tensor) -> float:
    return (got - expected).abs().max().item() if got.shape == expected.shape else float("inf")
