"""What torch made of compiled parts: graphs, where they break, what was compiled again and why, and how long it took.

The counts that torch keeps are private to it; they are read here and nowhere else.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

from torch._dynamo import utils as dynamo

from unmask.training.compiling import Compiled

_MANY = 4096
_LONGEST = 160


def start_counting() -> None:
    """From here on, all that is compiled counts. What torch would warn of is in the report."""
    for name in ("torch._dynamo", "torch.utils.cpp_extension"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logger = logging.getLogger("torch._dynamo.convert_frame")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_GIVEN_UP)
    _GIVEN_UP.functions.clear()
    dynamo.set_compilation_metrics_limit(_MANY)
    dynamo.clear_compilation_metrics()
    dynamo.counters.clear()


class _GivenUp(logging.Filter):
    """Keeps torch's word, which has no counter, that it compiles a function no more, since it had to too often."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        given_up = "recompile_limit" in record.getMessage()
        if given_up and isinstance(record.args, tuple) and len(record.args) >= 4:
            self.functions[_short(f"{record.args[2]}: {record.args[3]}")] += 1
        return not given_up


_GIVEN_UP = _GivenUp()


class Counts:
    """What was compiled since `start_counting`.

    Args:
        compiled: the parts.

    Attributes:
        graphs: how often torch compiled a function, or a piece of one between two breaks, of each part; under "inside",
            of functions that parts call.
        again: reasons why something was compiled again, with their numbers.
        given_up: functions, or pieces of one, that torch has compiled too often to do it again, with the last reason.
        breaks: reasons why a graph ends before its function does, with their numbers.
        seconds: of all compiling, forward and backward.
    """

    def __init__(self, compiled: Compiled) -> None:
        frames: list[Any] = [one for one in dynamo.get_compilation_metrics() if one.co_name]
        self.graphs = Counter(_part(one.co_name, compiled) for one in frames)
        self.again = Counter(_short(one.recompile_reason) for one in frames if getattr(one, "recompile_reason", None))
        self.breaks = Counter[str]()
        for reason, count in dynamo.counters["graph_break"].items():
            self.breaks[_short(reason)] += count
        self.seconds = sum(one.entire_frame_compile_time_s or 0 for one in frames)
        self.seconds += sum(
            (getattr(one, "backward_cumulative_compile_time_us", None) or 0) / 1e6
            for one in dynamo.get_compilation_metrics()
            if not one.co_name
        )
        self.given_up = Counter(_GIVEN_UP.functions)

    @property
    def line(self) -> str:
        """All of it in a line."""
        given_up = f", {self.given_up.total()} given up after too many" if self.given_up else ""
        again = f"{self.again.total()} of them compiled again{given_up}"
        return f"{self.graphs.total()} graphs in {self.seconds:.1f} s, {again}, {self.breaks.total()} graph breaks"


def report(compiled: Compiled, how: str, backend: str) -> str:
    """The text of ``compile.txt``."""
    counts = Counts(compiled)
    lines = [f"{how}, {backend}: {counts.line}", ""]
    lines += [f"{counts.graphs[name]:5d} graphs of {name} ({what})" for name, what in compiled.parts.items()]
    lines += [f"{counts.graphs['inside']:5d} graphs of functions that these call"] if counts.graphs["inside"] else []
    lines += [f"    - left as it is: {name} ({what})" for name, what in compiled.left.items()]
    told = {"Graph breaks": counts.breaks, "Compiled again": counts.again, "Given up after too many": counts.given_up}
    for title, reasons in told.items():
        lines += ["", f"{title}:", *(f"{count:5d} x {reason}" for reason, count in reasons.most_common())]
        lines += [] if reasons else ["    none"]
    return "\n".join(lines) + "\n"


def _part(frame: str, compiled: Compiled) -> str:
    for name, part in compiled.frames.items():
        if frame == name or f"_in_{name}_at_" in frame:
            return part
    return "inside"


def _short(reason: str) -> str:
    words = re.sub(r" at 0x[0-9a-f]+", "", " ".join(reason.split()))
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."
