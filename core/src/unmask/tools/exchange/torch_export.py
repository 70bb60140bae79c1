"""The encoder as a program of `torch.export`, which runs without unmask."""

from __future__ import annotations

from pathlib import Path

import torch

from unmask import __version__
from unmask.model import MaskedModel
from unmask.tools.exchange.format import Export, Format
from unmask.tools.exchange.pipeline import off, trace, traceable

TOLERANCE = 1e-5
"""Of `off`; seen is none, and some 1e-6 of programs that an encoder has of its own."""


INPUT = "unmask.input"
"""Of a file's ``extra_files`` (and of the metadata of ONNX) the one that says what the program reads."""


class TorchExport(Format):
    """``.pt2``: from the raw batch to codes, at any batch size.

    ``extra_files`` are ``unmask.version``, ``unmask.pool`` and ``unmask.input``, which says what the program reads.
    """

    suffix = ".pt2"
    reads = False

    def refusal(self, model: MaskedModel) -> None:
        return None

    def save(self, export: Export, out: Path) -> str:
        program = traceable(export)
        traced = trace(program)
        traced.example_inputs = None  # samples of the data set, which need not travel
        told = {"unmask.version": __version__, "unmask.pool": export.pool or "codes", INPUT: program.words}
        torch.export.save(traced, out, extra_files=told)
        read = torch.export.load(out).module()
        with torch.no_grad():
            difference = max(off(read(one), x) for one, x in zip(program.batches, program.expected, strict=True))
        if not difference <= TOLERANCE:
            raise ValueError(f"The program must be within {TOLERANCE:g} of the encoder, but is {difference:.2g} off.")
        close = "bit-equal to the encoder" if difference == 0 else f"at most {difference:.2g} from the encoder"
        return f"Read back: {close}, on inputs {program.seen}. Input: {program.words}"

    def usage(self, export: Export, out: Path) -> str:
        return f"import torch\n\ncodes = torch.export.load({str(out)!r}).module()(batch)  # batch: a dict of tensors"
