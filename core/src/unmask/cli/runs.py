"""``unmask runs``: the runs below a folder, with method, data, steps, state and figures."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from unmask.support.arguments import Arguments, writable
from unmask.support.errors import GOOD


def run(command: str, arguments: list[str]) -> int:
    """Print one line per run, or write a CSV file with every figure. Nothing of it imports torch."""
    parser = Arguments(command, "Runs below a folder: method, data, steps, state and figures.")
    parser.add_argument("folder", nargs="?", default="runs", help="where to look, in folders below too; default: runs")
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only those, such as state=finished, "
        "method=vision.*, val/loss<0.5; may be given several times"
    )  # fmt: skip
    parser.add_argument("--sort", metavar="COLUMN", help="by this column, smallest first; default: newest first")
    parser.add_argument("--reverse", action="store_true", help="largest first")
    parser.add_argument("--figures", help="columns of figures to show, divided by ;, or all; default: the first few")
    parser.add_argument("--csv", metavar="FILE", help="write a table with every column; - prints it")
    given = parser.parse_args(arguments)

    from unmask.tools import listing

    found = listing.chosen(listing.listed(Path(given.folder)), given.where)
    if given.sort is None:
        found = listing.ordered(found, "started", downwards=not given.reverse)
    else:
        found = listing.ordered(found, given.sort, downwards=given.reverse)
    if given.csv == "-":
        print(listing.as_csv(found), end="")
        return GOOD
    if given.csv:
        from unmask.tools.output import write

        file = writable("--csv", Path(given.csv))
        write(file, listing.as_csv(found).encode())
        print(f"{len(found)} runs written to {file}")
        return GOOD
    if not found:
        print("No run is like that.")
        return GOOD
    figures = None
    if given.figures:
        every = listing.columns(found)[len(listing.FACTS) :]
        figures = every if given.figures == "all" else [one.strip() for one in given.figures.split(";")]
    width = shutil.get_terminal_size((200, 24)).columns if sys.stdout.isatty() else None
    print(listing.table(found, figures, width))
    print(f"{len(found)} runs")
    return GOOD
