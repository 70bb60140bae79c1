"""A sweep as a picture: what each trial reached, in order and by each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unmask.tools.report.axis import Axis, value_axis
from unmask.tools.sweep.space import Setting
from unmask.tools.sweep.sweep import Trial

WIDTH, HEIGHT, MARGIN, LEFT = 320, 240, 34, 62
"""Pixels of a panel, of the margin around its plot, and of that on the left."""
INK, GREY, DOT, BEST = (20, 20, 20), (210, 210, 210), (60, 110, 180), (210, 80, 40)


def picture(trials: Sequence[Trial], settings: Sequence[Setting], aim: str, less_is_better: bool) -> np.ndarray:
    """A panel in order of time, with the best so far as a line, then one per setting: ``[H, W, 3]`` uint8.

    Args:
        trials: with a value, at least one.
        settings: that varied.
        aim: what the values are.
        less_is_better: they are errors.
    """
    values = [trial.value or 0.0 for trial in trials]
    better = min if less_is_better else max
    best = values.index(better(values))
    y = value_axis(values, logarithmic=None if less_is_better else False)
    panels = [_panel("trial", [float(trial.number) for trial in trials], values, best, y, line=better)]
    for setting in settings:
        words = [trial.settings[setting.key] for trial in trials]
        names = sorted(set(words)) if setting.choices else []
        places = [float(names.index(word)) for word in words] if names else [float(word) for word in words]
        panels.append(_panel(setting.key, places, values, best, y, names, logarithmic=setting.log))
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    sheet = Image.new("RGB", (columns * WIDTH, rows * HEIGHT + 24), "white")
    ImageDraw.Draw(sheet).text((8, 6), f"{aim}: best {better(values):.4g}", INK, font=_font())
    for i, panel in enumerate(panels):
        sheet.paste(panel, (i % columns * WIDTH, i // columns * HEIGHT + 24))
    return np.asarray(sheet)


def _panel(
    title: str,
    places: Sequence[float],
    values: Sequence[float],
    best: int,
    y: Axis,
    names: Sequence[str] = (),
    logarithmic: bool = False,
    line: object = None,
) -> Image.Image:
    panel = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(panel)
    x = Axis(-0.5, len(names) - 0.5, list(range(len(names)))) if names else value_axis(places, logarithmic)
    left, right, top, bottom = LEFT, WIDTH - 12, MARGIN - 10, HEIGHT - MARGIN

    def at(place: float, value: float) -> tuple[float, float]:
        return left + (right - left) * x.place(place), bottom - (bottom - top) * y.place(value)

    for tick, label in zip(y.ticks, y.labels(), strict=True):
        height = at(x.low, tick)[1]
        draw.line((left, height, right, height), GREY)
        draw.text((left - 6, height), label, INK, font=_font(), anchor="rm")
    for tick, label in zip(x.ticks, names or x.labels(), strict=True):
        draw.text((at(tick, y.low)[0], bottom + 4), label[:14], INK, font=_font(), anchor="mt")
    draw.text(((left + right) / 2, HEIGHT - 4), title[-46:], INK, font=_font(), anchor="mb")
    draw.rectangle((left, top, right, bottom), outline=GREY)
    if callable(line):
        steps = [at(place, line(values[: i + 1])) for i, place in enumerate(places)]
        draw.line(steps, BEST, 1)
    for i, (place, value) in enumerate(zip(places, values, strict=True)):
        across, up = at(place, value)
        radius = 5 if i == best else 3
        draw.ellipse((across - radius, up - radius, across + radius, up + radius), BEST if i == best else DOT)
    return panel


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(11)
