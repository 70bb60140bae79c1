"""A run as a folder for the Hub: weights, config, results, pictures and a model card; no pickle, no code."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from unmask.runs.trained import Run
from unmask.support.arguments import writable
from unmask.support.errors import UserError
from unmask.tools.exchange.configs import settled
from unmask.tools.exchange.exporting import export, job_of
from unmask.tools.exchange.whole import CONFIG_FILE, write_whole
from unmask.tools.hub.card import card, placeless
from unmask.tools.hub.library import Repository
from unmask.tools.report import read_record
from unmask.tools.report.record import RESULTS

ENCODER, CARD = "encoder.safetensors", "README.md"
"""Names in the folder: the encoder alone, for other libraries, and the model card."""


def write_folder(trained: Run, out: Path, repository: Repository, licence: str | None = None) -> None:
    """Writes what `unmask push` uploads.

    Args:
        trained: the run.
        out: the folder, which must not be there yet.
        repository: that it is for, as the card calls it.
        licence: identifier of the weights' licence, such as ``apache-2.0``; None: the card says that there is none.

    Raises:
        UserError: ``out`` is there already, or the licence is no identifier.
        ValueError: what was written is not the model; nothing is put in place then.
    """
    if out.exists():
        raise UserError(f"`{out}` is there already; give another folder.")
    writable("the folder", out).parent.mkdir(parents=True, exist_ok=True)
    with _beside(out) as part:
        fill_folder(trained, part, repository, licence)
        os.replace(part, out)


def fill_folder(trained: Run, out: Path, repository: Repository, licence: str | None = None) -> None:
    """As `write_folder`, into a folder that is there and empty."""
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        near = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
        raise UserError(
            f"`--licence` must be an identifier such as `apache-2.0`, but is `{licence}`; nearest: `{near or 'other'}`."
        )
    job = job_of(trained)
    name = repository.name.rpartition("/")[2]
    write_whole(replace(job, config=settled(job.config, Path("runs", name))), out)
    export(replace(trained, folder=out), "safetensors", out / ENCODER)
    record = read_record(trained.folder, name)
    for result in RESULTS:
        if result in record.results:
            text = (trained.folder / f"{result}.json").read_text("utf-8")
            (out / f"{result}.json").write_text(placeless(text, trained.folder, name), "utf-8")
    pictures = {}
    for caption, picture in record.pictures:
        (out / "pictures").mkdir(exist_ok=True)
        shutil.copyfile(picture, out / "pictures" / picture.name)
        pictures[caption] = f"pictures/{picture.name}"
    (out / CARD).write_text(card(trained, record, repository, licence, pictures), "utf-8")


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder on the same disk, which goes when it was not put in place."""
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        part = Path(folder, out.name)
        part.mkdir()
        yield part


__all__ = ["CARD", "CONFIG_FILE", "ENCODER", "fill_folder", "write_folder"]
