"""A chart: curves over steps as inline SVG, which stretches with the page while its text does not.

The plot is drawn in a square of `SIDE` units that CSS stretches; labels are HTML beside it, placed by
per cent. Values under the pointer are shown by ``page.js`` from numbers that the figure carries.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from unmask.tools.report.axis import Axis, number, step_axis, value_axis
from unmask.tools.report.curves import Curve
from unmask.tools.report.markup import Markup, element

SIDE = 1000
MOST_DOTS = 15
"""Curves of no more points show each of them."""


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Args:
        label: what the legend says.
        curve: what is drawn, at least one point of it finite.
        style: a class of the style sheet, which gives its colour: ``run-0``, ``run-1 dashed``.
        smooth: draw its moving average, and itself faintly behind it.
    """

    label: str
    curve: Curve
    style: str = "run-0"
    smooth: bool = False


def chart(title: str, lines: Sequence[Line], last_step: int, wide: bool = False, linear: bool = False) -> Markup:
    """A figure with ``lines`` over a common axis of steps.

    Args:
        title: its caption.
        lines: at least one.
        last_step: where the axis of steps ends.
        wide: over the whole width of the page.
        linear: never logarithmic.
    """
    values = [value for line in lines for _, value in line.curve.finite]
    x, y = step_axis(last_step), value_axis(values, False if linear else None)
    drawn, numbers = [], []
    for line in lines:
        marks, data = _line(line, x, y)
        drawn.append(marks)
        numbers.append(data)
    picture = element(
        "svg", _grid(x, y), drawn,
        viewBox=f"0 0 {SIDE} {SIDE}", preserveAspectRatio="none", role="img", aria_label=_description(title, lines),
    )  # fmt: skip
    plot = element("div", picture, element("div", class_="cursor", hidden=True), class_="plot")
    data = {"axes": [[x.low, x.high], [y.low, y.high]], "logarithmic": y.logarithmic, "lines": numbers}
    return element(
        "figure",
        element("figcaption", element("b", title), _legend(lines), _log_note(y)),
        element("div", _labels(y, "bottom"), plot, _labels(x, "left"), class_="frame"),
        _missing(lines),
        class_="chart wide" if wide else "chart",
        data_chart=json.dumps(data, separators=(",", ":"), ensure_ascii=False),
    )


def _line(line: Line, x: Axis, y: Axis) -> tuple[Markup, dict[str, object]]:
    """The SVG of a line, and the numbers behind it."""
    kept = line.curve.kept()
    steps = [line.curve.steps[i] for i in kept]
    values = [line.curve.values[i] for i in kept]
    smoothed = line.curve.smooth() if line.smooth else None
    smooth = [smoothed[i] for i in kept] if smoothed else None
    marks = [_path(steps, values, x, y, f"line {line.style}{' faint' if smooth else ''}")]
    if smooth:
        marks.append(_path(steps, smooth, x, y, f"line {line.style}"))
    elif len(steps) <= MOST_DOTS:
        marks.append(_dots(steps, values, x, y, f"dots {line.style}"))
    data: dict[str, object] = {"label": line.label, "style": line.style, "steps": steps, "values": _short(values)}
    if smooth:
        data["smooth"] = _short(smooth)
    return element("g", marks), data


def _path(steps: Sequence[int], values: Sequence[float], x: Axis, y: Axis, style: str) -> Markup:
    """A broken line: interrupted where a value is missing."""
    words, pen = [], "M"
    for step, value in zip(steps, values, strict=True):
        if math.isfinite(value):
            words.append(f"{pen}{_point(step, value, x, y)}")
            pen = "L"
        else:
            pen = "M"
    return element("path", d="".join(words), class_=style)


def _dots(steps: Sequence[int], values: Sequence[float], x: Axis, y: Axis, style: str) -> Markup:
    """Points as lines of no length with round caps, which stay round when the plot is stretched."""
    points = [_point(s, v, x, y) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
    return element("path", d="".join(f"M{point}h0" for point in points), class_=style)


def _point(step: int, value: float, x: Axis, y: Axis) -> str:
    return f"{SIDE * x.place(step):.4g} {SIDE * (1 - y.place(value)):.4g}"


def _grid(x: Axis, y: Axis) -> Markup:
    across = [f"M0 {SIDE * (1 - y.place(tick)):.4g}h{SIDE}" for tick in y.ticks]
    up = [f"M{SIDE * x.place(tick):.4g} {SIDE}v-{SIDE}" for tick in x.ticks]
    return element("path", d="".join(across + up), class_="grid")


def _labels(axis: Axis, side: str) -> Markup:
    """Tick labels along the ``left`` to right or ``bottom`` to top of the plot."""
    labels = axis.labels()
    spans = [
        element("span", label, style=f"{side}:{100 * axis.place(tick):.4g}%")
        for tick, label in zip(axis.ticks, labels, strict=True)
    ]
    if side == "left":
        return element("div", spans, class_="steps", aria_hidden="true")
    return element(
        "div", spans, class_="values", style=f"width:{max(map(len, labels), default=1)}ch", aria_hidden="true"
    )


def _legend(lines: Sequence[Line]) -> Markup | None:
    if len(lines) < 2:
        return None
    items = [element("span", element("i", class_=f"key {line.style}"), line.label) for line in lines]
    return element("span", items, class_="legend")


def _log_note(y: Axis) -> Markup | None:
    return element("span", "log scale", class_="note") if y.logarithmic else None


def _missing(lines: Sequence[Line]) -> Markup | None:
    """A sentence on values that no picture can show."""
    said = []
    for line in lines:
        if steps := line.curve.missing:
            whose = f"{line.label}: " if len(lines) > 1 else ""
            count = f"{len(steps):,} values are" if len(steps) > 1 else "1 value is"
            said.append(f"{whose}{count} not finite (NaN or infinite), the first at step {steps[0]:,}.")
    return element("p", " ".join(said), class_="warning") if said else None


def _description(title: str, lines: Sequence[Line]) -> str:
    """What somebody hears who does not see the chart."""
    said = []
    for line in lines:
        points = line.curve.finite
        (first_step, first), (last_step, last) = points[0], points[-1]
        least, greatest = min(v for _, v in points), max(v for _, v in points)
        said.append(
            f"{line.label}: {number(first)} at step {first_step:,}, {number(last)} at step {last_step:,}; "
            f"least {number(least)}, greatest {number(greatest)}."
        )
    return f"{title} over steps. {' '.join(said)}"


def _short(values: Sequence[float]) -> list[float | None]:
    """To five digits, as JSON can hold them."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]
