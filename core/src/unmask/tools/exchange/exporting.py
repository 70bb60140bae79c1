"""Export: an encoder into another library's layout, checked before it is put in place."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unmask.model import MaskedModel
from unmask.of_parts import ModelOfParts
from unmask.runs.trained import Run
from unmask.runs.weights import read_weights
from unmask.support.arguments import writable
from unmask.support.errors import UserError
from unmask.support.nearest import quoted
from unmask.tools.exchange.format import Export, Format, find_format, formats
from unmask.tools.features.samples import some

NUM_SAMPLES = 4
"""Of the data, to trace a program with."""


class Exported(NamedTuple):
    """What was written.

    Args:
        path: a file or a folder.
        checked: what was checked of it, in words.
        usage: lines of Python that load it.
    """

    path: Path
    checked: str
    usage: str


def export(
    trained: Run, name: str, out: Path | None = None, pool: str | None = "mean", overwrite: bool = False
) -> Exported:
    """Write a run's encoder, the one that is used for inference, in a registered format.

    Args:
        trained: the run.
        name: of the format, as registered in ``unmask.formats``.
        out: a file or folder; None: one in ``export/`` in the run folder.
        pool: see `Latent.pool`, for programs; None: all codes.
        overwrite: whether ``out`` may be there already.

    Raises:
        UserError: an unknown format, one that the encoder has no place in or whose library is not
            installed, or ``out`` is there already.
        ValueError: what was written is not the encoder; nothing is put in place then.
    """
    made = find_format(name)
    if not made.writes:
        fit = quoted(fitting(trained.model))
        raise UserError(f"`--format` must be one that is written, but `{name}` is only read; there are: {fit}.")
    refusal = made.refusal(trained.model)
    if refusal:
        raise UserError(refusal + (" `--part` exports the encoder of one part." if trained.model.part_names else ""))
    part = f"-{trained.model.names[0]}" if isinstance(trained.model, ModelOfParts) else ""
    out = out or trained.folder / "export" / (f"encoder{part}{made.suffix}" if made.suffix else f"{name}{part}")
    if made.suffix and out.suffix != made.suffix:
        raise UserError(f"`--out` must end in `{made.suffix}` for the format `{name}`, but is `{out}`.")
    writable("--out", out)
    if out.exists() and not overwrite:
        raise UserError(f"`{out}` is there already; give another `--out`, or `--overwrite`.")
    with torch.random.fork_rng(devices=[]):
        return _write(made, name, job_of(trained, pool), out)


def job_of(trained: Run, pool: str | None = "mean") -> Export:
    """What is written of a run.

    Args:
        trained: the run.
        pool: as of `export`.
    """
    return Export(
        trained.model.cpu().eval(),
        config=(trained.folder / "config.yaml").read_text("utf-8"),
        seed=trained.seed,
        step=trained.step,
        batch=lambda: _read(trained.model, some(trained.datamodule, "val", NUM_SAMPLES, "cpu")[0]),
        pool=pool,
    )


def _read(model: MaskedModel, batch: Any) -> Any:
    """What the tokenizer of the model reads of a batch."""
    return model.read(batch) if isinstance(model, ModelOfParts) else batch


def fitting(model: MaskedModel) -> list[str]:
    """Names of the formats, of those installed with what they need, that have a place for a model's encoder."""
    return [name for name, made in formats().items() if made.writes and made.refusal(model) is None]


def _write(made: Format, name: str, job: Export, out: Path) -> Exported:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        part = Path(folder, out.name)
        checked = made.save(job, part)
        if made.reads:
            checked = " ".join(filter(None, [_same(made, job.model, part, name), checked]))
        if out.is_dir() and not out.is_symlink():
            shutil.move(out, Path(folder, "old"))  # goes with the folder
        os.replace(part, out)
    return Exported(out, checked, made.usage(job, out))


def _same(made: Format, model: MaskedModel, part: Path, name: str) -> str:
    """Reads back what was written, and compares it with the encoder."""
    read = made.load(read_weights(part).tensors, model)
    left = made.unheld(model)
    held = model.embedder.encoder.state_dict()
    own = {key: tensor for key, tensor in held.items() if key not in left}
    back = {key: read.get(f"encoder.{key}") for key in own}
    changed = [key for key, x in back.items() if x is None or not torch.equal(x, own[key])]
    if changed:
        raise ValueError(f"`{name}` must give back every tensor as it was, but does not: {quoted(changed[:3])}.")
    there = sorted(left & set(held))
    note = f" (not held: {', '.join(there[:3])}{' and more' if len(there) > 3 else ''})" if there else ""
    return f"Read back: {len(own)} tensors, equal bit for bit{note}."
