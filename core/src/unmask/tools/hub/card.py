"""The model card: what a run's files say of it, as Markdown with the metadata that the Hub reads."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unmask import __version__
from unmask.plugins import registry
from unmask.runs.trained import Run
from unmask.tools.hub.library import SCHEME, Repository, library
from unmask.tools.report.record import RESULTS, Record
from unmask.tools.report.summary import tiles_of
from unmask.tools.results import MISSING, Results

TASK = "feature-extraction"
"""What the Hub calls the use of an encoder."""
NO_LICENCE = "None was given: ask the author before you use these weights."


def card(trained: Run, record: Record, repository: Repository, licence: str | None, pictures: Mapping[str, str]) -> str:
    """The card's text.

    Args:
        trained: the run.
        record: what its files say.
        repository: that the card is for.
        licence: identifier; None: none was given.
        pictures: captions, and names of the files in the repository.
    """
    results = {name: Results.from_json(record.results[name]) for name in RESULTS if name in record.results}
    method, data = (_component(trained, part) for part in ("model", "data"))
    hub = library()
    metadata = hub.ModelCardData(
        license=licence,
        library_name="unmask",
        tags=["self-supervised-learning", "masked-modelling", _name(method, trained.model)],
        model_name=record.name,
        eval_results=list(_measured(results.get("probe"), _name(data, trained.datamodule))) or None,
    )
    sections = {
        "Use": _use(trained, repository),
        "Method": _method(trained, method),
        "Data": "\n".join([f"{_code(_name(data, trained.datamodule))}", "", *_found(record)]).strip(),
        "Budget": _table(["", ""], list(_budget(record))),
        **{name.capitalize(): _results(found, record.results[name]) for name, found in results.items()},
        "Pictures": "\n\n".join(
            f"{_plain(caption)}\n\n![{_plain(caption)}]({file})" for caption, file in pictures.items()
        ),
        "Licence": _code(licence) if licence else NO_LICENCE,
        "Environment": _table(["", ""], list(_environment(record))),
    }
    body = "\n\n".join(f"## {title}\n\n{content}" for title, content in sections.items() if content)
    about = f"{type(trained.model).__name__} after {trained.step:,} steps (seed {trained.seed})"
    head = f"---\n{metadata.to_yaml()}\n---\n\n# {record.name}\n\n{about}, pretrained with unmask {__version__}."
    return placeless(f"{head}\n\n{body}\n", trained.folder, record.name)


def placeless(text: str, folder: Path, name: str) -> str:
    """A text with the run's name in place of its folder on this machine."""
    for place in {str(folder.absolute()), str(folder)} - {"."}:
        text = re.sub(rf"(?<![\w./-]){re.escape(place)}(?=[/\\\s\"`,])", lambda _: name, text)
    return text


def _use(trained: Run, repository: Repository) -> str:
    known = [_component(trained, part) for part in ("model", "data")]
    brought = sorted({one.distribution for one in known if one is not None} - {"unmask"})
    packages = " ".join(['"unmask[hub]"', *brought])
    return f"""```sh
pip install {packages}
unmask import {SCHEME}{repository.name} --out {repository.name.rpartition("/")[2]}
```

```python
import unmask

run = unmask.load("{SCHEME}{repository.name}")
vectors = run.embed("a/folder/of/yours")  # [n, D]; also run.probe(), run.finetune(), run.export("onnx")
```

`model.safetensors` has the whole model and `encoder.safetensors` the encoder alone, `config.yaml` all settings."""


def _method(trained: Run, method: registry.Component | None) -> str:
    """Its name, and the first line of its file, which says the idea and the paper."""
    text = (inspect.getdoc(inspect.getmodule(type(trained.model))) or "").split("\n")[0].rstrip(".")
    linked = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", _plain(text))
    return f"{_code(_name(method, trained.model))}" + (f": {linked}." if linked else "")


def _found(record: Record) -> list[str]:
    """What was found in the data, as the run told; counts and names of classes, no names of files."""
    try:
        found = json.loads((record.folder / "data.json").read_text("utf-8"))["found"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [f"- {_plain(line)}" for line in found if isinstance(line, str)] if isinstance(found, list) else []


def _budget(record: Record) -> Iterator[list[str]]:
    for label, tile in tiles_of(record).items():
        if tile is not None and label != "probe":
            value, remark = tile
            yield [label, f"{value} ({remark})" if remark else value]
    for label, path in (("batch", ("data", "init_args", "batch_size")), ("precision", ("trainer", "precision"))):
        value = record.setting(*path)
        if value is not None:
            yield [label, str(value)]
    accumulated = record.setting("trainer", "accumulate_grad_batches")
    if isinstance(accumulated, int) and accumulated > 1:
        yield ["batches of a step", str(accumulated)]
    if record.sessions and isinstance(number := record.sessions[-1].get("num_devices"), int):
        yield ["devices", str(number)]


def _results(found: Results, content: Any) -> str:
    """A table with a column for raw input, untrained and pretrained encoder, and what the numbers mean."""
    if not found.rows:
        return f"```json\n{json.dumps(content, indent=2)[:2000]}\n```"
    rows = []
    for row in found.rows:
        cells = []
        for column in found.columns:
            cell = row.cells.get(column)
            text = MISSING if cell is None else row.measure.text(cell.mean, cell.error)
            cells.append(f"**{text}**" if cell is not None and found.is_best(row, column) else text)
        rows.append([row.label(unit=True), *cells])
    caption = "  \n".join(_plain(line) for line in found.caption)
    return "\n\n".join(filter(None, [_plain(found.title), _table(["", *found.columns], rows), caption]))


def _measured(found: Results | None, data: str) -> Iterator[Any]:
    """The probes of the pretrained encoder, for the Hub's own table."""
    for row in found.rows if found else []:
        cell = row.cells.get(found.columns[-1]) if found else None
        if cell is not None:
            yield library().EvalResult(
                task_type=TASK,
                dataset_type=data,
                dataset_name=data,
                metric_type=row.measure.name or "score",
                metric_name=row.label(unit=True),
                metric_value=round(100 * cell.mean, 2) if row.measure.percent else cell.mean,
            )


def _environment(record: Record) -> Iterator[list[str]]:
    """What the run was trained with last; no folders, no command."""
    last = record.sessions[-1] if record.sessions else {}
    for key in ("python", "platform", "device"):
        if isinstance(last.get(key), str):
            yield [key, last[key]]
    versions = last.get("versions")
    for package, version in versions.items() if isinstance(versions, Mapping) else ():
        yield [str(package), str(version)]


def _component(trained: Run, part: str) -> registry.Component | None:
    cls = type(trained.model if part == "model" else trained.datamodule)
    group = "unmask.methods" if part == "model" else "unmask.data"
    found = registry.matches(f"{cls.__module__}.{cls.__qualname__}", group)
    return found[0] if found else next((c for c in registry.components() if c.group == group and _is(c, cls)), None)


def _is(component: registry.Component, cls: type) -> bool:
    return (
        component.class_name == cls.__qualname__
        and component.value.partition(":")[0].split(".")[0] == (cls.__module__.split(".")[0])
    )


def _name(component: registry.Component | None, part: Any) -> str:
    return type(part).__name__ if component is None else component.name


def _table(head: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_plain(cell, bold=True) for cell in line) + " |" for line in lines)


def _plain(text: str, bold: bool = False) -> str:
    """Text that Markdown takes as it is, in one line."""
    text = re.sub(r"([\\`_\[\]|])" if bold else r"([\\`*_\[\]|])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{' '.join(text.split()).replace('`', '')}`"
