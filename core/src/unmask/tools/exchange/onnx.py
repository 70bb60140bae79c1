"""The encoder as an ONNX program, checked against the encoder by onnxruntime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import __version__
from unmask.model import MaskedModel
from unmask.tools.exchange.format import Export, Format
from unmask.tools.exchange.pipeline import inputs, trace, traceable

OPSET = 20
"""Of the operators; onnxruntime 1.17 and later run it."""
TOLERANCE = 1e-4
"""Largest difference between an output of the program and the encoder's."""
MOST_BYTES = 2**31
"""What a file of ONNX can hold."""


class ONNX(Format):
    """``.onnx``: from the raw batch to codes, at any batch size; within 1e-4 of the encoder's."""

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
        pipeline, batch, few = traceable(export)
        with torch.no_grad(), _quiet():
            program: Any = torch.onnx.export(
                trace(pipeline, batch),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(batch),
                output_names=["codes"],
                verbose=False,
            )
        program.model.metadata_props.update({"unmask.version": __version__, "unmask.pool": export.pool or "codes"})
        program.save(str(out), external_data=False)
        difference = max(_difference(out, pipeline, one) for one in (batch, few))
        if not difference <= TOLERANCE:
            raise ValueError(f"onnxruntime must be within {TOLERANCE:g} of the encoder, but is {difference:.2g} off.")
        sizes = f"{len(next(iter(few.values())))} and {len(next(iter(batch.values())))}"
        return (
            f"onnxruntime: at most {difference:.2g} from the encoder, on {sizes} samples (opset {OPSET}). "
            f"Input: {inputs(batch)}."
        )

    def usage(self, export: Export, out: Path) -> str:
        return (
            "import onnxruntime\n\n"
            f"codes = onnxruntime.InferenceSession({str(out)!r}).run(None, batch)[0]  # batch: a dict of arrays"
        )


def _difference(path: Path, pipeline: torch.nn.Module, batch: dict[str, Tensor]) -> float:
    """Largest between the file's output, by onnxruntime on the CPU, and the module's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    read = {one.name for one in session.get_inputs()}
    got = session.run(None, {name: x.numpy() for name, x in batch.items() if name in read})[0]
    with torch.no_grad():
        expected = pipeline(batch).numpy()
    return float(np.abs(got - expected).max()) if got.shape == expected.shape else float("inf")


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
