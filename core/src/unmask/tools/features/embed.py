"""Features of a data set, written as they come: constant memory, resumable, and with nothing hidden."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.runs.folders import ABOUT
from unmask.runs.trained import Run
from unmask.structures import Tokens
from unmask.support.checks import at_least
from unmask.tools.features import ALL
from unmask.tools.features.files import FEATURES, assemble, check_suffix
from unmask.tools.features.labels import in_line, real_tokens, task_of
from unmask.tools.features.pieces import PIECE, put_together
from unmask.tools.features.ranks import ALONE, Ranks
from unmask.tools.features.row_store import STATE, Column, RowStore, saved
from unmask.tools.features.samples import batches, owners, parts_of
from unmask.tools.features.shares import NOTE, join, share_out, spans
from unmask.tools.features.vectors import evaluating

WORDS = ("name", "path")
"""Keys of samples that say in words what they are of."""


@dataclass(frozen=True)
class Embedded:
    """A finished file.

    Args:
        path: the file.
        ids: the CSV file beside it, or None where the file itself holds all ids.
        num_rows: rows in it.
        width: D.
        num_samples: samples they are of.
        num_found: samples that earlier calls had done, all of them when the file was finished.
    """

    path: Path
    ids: Path | None
    num_rows: int
    width: int
    num_samples: int
    num_found: int


def embed(
    model: MaskedModel,
    datamodule: MaskedDataModule,
    out: Path | str,
    *,
    split: str = ALL,
    pool: str = "mean",
    layer: int | None = None,
    per_token: bool = False,
    whole: bool = False,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    source: dict[str, str | None] | None = None,
    overwrite: bool = False,
    ranks: Ranks = ALONE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Embedded:
    """Write ``features`` ``[n, D]`` float32 and ids.

    Ids are ``index`` int64, the sample's number in its split, and ``split`` where there are several; where samples
    have them ``name`` (of the file, row or graph), ``piece`` (the number of the sample in that), ``label``, and
    ``class``, the label in words; and ``token``, its number in the sample, where rows are tokens, with ``token_name``
    where the data has names for them; of samples of several parts, its number in its ``part``.

    Ids are columns of a Parquet file and tensors of a safetensors one; else, and for paths, lines of
    ``OUT.ids.csv``. Until it is finished, work lies in ``OUT.partial/``, which takes as much room again (and that of
    several processes in ``OUT.shares/``, as much once more);
    then ``OUT.json`` says what the file was made with. A call that is killed is carried on by the same
    call, and the result has the same bytes as without the kill. Each batch has the same random numbers.

    Args:
        model: whose `embedder` sees everything.
        datamodule: the data.
        out: a file that ends in ``.npy``, ``.parquet`` or ``.safetensors``.
        split: ``all``: every sample once, as `MaskedDataModule.everything` has them; ``train`` (without augmentation),
            ``val``, ``probe_train`` or ``probe_test``.
        pool: one row per sample, see `Latent.pool`; not looked at where rows are tokens.
        layer: whose codes, in [1, embedder.num_layers]; None: the last one's, normed.
        whole: a row for each whole thing, such as a document or a recording: the mean of the vectors of its pieces,
            whatever parts of the data they are in, see `unmask.tools.features.pieces`. ``index`` is then the first
            piece's, and ``num_pieces`` stands in place of ``piece``. Samples that are no pieces stay as they are.
        per_token: a row for each token that is no padding. ``label`` is the token's where tokens have labels;
            without ``per_token`` such labels are left out.
        batch_size: samples at once, at least 1; None: as in validation.
        device: where to compute.
        source: what else decides about the features, such as a checkpoint's digest, by name.
        overwrite: replace a file made with other things, once the new one is whole.
        ranks: processes that share the work, each of which makes this very call, on one file system. The file has the
            bytes that one process writes. ``device`` then says of which kind each process takes its own.
        progress: called with samples done and samples in all, of this process's share where there are several.

    Raises:
        ValueError: an argument outside its range; a file or half a file is there that was made with other
            things; ``whole`` of tokens, or of pieces whose labels differ; the encoder has no code of each token;
            features that are not finite; batches that do not agree with each other.
    """
    out = Path(out)
    check_suffix(out.suffix)
    batch_size = datamodule.val_batch_size if batch_size is None else batch_size
    at_least(1, batch_size=batch_size)
    if whole and per_token:
        raise ValueError("`whole` must be False with `per_token`, whose rows are of tokens.")
    model.embedder.depth(layer)  # refuses a layer that is not there
    parts = parts_of(datamodule, split)
    total = sum(map(len, parts.values()))  # type: ignore[arg-type]
    about = (source or {}) | {
        "split": split, "num_samples": total, "pool": None if per_token else pool, "layer": layer,
        "per_token": per_token, "batch_size": batch_size, "device": str(device),
    }  # fmt: skip
    about |= {"whole": True} if whole else {}  # files of before, which say nothing of it, are found again

    folder, note, ids, shares = (
        out.with_name(out.name + ending) for ending in (".partial", ".json", ".ids.csv", ".shares")
    )
    done = _done(out, folder, shares, note, about, overwrite)
    if done is not None:
        shutil.rmtree(folder, ignore_errors=True)  # a kill may have come while it was removed
        shutil.rmtree(shares, ignore_errors=True)
        progress(total, total)
        return _result(out, ids, done, total)

    model.to(ranks.device if ranks.world > 1 else device)
    begin = ranks.together(lambda: share_out(folder, shares, about, ranks) if ranks.first else None)
    begin = ranks.gathered(begin)[0]
    todo = spans({name: len(part) for name, part in parts.items()}, batch_size, begin)  # type: ignore[arg-type]
    todo = [todo[number] for number in ranks.share(len(todo))]

    def fill() -> int:
        """The rows of this process; gives how many samples were there."""
        alone = ranks.world == 1
        first = todo[0].before if todo and not alone else 0
        last = todo[-1].before + todo[-1].stop - todo[-1].start - first if todo else 0
        with RowStore(folder if alone else shares / str(ranks.rank), about if alone else {"first": first}) as columns:
            num_found = columns.num_samples
            progress(num_found, total if alone else last)
            for name, part in parts.items():
                own = [one for one in todo if one.part == name and one.before >= first + columns.num_samples]
                if not own:
                    continue
                number = own[0].start  # of the next batch's first sample
                for batch in batches(datamodule, part, batch_size, number, own[-1].stop):
                    batch = move_data_to_device(batch, torch.device(device if alone else ranks.device))
                    with evaluating(model), torch.no_grad():
                        count, rows = _rows(model, batch, number, pool, layer, per_token, datamodule.classes)
                    rows |= _token_names(datamodule, name, rows) if per_token else {}
                    if split == ALL:
                        rows["split"] = [name] * len(rows["index"])
                    columns.append(rows, count)
                    number += count
                    progress(columns.num_samples, total if alone else last)
        return num_found

    found = ranks.gathered(ranks.together(fill))
    num_found = found[0] if ranks.world == 1 else begin + sum(found)

    def finish() -> None:
        """What can be done again as long as the folder has its state, which is taken away last."""
        with RowStore(folder, about) as columns:
            join(columns, shares, ranks)
            made = put_together(columns, folder / "things") if whole and PIECE in columns.kinds else columns
            has_ids = assemble(made, out.suffix, folder / "whole", folder / "ids")
        if has_ids:
            os.replace(folder / "ids", ids)
        else:
            ids.unlink(missing_ok=True)
        os.replace(folder / "whole", out)
        shutil.rmtree(shares, ignore_errors=True)  # before the state, which says what they are of
        os.replace(made.folder / STATE, note)
        shutil.rmtree(folder)

    ranks.together(lambda: finish() if ranks.first else None)
    state = saved(note)
    assert state is not None
    return _result(out, ids, state, num_found)


def fingerprint(trained: Run, data: Path | str | None = None) -> dict[str, str | None]:
    """What decides about a run's features, by content: digests of its checkpoint, its config and other data."""
    files = {"checkpoint": trained.checkpoint, "config": trained.folder / "config.yaml", "data": data}
    return {name: _digest(Path(file)) if file is not None else None for name, file in files.items()}


def _done(
    out: Path, folder: Path, shares: Path, note: Path, about: dict[str, Any], overwrite: bool
) -> dict[str, Any] | None:
    """The state of a finished file that was made in the same way; None: there is work to do."""
    begun = saved(folder / STATE) or saved(shares / NOTE)
    if begun is not None:
        if begun.get("about") != about and not overwrite:
            where = folder if folder.exists() else shares
            raise ValueError(f"`{where}` was begun with {_differences(begun, about)}; {_REMEDY}.")
        if begun.get("about") != about:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(shares, ignore_errors=True)
        return None
    if not out.exists():
        return None
    done = saved(note)
    if done is not None and done.get("about") == about and not overwrite:
        return done
    if not overwrite:
        why = f"was made with {_differences(done, about)}" if done else f"is there already, with no `{note.name}`"
        raise ValueError(f"`{out}` {why}; {_REMEDY}.")
    return None


_REMEDY = "ask for the same again, take another `out`, or set `overwrite` to replace it"


def _differences(state: dict[str, Any], about: dict[str, Any]) -> str:
    was = state.get("about", {})
    told = []
    for name in {**was, **about}:
        before, now = was.get(name), about.get(name)
        if before != now:
            digest = any(str(value).startswith("sha256:") for value in (before, now))
            told.append(f"another {name}" if digest else f"{name} {before}, not {now}")
    return ", ".join(told)


def _rows(
    model: MaskedModel,
    batch: Any,
    first: int,
    pool: str,
    layer: int | None,
    per_token: bool,
    classes: Sequence[str],
) -> tuple[int, dict[str, Column]]:
    """How many samples a batch has, and their rows; ``first`` is the number of its first sample."""
    embedder = model.embedder
    tokens = embedder.tokenizer(batch)
    latent = embedder.coded(tokens, layer)
    label, *words = (batch.get(key) if hasattr(batch, "get") else None for key in ("label", *WORDS, PIECE))
    own = label is not None and task_of(label, tokens).per_token  # each token has its own label
    sample = torch.arange(tokens.num_samples, device=tokens.device)  # of each row
    place = None
    if per_token:
        real = real_tokens(tokens)  # [B, N], packed [T]
        codes = None if latent.values is None else tuple(latent.values.shape)
        if codes is None or codes[: real.ndim] != tuple(real.shape):
            told = "parts have codes of different widths" if codes is None else f"{codes} for {tuple(real.shape)}"
            raise ValueError(
                f"`per_token` must be False for {type(embedder.encoder).__name__}, which has no code of each token: "
                f"{told}."
            )
        sample, place = (index[real] for index in owners(tokens))
        values = latent.values[real]  # [n, D]
        if label is not None:
            label = label[real] if own else label[sample]
    else:
        values = latent.pool(pool)  # [B, D]
        label = None if own else label
    if not values.isfinite().all():
        bad = sample[~values.isfinite().all(-1)][0]
        raise ValueError(f"Features must be finite, but those of sample {first + int(bad)} hold NaN or infinity.")

    rows: dict[str, Column] = {FEATURES: values.float().cpu().numpy(), "index": (sample + first).cpu().numpy()}
    if place is not None:
        rows["token"] = place.cpu().numpy()
        if tokens.parts is not None:
            rows["part"] = _part_names(tokens, real)
    if label is not None:
        kind = torch.promote_types(label.dtype, torch.float) if label.is_floating_point() else torch.long
        rows["label"] = label.to(kind).cpu().numpy()
        if classes and not label.is_floating_point():
            rows["class"] = in_words(label, classes)
    *texts, piece = words
    for name, given in zip(WORDS, texts, strict=True):
        if given is not None:
            rows[name] = [str(given[i]) for i in sample.tolist()]
    if piece is not None:
        rows[PIECE] = torch.as_tensor(piece)[sample.cpu()].long().numpy()
    return tokens.num_samples, rows


def _part_names(tokens: Tokens, real: Tensor) -> list[str]:
    """Which part each real token is of."""
    parts = tokens.parts or {}
    number = in_line(
        {name: torch.full_like(real_tokens(part), i, dtype=torch.long) for i, (name, part) in enumerate(parts.items())}
    )
    names = list(parts)
    return [names[i] for i in number[real].tolist()]


def _token_names(datamodule: MaskedDataModule, split: str, rows: dict[str, Column]) -> dict[str, Column]:
    """What the tokens of a batch are called, where the data has names for them."""
    known: dict[int, list[str] | None] = {}
    words = []
    for index, token in zip(rows["index"].tolist(), rows["token"].tolist(), strict=True):  # type: ignore[union-attr]
        if index not in known:
            known[index] = datamodule.token_names(split, index)
        names = known[index]
        words.append("" if names is None else names[token])
    return {"token_name": words} if any(names is not None for names in known.values()) else {}


def in_words(label: Tensor, classes: Sequence[str]) -> list[str]:
    """Class ids ``[n]``, or 0 and 1 for each class ``[n, C]``, as words; several are joined by semicolons, and an
    unknown label is an empty word."""
    if label.ndim > 1:
        return [";".join(word for word, own in zip(classes, row, strict=False) if own == 1) for row in label.tolist()]
    return [classes[one] if 0 <= one < len(classes) else "" for one in label.tolist()]


def _result(out: Path, ids: Path, state: dict[str, Any], num_found: int) -> Embedded:
    shape = state["columns"][FEATURES]["shape"]
    return Embedded(out, ids if ids.is_file() else None, state["num_rows"], shape[0], state["num_samples"], num_found)


def _digest(path: Path) -> str:
    path = path / ABOUT if path.is_dir() else path  # of a sharded checkpoint, which has the checksums of its files
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
