"""The page: its sections in reading order, and everything it needs inside it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from unmask import __version__
from unmask.support.atomic import written_whole
from unmask.tools.report.curves_section import panels
from unmask.tools.report.environment_section import environment
from unmask.tools.report.markup import Markup, element
from unmask.tools.report.pictures_section import TOTAL_BYTES, figures
from unmask.tools.report.record import RESULTS, Record
from unmask.tools.report.settings_section import settings
from unmask.tools.report.summary import head as heading
from unmask.tools.report.tables import comparison, result

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What a browser may load for this page: nothing but what is in it."""


def write_report(records: Sequence[Record], out: Path) -> int:
    """Write the page about one run or two, and return its size in bytes.

    Args:
        records: what `read_records` read.
        out: the file to write; one that is there is replaced at once, never by half.

    Raises:
        OSError: it cannot be written.
    """
    content = page(records).encode("utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as part:
        part.write_bytes(content)
    return len(content)


def page(records: Sequence[Record]) -> str:
    """The whole page as text.

    Args:
        records: one run, or two to be compared.
    """
    title = " and ".join(record.name for record in records)
    parts = files("unmask.tools.report")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} · unmask"),
        element("style", Markup(parts.joinpath("page.css").read_text("utf-8"))),
    )
    sections = {
        "Curves": panels(records),
        "Pictures": _each(records, lambda record: _pictures(record, TOTAL_BYTES // len(records), len(records) == 1)),
        **{name.capitalize(): _results(name, records) for name in RESULTS if any(name in r.results for r in records)},
        "Configuration": settings(records),
        "Environment": environment(records),
        "Not here yet": _missing(records),
    }
    shown = {title: content for title, content in sections.items() if content is not None}
    links = [element("a", title, href=f"#{_anchor(title)}") for title in shown]
    body = element(
        "body",
        element("header", heading(records), element("nav", links, aria_label="Sections"), _alerts(records)),
        element("main", [_section(title, content) for title, content in shown.items()]),
        element("footer", f"Written by unmask {__version__}. This file needs no network and no other file."),
        element("script", Markup(parts.joinpath("page.js").read_text("utf-8"))),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _section(title: str, content: Markup) -> Markup:
    return element("section", element("h2", title), content, id=_anchor(title))


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _each(records: Sequence[Record], content: Callable[[Record], Markup]) -> Markup:
    """The same of each run: side by side where there are two, each under its name."""
    if len(records) == 1:
        return content(records[0])
    return element(
        "div", [element("div", _name(records, i), content(r)) for i, r in enumerate(records)], class_="columns"
    )


def _name(records: Sequence[Record], index: int) -> Markup:
    return element("h3", element("i", class_=f"key run-{index}"), records[index].name)


def _pictures(record: Record, budget: int, alone: bool) -> Markup:
    if record.pictures:
        return figures(record.pictures, budget, alone)
    return element("p", "No pictures yet: training draws them, after each epoch that validates.", class_="missing")


def _results(name: str, records: Sequence[Record]) -> Markup:
    """Of each run, and of both in one table."""
    contents = [record.results.get(name) for record in records]
    together = comparison(contents, [record.name for record in records]) if len(records) > 1 else None
    each = _each(records, lambda r: result(r.results[name]) if name in r.results else _how(name, r))
    return element("div", each, [element("h3", "Pretrained encoders side by side"), together] if together else None)


def _alerts(records: Sequence[Record]) -> list[Markup]:
    """What went wrong, in words, before everything else."""
    said = []
    for record in records:
        whose = f"{record.name}: " if len(records) > 1 else ""
        ended = record.sessions[-1].get("ended", "") if record.sessions else ""
        if ended is None:
            said.append(f"{whose}Unfinished: its end was not noted, so it is still running, or was killed.")
        elif ended not in ("finished", ""):
            said.append(f"{whose}Unfinished: it ended with {ended}.")
        said += [f"{whose}{text}" for text in (record.health, *record.problems) if text]
    return [element("p", text, class_="alert") for text in said]


def _missing(records: Sequence[Record]) -> Markup | None:
    """What could be added, and the command that makes it."""
    items = [
        element("li", f"{record.name}: " if len(records) > 1 else None, _how(name, record))
        for record in records
        for name in RESULTS
        if name not in record.results
    ]
    return element("ul", items, class_="todo missing") if items else None


def _how(name: str, record: Record) -> Markup:
    command = element("code", f"unmask {name} {shlex.quote(str(record.folder))}")
    return element("span", f"No {name} yet ({RESULTS[name]}): ", command, class_="missing")
