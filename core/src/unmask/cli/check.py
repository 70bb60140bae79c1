"""``unmask check DIST``: the contracts of `unmask.testing` on an installed plugin, as a table."""

from __future__ import annotations

import tempfile
from collections import Counter
from importlib import import_module, util
from pathlib import Path
from typing import Any

from unmask.plugins import registry
from unmask.support.arguments import Arguments
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted

_FILE = """from unmask.testing.installed import plan
globals().update(plan({distribution!r}, {commands!r}).classes)
"""


def run(command: str, arguments: list[str]) -> int:
    """Print what was tried of each component, what failed and what was not tried; 2 when something is wrong."""
    parser = Arguments(command, "The contract tests on an installed plugin: its recipes' parts, and what has defaults.")
    parser.add_argument("distribution", help="such as unmask-vision; `unmask list` shows all")
    parser.add_argument("--commands", action="store_true", help="every command on each recipe too; a minute each")
    given = parser.parse_args(arguments)
    distribution = installed(given.distribution)
    if util.find_spec("pytest") is None:
        raise UserError("`unmask check` needs pytest: pip install 'unmask[testing]'.")

    from unmask.cli import COMMANDS, doctor
    from unmask.plugins import inspection

    print(f"{distribution} {doctor.version(distribution)}")
    problems = inspection.problems_of(distribution, commands=COMMANDS)
    problems += [problem for problem in doctor.clashing() if f" {distribution} (" in problem]
    if problems:
        print("\n".join(f"  {problem}" for problem in problems))
        print(f"{len(problems)} problems; contracts are tried when they are solved.")
        return 2
    print("  metadata, requirements, imports and signatures: good")

    verdicts = contracts(distribution, given.commands)
    plan = import_module("unmask.testing.installed").plan(distribution, given.commands)
    print("\n".join(table(verdicts, plan.untried)))
    failed = sum(verdicts.failed.values())
    print(f"{sum(verdicts.passed.values())} passed, {failed} failed, {len(plan.untried)} components not tried")
    return 2 if failed or verdicts.broken or plan.broken else 0


def installed(word: str) -> str:
    """The distribution of that name.

    Raises:
        UserError: none of that name registers anything.
    """
    names = sorted({component.distribution for component in registry.components()})
    for name in names:
        if name.replace("_", "-").lower() == word.replace("_", "-").lower():
            return name
    near = nearest(word, names)
    hint = f"nearest: {quoted(near)}" if near else f"there are: {quoted(names)}"
    raise UserError(f"No distribution `{word}` registers components; {hint}.")


class Verdicts:
    """A plugin of pytest's that notes how each test ended, by the component that its class is about."""

    def __init__(self) -> None:
        self.passed: Counter[registry.Component] = Counter()
        self.failed: Counter[registry.Component] = Counter()
        self.messages: dict[registry.Component, list[str]] = {}
        self.broken: list[str] = []

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        component = item.cls.component
        if call.excinfo is None:
            self.passed[component] += call.when == "call"
            return
        self.failed[component] += 1
        said = str(call.excinfo.value).strip().splitlines() or [""]
        where = item.originalname.removeprefix("test_").replace("_", " ")
        self.messages.setdefault(component, []).append(f"{where}: {call.excinfo.typename}: {said[0][:200]}")

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.broken += str(report.longrepr).strip().splitlines()[-1:]


def contracts(distribution: str, commands: bool) -> Verdicts:
    """Run them, in a folder of their own."""
    import pytest

    verdicts = Verdicts()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "test_contracts.py")
        file.write_text(_FILE.format(distribution=distribution, commands=commands))
        quiet = ("-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:warnings")
        pytest.main([*quiet, "-c", "/dev/null", "--rootdir", folder, str(file)], plugins=[verdicts])
    return verdicts


def table(verdicts: Verdicts, untried: dict[registry.Component, str]) -> list[str]:
    """A line per component, with what failed below."""
    components = sorted({*verdicts.passed, *verdicts.failed, *untried})
    width = max((len(f"{c.family} {c.name}") for c in components), default=0)
    lines = []
    for c in components:
        head = f"  {f'{c.family} {c.name}':{width}}  "
        if c in untried:
            lines.append(f"{head}not tried: {untried[c]}")
            continue
        counts = [f"{verdicts.passed[c]} passed", *([f"{verdicts.failed[c]} failed"] if verdicts.failed[c] else [])]
        lines.append(head + ", ".join(counts))
        lines += [f"    {message}" for message in verdicts.messages.get(c, [])]
    return [*lines, *(f"  cannot be tried: {line}" for line in verdicts.broken)]
