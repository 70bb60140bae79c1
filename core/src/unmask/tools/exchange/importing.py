"""Import: another library's weights as a run, with a report of what found its place and what did not."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor, nn

from unmask.configs.building import build
from unmask.model import MaskedModel
from unmask.of_parts import ModelOfParts
from unmask.parts import Encoder
from unmask.runs import match
from unmask.runs.checkpoints import write_checkpoint
from unmask.runs.folders import run_folder
from unmask.runs.match import load_weights
from unmask.runs.trained import load_run
from unmask.runs.weights import IN_FOLDERS, State, Weights, read_weights
from unmask.support.errors import UserError
from unmask.support.nearest import quoted
from unmask.tools.exchange.configs import read_config, seed_of, settled
from unmask.tools.exchange.matching import Reading, best_reading
from unmask.tools.exchange.native import check_sha256
from unmask.tools.exchange.whole import read_whole

PARTS = ("encoder.", "predictor.")
"""Of a model, whose tensors are reported one by one."""


@dataclass(frozen=True)
class Imported:
    """A run made of foreign weights.

    Args:
        folder: the run folder.
        format: how the weights were read.
        prefix: under which they were found; empty: none.
        encoder: how they fit the encoder.
        predictor: how they fit the predictor; None: they hold none, and it is as initialised.
        others: tensors of other parts that a whole run's checkpoint had, and that were taken too.
        resized: position tables that were resampled, with their sizes before and after.
        outside: names in the file that lie under another prefix and were left alone.
        cautions: sentences on what else differs.
    """

    folder: Path
    format: str
    prefix: str
    encoder: match.Match
    predictor: match.Match | None
    others: list[str]
    resized: list[str]
    outside: list[str]
    cautions: list[str]


def import_weights(
    source: Path,
    config: str | None = None,
    out: Path = Path("runs/imported"),
    name: str | None = None,
    prefix: str | None = None,
    min_matched: float = 1.0,
    resize_positions: bool = False,
    part: str | None = None,
    into: Path | None = None,
    origin: str | None = None,
) -> Imported:
    """Make a run folder of weights, as if they had been trained here for 0 steps.

    A file of a whole model, as `unmask push` writes it, comes back as it was, with all that its checkpoint kept.

    Args:
        source: a file of `safetensors` or torch, or a folder of another library.
        config: a recipe's name or a YAML file, for the model and data; None: the file carries its own.
        out: the run folder; where one is already, ``-2`` and so on is added.
        name: of the format; None: the one that finds the most.
        prefix: of the names to take, such as ``teacher.backbone``; None: the one that finds the most.
        min_matched: least share of the encoder's tensors that must match, in [0, 1].
        resize_positions: whether position tables of another grid may be resampled.
        part: of a joint model, the one whose encoder the weights are for; None: they are for the whole model.
        into: with ``part``, a run whose config is taken and whose other weights are kept.
        origin: what the source is called where the run says what it is made of; None: its path.

    Raises:
        UserError: a part that is not there; files or a config that cannot be read, or too few tensors that match;
            nothing is written then.
    """
    weights = read_weights(source)
    check_sha256(weights)
    base = None if into is None else load_run(into)
    alone = config is None and name is None and prefix is None and part is None
    whole = read_whole(weights) if alone else None
    text, path = read_config(config if base is None else str(base.folder / "config.yaml"), weights)
    seed = seed_of(text)
    called = origin or str(source)
    out = run_folder(out, resume=False)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"`--out` must be a new folder, but `{out}` is there already.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as parts:
        folder = Path(parts, "run")
        (folder / "checkpoints").mkdir(parents=True)
        if whole is not None:
            text = whole.unpack(text, folder, out)
        (folder / "config.yaml").write_text(settled(text, out), "utf-8")
        model = _built(path or folder / "config.yaml", seed, f"the config of {called}")
        if base is not None:
            model.load_state_dict(base.model.state_dict())
        if whole is not None:
            load_weights(model, weights.tensors, f"`{weights.file}`", "its config")
            model.agreed.update(whole.agreed)
            imported = _of_all(model, out)
        else:
            filled = model if part is None else _part_of(model, part)
            try:
                reading = best_reading(filled, weights.tensors, name, prefix)
                imported = _fill(filled, weights, reading, source, out, min_matched, resize_positions)
            except ValueError as error:
                raise UserError(f"`{source}`: {error}") from error
            if filled is not model and base is None:
                model.start_parts()  # a teacher begins as the encoder
        _save(model, seed, called, folder / "checkpoints" / "last.ckpt")
        (folder / "import.json").write_text(json.dumps(_record(imported, called), indent=2) + "\n", "utf-8")
        os.replace(folder, out)
    return imported


def _part_of(model: MaskedModel, part: str) -> MaskedModel:
    try:
        return ModelOfParts(model, [part], apart=True)
    except ValueError as error:
        raise UserError(str(error).replace("`parts`", "`--part`", 1)) from error


def _built(config: Path, seed: int, called: str) -> MaskedModel:
    """The model of a config; what is wrong with it is told by the name that the user knows."""
    try:
        return build(config, seed)[0]
    except UserError as error:
        raise UserError(str(error).replace(f"`{config}`", called)) from error


def _of_all(model: MaskedModel, out: Path) -> Imported:
    """Of a whole model, every tensor of which was given."""
    encoder = match.compare(model.encoder, model.encoder.state_dict())
    given: nn.Module | None = model.predictor  # some methods have none
    predictor = None if given is None else match.compare(given, given.state_dict())
    others = [name for name in model.state_dict() if not name.startswith(PARTS)]
    return Imported(out, "safetensors", "", encoder, predictor, others, [], [], [])


def _fill(
    model: MaskedModel,
    weights: Weights,
    reading: Reading,
    source: Path,
    out: Path,
    min_matched: float,
    resize_positions: bool,
) -> Imported:
    """Load what matches into encoder, predictor and whatever follows the encoder."""
    made, own = reading.format, model.state_dict()
    described = source if source.is_dir() else source.parent if source.name in IN_FOLDERS else None
    cautions = [] if described is None else made.check(described, model)
    if reading.rivals:
        cautions.append(f"As much fits under {quoted(reading.rivals)}; `--prefix` chooses.")
    found = reading.load(weights.tensors, model)
    cautions += made.agree(reading.below(weights.tensors), weights.settings, model)
    resized = _resize(reading, found, model) if resize_positions else []

    # A checkpoint of a whole run has more than an encoder: predictor, teacher, ...
    others = {k: x for k, x in found.items() if k in own and x.shape == own[k].shape and not k.startswith(PARTS)}
    holds_predictor = any(key.startswith("predictor.") and key in own for key in found)
    predictor = _part("predictor", found) if holds_predictor else {}
    unknown = {k: x for k, x in found.items() if k not in others and not k.startswith(PARTS)}
    if not holds_predictor:
        unknown |= {key: x for key, x in found.items() if key.startswith("predictor.")}
    try:
        encoder = match.load(model.encoder, _part("encoder", found) | unknown, min_matched, made.unheld(model))
    except ValueError as error:
        would_help = not resize_positions and _resize(reading, found, model)
        hint = "; `--resize_positions` resamples the positions" if would_help else ""
        if resize_positions and not resized:
            hint = f"; `--resize_positions` resamples nothing of `{reading.name}`, but of another `--format` it may"
        depth = _depth(model, _part("encoder", found))
        raise ValueError(f"{str(error)[:-1]}; read as {reading}{depth}{hint}.") from None
    left = made.unheld_of_predictor(model)
    report = match.load(model.predictor, predictor, 0.0, left) if holds_predictor else None
    model.start_parts()  # a teacher begins as the encoder
    used = model.embedder.encoder
    if all(used is not part for part in model.encoder.modules()):
        used.load_state_dict(model.encoder.state_dict())
    model.load_state_dict(others, strict=False)
    outside = reading.outside(weights.tensors)
    return Imported(out, reading.name, reading.prefix, encoder, report, list(others), resized, outside, cautions)


def _part(name: str, found: State) -> State:
    return {key.removeprefix(name + "."): x for key, x in found.items() if key.startswith(name + ".")}


def _depth(model: MaskedModel, found: State) -> str:
    """What to say where the weights have more or fewer layers than the encoder."""
    for name, part in model.encoder.named_modules():
        if isinstance(part, nn.ModuleList):
            numbers = {key.removeprefix(f"{name}.").partition(".")[0] for key in found if key.startswith(f"{name}.")}
            if numbers and len(numbers) != len(part):
                return f"; the weights have {len(numbers)} of `{name}`, the config's encoder {len(part)}"
    return ""


def _resize(reading: Reading, found: State, model: MaskedModel) -> list[str]:
    """Resample, in place, the tables of another size that the format or the encoder knows how to resample."""
    told = []
    for name, own in model.state_dict().items():
        given = found.get(name)
        if given is None or given.shape == own.shape:
            continue
        table: Tensor | None = reading.format.resize(name, given.float(), model)
        if table is None:
            table = _refit(name, given.float(), model)
        if table is not None:
            found[name] = table.to(own.dtype)
            told.append(f"{name}: {list(given.shape)} to {list(own.shape)}")
    return told


def _refit(name: str, tensor: Tensor, model: MaskedModel) -> Tensor | None:
    """A tensor of one of the model's encoders, a teacher among them, as that encoder resamples it."""
    for prefix, part in model.named_modules():
        if isinstance(part, Encoder) and name.startswith(f"{prefix}."):
            return part.refit(name.removeprefix(f"{prefix}."), tensor)
    return None


def _save(model: MaskedModel, seed: int, source: str, path: Path) -> None:
    """A checkpoint of 0 steps, from which ``unmask fit`` goes on with a new optimiser."""
    checkpoint = {
        "state_dict": model.state_dict(),
        "seed": seed,
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": L.__version__,
        "optimizer_states": [],
        "lr_schedulers": [],
        "agreed": dict(model.agreed),
        "imported_from": source,
    }
    write_checkpoint(checkpoint, path)


def _record(imported: Imported, source: str) -> dict[str, Any]:
    record = {"source": source} | asdict(imported)
    for part in ("encoder", "predictor"):
        if record[part] is not None:
            record[part].pop("sizes")
            record[part]["matched"] = len(record[part]["matched"])
    return record | {"folder": str(imported.folder), "outside": len(imported.outside)}
