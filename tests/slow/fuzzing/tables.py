"""Tables of labels: CSV, TSV, JSON and Parquet, packed or not."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

from fuzzing import bombs, mutations
from fuzzing.case import Case


def labels_table(case: Case, folder: str = "") -> dict[str, Any]:
    """Options for a table of labels of the files that a case has written, spoilt."""
    files = sorted(path.relative_to(case.data).as_posix() for path in case.data.rglob("*") if path.is_file())
    rows = [{"file": name, "label": "cat" if number % 2 else "dog"} for number, name in enumerate(files)]
    name, content = table(case, rows)
    return {"labels": "table", "table": str(case.write(f"../tables/{name}", content))}


def table(case: Case, rows: list[dict[str, Any]]) -> tuple[str, bytes]:
    """Such rows in a file of any kind, spoilt."""
    kind = case.rng.choice(("csv", "csv", "tsv", "json", "jsonl", "parquet"))
    if kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        names = list(rows[0]) if rows else []
        lines = [mark.join(names), *(mark.join(f'"{row[name]}"' for name in names) for row in rows)]
        content = case.spoilt("\n".join(lines).encode("utf-8", "surrogatepass"), is_text=True)
        if case.chance(0.03):
            content = bombs_of_text(case, content)
    elif kind == "parquet":
        content = case.spoilt(parquet(rows))
    else:
        tree = mutations.tree_of(case.rng, rows, case.values)
        lines = (
            json.dumps(tree)
            if kind == "json"
            else "\n".join(map(json.dumps, tree if isinstance(tree, list) else [tree]))
        )
        content = lines.encode() if case.chance(0.5) else case.spoilt(lines.encode(), is_text=True)
        if case.chance(0.05):
            content = b"[" * case.rng.choice((3000, 200_000))
    if kind != "parquet" and case.chance(0.2):
        name, content = f"t.{kind}.gz", gzip.compress(content)
        if case.chance(0.3):
            content = case.rng.choice((case.spoilt(content), bombs.gzip(), content[:-4] + b"\0\0\0\0"))
        return name, content
    return f"t.{kind}", content


def bombs_of_text(case: Case, content: bytes) -> bytes:
    """A cell of megabytes, many fields, or many lines."""
    return case.rng.choice(
        (content + b"\n" + b"x" * 200_000, content + b"\n" + b"," * 100_000, content + b'\n"' + b"y\n" * 100_000)
    )


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet as files

    made = io.BytesIO()
    plain = [
        {
            name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
            for name, value in one.items()
        }
        for one in rows
    ]
    files.write_table(pyarrow.Table.from_pylist(plain), made)
    return made.getvalue()
