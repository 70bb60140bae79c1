"""What plugins may import from core, besides the parts of a method: runs, features, probes, exports, commands.

The plugin API is what these modules list under ``__all__``, and the entry-point groups:

`unmask`, `unmask.api`, `unmask.callbacks`, `unmask.corruptions`, `unmask.data`, `unmask.losses`, `unmask.masks`,
`unmask.nn`, `unmask.predictors`, `unmask.targets`, `unmask.testing`; and the modules `unmask.agreements`,
`unmask.decode`, `unmask.noise` and `unmask.seeds`.

Everything else in core may change with any release. `unmask.plugins.api_version` says what the version number
promises. Names below are imported on first use, so that a command's ``--help`` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unmask.support.lazy import lazily

MODULES = (
    "unmask",
    "unmask.agreements",
    "unmask.api",
    "unmask.callbacks",
    "unmask.corruptions",
    "unmask.data",
    "unmask.decode",
    "unmask.losses",
    "unmask.terms",
    "unmask.masks",
    "unmask.nn",
    "unmask.noise",
    "unmask.predictors",
    "unmask.seeds",
    "unmask.targets",
    "unmask.testing",
)
"""The modules that plugins may import from."""

_HOMES = {
    "support.errors": "GOOD INTERRUPTED MISTAKE UserError complain",
    "support.nearest": "nearest quoted",
    "support.arguments": "Arguments checked_device number one_of parts_given whole_number writable",
    "support.checks": "at_least inside",
    "support.progress": "progress track",
    "support.remembered": "made_again",
    "plugins.registry": "FAMILIES RECIPES Component components find",
    "configs.errors": "message_of",
    "configs.building": "build build_data",
    "cli": "main",
    "cli.building": "built",
    "cli.probe": "check_comparable result_name watching",
    "runs.first_stage": "FirstStage",
    "runs.match": "load_weights",
    "runs.teachers": "taught_by teacher_of",
    "runs.trained": "load_run",
    "runs.weights": "State read_weights",
    "tools.apply.table": "check_table written_table",
    "tools.output": "write",
    "tools.features.labels": "CLASSIFICATION IGNORED Task are_measured real_tokens",
    "tools.features.samples": "batches split_of",
    "tools.features.vectors": "evaluating raw_vectors vectors",
    "tools.probe.columns": "Watch probe_columns",
    "tools.probe.fits": "COSTS STRENGTHS by_cost",
    "tools.probe.probe": "PRETRAINED RAW STATISTICS UNTRAINED",
    "tools.probe.protocol": "Protocol",
    "tools.probe.statistics": "has_statistics with_statistics",
    "tools.results": "Cell Measure Results Row over_runs",
    "tools.finetune": "FineTuning Settings finetune load",
    "tools.finetune.drop_path": "DropPath set_drop_path",
    "tools.finetune.model": "trainable_embedder",
    "tools.finetune.objective": "Classification",
    "tools.exchange.exporting": "export",
    "tools.exchange.format": "Export Format",
    "tools.exchange.importing": "import_weights",
    "tools.exchange.onnx": "ONNX",
    "tools.exchange.pipeline": "Program",
    "tools.exchange.release": "Map Release backwards",
    "tools.exchange.torch_export": "TorchExport",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Arguments",
    "CLASSIFICATION",
    "COSTS",
    "Cell",
    "Classification",
    "Component",
    "DropPath",
    "Export",
    "FAMILIES",
    "FineTuning",
    "FirstStage",
    "Format",
    "GOOD",
    "IGNORED",
    "INTERRUPTED",
    "MISTAKE",
    "Map",
    "Measure",
    "ONNX",
    "PRETRAINED",
    "Program",
    "Protocol",
    "RAW",
    "RECIPES",
    "Release",
    "Results",
    "Row",
    "STATISTICS",
    "STRENGTHS",
    "Settings",
    "State",
    "Task",
    "TorchExport",
    "UNTRAINED",
    "UserError",
    "Watch",
    "are_measured",
    "at_least",
    "backwards",
    "batches",
    "build",
    "build_data",
    "built",
    "by_cost",
    "check_comparable",
    "check_table",
    "checked_device",
    "complain",
    "components",
    "evaluating",
    "export",
    "find",
    "finetune",
    "has_statistics",
    "import_weights",
    "inside",
    "load",
    "load_run",
    "load_weights",
    "made_again",
    "main",
    "message_of",
    "nearest",
    "number",
    "one_of",
    "over_runs",
    "parts_given",
    "probe_columns",
    "progress",
    "quoted",
    "raw_vectors",
    "read_weights",
    "real_tokens",
    "result_name",
    "set_drop_path",
    "split_of",
    "taught_by",
    "teacher_of",
    "track",
    "trainable_embedder",
    "vectors",
    "watching",
    "whole_number",
    "with_statistics",
    "writable",
    "write",
    "written_table",
]

if TYPE_CHECKING:
    from unmask.cli import main
    from unmask.cli.building import built
    from unmask.cli.probe import check_comparable, result_name, watching
    from unmask.configs.building import build, build_data
    from unmask.configs.errors import message_of
    from unmask.plugins.registry import FAMILIES, RECIPES, Component, components, find
    from unmask.runs.first_stage import FirstStage
    from unmask.runs.match import load_weights
    from unmask.runs.teachers import taught_by, teacher_of
    from unmask.runs.trained import load_run
    from unmask.runs.weights import State, read_weights
    from unmask.support.arguments import Arguments, checked_device, number, one_of, parts_given, whole_number, writable
    from unmask.support.checks import at_least, inside
    from unmask.support.errors import GOOD, INTERRUPTED, MISTAKE, UserError, complain
    from unmask.support.nearest import nearest, quoted
    from unmask.support.progress import progress, track
    from unmask.support.remembered import made_again
    from unmask.tools.apply.table import check_table, written_table
    from unmask.tools.exchange.exporting import export
    from unmask.tools.exchange.format import Export, Format
    from unmask.tools.exchange.importing import import_weights
    from unmask.tools.exchange.onnx import ONNX
    from unmask.tools.exchange.pipeline import Program
    from unmask.tools.exchange.release import Map, Release, backwards
    from unmask.tools.exchange.torch_export import TorchExport
    from unmask.tools.features.labels import CLASSIFICATION, IGNORED, Task, are_measured, real_tokens
    from unmask.tools.features.samples import batches, split_of
    from unmask.tools.features.vectors import evaluating, raw_vectors, vectors
    from unmask.tools.finetune import FineTuning, Settings, finetune, load
    from unmask.tools.finetune.drop_path import DropPath, set_drop_path
    from unmask.tools.finetune.model import trainable_embedder
    from unmask.tools.finetune.objective import Classification
    from unmask.tools.output import write
    from unmask.tools.probe.columns import Watch, probe_columns
    from unmask.tools.probe.fits import COSTS, STRENGTHS, by_cost
    from unmask.tools.probe.probe import PRETRAINED, RAW, STATISTICS, UNTRAINED
    from unmask.tools.probe.protocol import Protocol
    from unmask.tools.probe.statistics import has_statistics, with_statistics
    from unmask.tools.results import Cell, Measure, Results, Row, over_runs

__getattr__ = lazily(__name__, _HOME, root="unmask")


def __dir__() -> list[str]:
    return sorted(__all__)
