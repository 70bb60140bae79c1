"""``unmask report``: one HTML file with curves, pictures, probes and config of one run or two."""

from __future__ import annotations

from pathlib import Path

from unmask.support.arguments import Arguments
from unmask.support.errors import GOOD, UserError


def run(command: str, arguments: list[str]) -> int:
    """Write the page and print where it is. Nothing of it imports torch."""
    parser = Arguments(command, "One self-contained HTML page about a run, or about two side by side.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a run folder, or two to compare")
    parser.add_argument("--out", help="the file to write; default: report.html in the run folder, of two runs here")
    given = parser.parse_args(arguments)

    from unmask.tools.report import read_records, write_report

    folders = [Path(word) for word in given.runs]
    out = Path(given.out or (folders[0] / "report.html" if len(folders) == 1 else "report.html"))
    if out.suffix not in (".html", ".htm"):
        raise UserError(f"`--out` must end in .html, but is `{out}`.")
    if out.is_dir():
        raise UserError(f"`--out` must be a file, but `{out}` is a folder.")
    records = read_records(folders)
    try:
        size = write_report(records, out)
    except OSError as error:
        raise UserError(f"`--out`: `{out}` cannot be written: {error.strerror}.") from error
    print(f"Written to {out} ({size / 1000:,.0f} kB)")
    return GOOD
