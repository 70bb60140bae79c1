"""The encoder as an ONNX program, checked against the encoder by onnxruntime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from unmask import __version__
from unmask.model import MaskedModel
from unmask.tools.exchange.format import Export, Format
from unmask.tools.exchange.pipeline import Program, off, trace, traceable
from unmask.tools.exchange.torch_export import INPUT

OPSET = 20
"""Of the operators; onnxruntime 1.17 and later run it."""
TOLERANCE = 1e-4
"""Of `off`."""
MOST_BYTES = 2**31
"""What a file of ONNX can hold."""


class ONNX(Format):
    """``.onnx``: from the raw batch to codes, at any batch size; within 1e-4 of the encoder's, see `off`."""

    suffix = ".onnx"
    needs = ("onnx", "onnxscript", "onnxruntime")
    install = "unmask[onnx]"
    reads = False

    def refusal(self, model: MaskedModel) -> str | None:
        size = sum(p.numel() * p.element_size() for p in model.embedder.encoder.parameters())
        if size >= MOST_BYTES:
            return f"`onnx` holds at most 2 GB, but the encoder has {size / 1e9:.1f} GB; nearest: `torch-export`."
        return None

    def save(self, export: Export, out: Path) -> str:
        program = traceable(export)
        with torch.no_grad(), _quiet():
            written: Any = torch.onnx.export(
                trace(program),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(program.batches[0]),
                output_names=["codes"],
                verbose=False,
            )
        told = {"unmask.version": __version__, "unmask.pool": export.pool or "codes", INPUT: program.words}
        written.model.metadata_props.update(told)
        written.save(str(out), external_data=False)
        difference = _difference(out, program)
        if not difference <= TOLERANCE:
            raise ValueError(f"onnxruntime must be within {TOLERANCE:g} of the encoder, but is {difference:.2g} off.")
        return (
            f"onnxruntime: at most {difference:.2g} from the encoder, on inputs {program.seen} (opset {OPSET}). "
            f"Input: {program.words}"
        )

    def usage(self, export: Export, out: Path) -> str:
        return (
            "import onnxruntime\n\n"
            f"codes = onnxruntime.InferenceSession({str(out)!r}).run(None, batch)[0]  # batch: a dict of arrays"
        )


def _difference(path: Path, program: Program) -> float:
    """Largest (`off`) between the file's output, by onnxruntime on the CPU, and the encoder's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    read = {one.name for one in session.get_inputs()}
    largest = 0.0
    for batch, expected in zip(program.batches, program.expected, strict=True):
        got = session.run(None, {name: x.numpy() for name, x in batch.items() if name in read})[0]
        largest = max(largest, off(torch.from_numpy(got), expected))
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its progress, and warns of what it does itself."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
