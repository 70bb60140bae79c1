"""``unmask import``: a run folder of weights from another library or the Hub, with a report of what matched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.plugins.registry import components
from unmask.support.arguments import Arguments, number, writable
from unmask.support.errors import GOOD, UserError

if TYPE_CHECKING:
    from unmask.runs.match import Match
    from unmask.tools.exchange.importing import Imported

SHOWN = 8
"""Names given of each kind of difference; `import.json` has all."""


def run(command: str, arguments: list[str]) -> int:
    """Read weights, match them to the model of a config, and write a run that every command takes."""
    names = [component.name for component in components() if component.group == "unmask.formats"]
    parser = Arguments(command, "A run made of foreign weights: all of the encoder's tensors, or you say so.")
    parser.add_argument(
        "weights", help="a safetensors or torch file, a folder of timm or transformers, or hf://org/name"
    )
    parser.add_argument("--config", help="a recipe or YAML file; a file of `unmask export` carries its own")
    parser.add_argument("--revision", help="of hf://: a branch, tag or commit; default: the main branch")
    parser.add_argument("--out", default="runs/imported", help="the run folder; default: runs/imported")
    parser.add_argument("--format", help=f"{', '.join(names)}; default: the one that finds the most")
    parser.add_argument("--prefix", help="take names below it, such as teacher.backbone; default: what finds the most")
    parser.add_argument("--min_matched", default="1.0", help="least share of the encoder's tensors; default: 1.0")
    parser.add_argument("--part", help="of a joint model, the part whose encoder they are for, such as image")
    parser.add_argument("--into", help="with --part: a run whose other weights are kept, in place of --config")
    parser.add_argument("--resize_positions", action="store_true", help="resample position tables of another grid")
    given = parser.parse_args(arguments)
    min_matched = number("--min_matched", given.min_matched, "[0, 1]")

    from unmask.tools.exchange.format import find_format
    from unmask.tools.exchange.importing import import_weights
    from unmask.tools.hub.library import SCHEME, Repository

    if given.into is not None and (given.part is None or given.config is not None):
        raise UserError("`--into` needs `--part`, and no `--config`: the run has its own.")
    if given.revision is not None and not given.weights.startswith(SCHEME):
        raise UserError(f"`--revision` is for `{SCHEME}org/name`, but the weights are `{given.weights}`.")
    if given.format is not None:
        find_format(given.format)  # before a file is read
    writable("--out", Path(given.out) / "config.yaml")
    source, origin = Path(given.weights), None
    if given.weights.startswith(SCHEME):
        from unmask.tools.hub.download import download

        source, origin = download(Repository.of(given.weights, given.revision))
        print(f"Read: {origin}")
    imported = import_weights(
        source, given.config, Path(given.out), given.format, given.prefix, min_matched,
        given.resize_positions, given.part, None if given.into is None else Path(given.into), origin,
    )  # fmt: skip
    print("\n".join(_lines(imported)))
    return GOOD


def _lines(imported: Imported) -> list[str]:
    """What matched, what did not, and what to do next."""
    under = f" under `{imported.prefix}.`" if imported.prefix else ""
    lines = [f"Read as `{imported.format}`{under}.", *_of("encoder", imported.encoder)]
    if imported.predictor is None:
        lines.append("Predictor: none in these weights, left as initialised.")
    else:
        lines += _of("predictor", imported.predictor)
    if imported.others:
        lines.append(f"Taken as well: {len(imported.others)} tensors ({_some(imported.others[:3])} ...).")
    lines += [f"Resampled: {table}" for table in imported.resized]
    if imported.outside:
        tops = list(dict.fromkeys(name.partition(".")[0] for name in imported.outside))
        lines.append(f"Left alone, under other names: {len(imported.outside)} tensors (in {_some(tops)}).")
    lines += [f"Note: {caution}" for caution in imported.cautions]
    folder = imported.folder
    return [
        *lines,
        f"Run folder: {folder} (all names: {folder / 'import.json'})",
        f"Go on training it: unmask fit --config {folder / 'config.yaml'} --ckpt_path last",
    ]


def _of(part: str, report: Match) -> list[str]:
    kept = "; what did not match is as initialised" if report.missing or report.mismatched else ""
    lines = [f"{part.capitalize()}: {report.summary}{kept}.", *(f"  {line}" for line in report.differences(SHOWN))]
    if report.unheld:
        lines.append(f"  no place in this layout, left as initialised: {_some(report.unheld)}")
    return lines


def _some(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(f"`{name}`" for name in names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
