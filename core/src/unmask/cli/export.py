"""``unmask export``: a run's encoder in another library's layout, or as a program."""

from __future__ import annotations

from pathlib import Path

from unmask.plugins.registry import components
from unmask.support.arguments import Arguments, one_of
from unmask.support.errors import GOOD, UserError
from unmask.support.nearest import quoted
from unmask.tools.features import POOLS

RELEASES = "-release"
"""What names of formats end in that are read and never written."""


def run(command: str, arguments: list[str]) -> int:
    """Read a run back, write its encoder, and say how to load it."""
    # Those of releases are read alone; to ask each format would import all plugins.
    names = [c.name for c in components() if c.group == "unmask.formats" and not c.name.endswith(RELEASES)]
    parser = Arguments(command, "An encoder for other libraries. What is written is read back and compared first.")
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("--format", help=", ".join(names))
    parser.add_argument("--out", help="a file or folder; default: in export/ in the run folder")
    parser.add_argument("--pool", help=f"of formats that pool, as programs do: {', '.join(POOLS)}; default: mean")
    parser.add_argument("--codes", action="store_true", help="of programs: all codes in place of one vector per sample")
    parser.add_argument("--data", help="a YAML file whose `data` programs are traced with; default: the run's own")
    parser.add_argument("--part", help="of joint samples: the encoder of this part alone, such as image")
    parser.add_argument("--overwrite", action="store_true", help="replace what is at --out")
    given = parser.parse_args(arguments)

    if given.format is None:
        raise UserError(f"`--format` is required; there are: {quoted(names)}.")
    if given.codes and given.pool:
        raise UserError("`--pool` must not be given with `--codes`, which pools nothing; drop one of them.")
    pool = None if given.codes else one_of("--pool", given.pool or "mean", POOLS)

    from unmask.runs.trained import load_run
    from unmask.tools.exchange.exporting import export
    from unmask.tools.exchange.format import find_format

    find_format(given.format)  # before a run is read
    trained = load_run(given.run, given.data)
    if given.part is not None:
        if not trained.model.part_names:
            raise UserError(f"`--part` must be left out for samples of one part, but is `{given.part}`.")
        trained = trained.of([one_of("--part", given.part, trained.model.part_names)], apart=True)
    try:
        written = export(trained, given.format, Path(given.out) if given.out else None, pool, given.overwrite)
    except ValueError as error:
        hint = " `--part` exports the encoder of one part." if trained.model.part_names else ""
        raise UserError(f"{error}{hint}") from error
    print(f"{trained.about}\nWritten to {written.path}")
    if written.checked:
        print(written.checked)
    print(f"\n{written.usage}")
    return GOOD
