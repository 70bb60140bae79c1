"""``unmask replay``: a step that was not finite, taken again, and the first module that made it so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unmask.support.arguments import Arguments, checked_device, whole_number
from unmask.support.errors import GOOD

if TYPE_CHECKING:
    from unmask.tools.replay import Replayed
    from unmask.tools.replay.watch import Found


def run(command: str, arguments: list[str]) -> int:
    """Take the step again and say where it began."""
    parser = Arguments(
        command,
        "Takes a step again whose loss or gradient was not finite, and names the first module that made it so.",
    )
    parser.add_argument("run", help="a run folder, with `not-finite/`")
    parser.add_argument("--step", help="which of the steps that were kept; default: the first")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)
    step = whole_number("--step", given.step) if given.step else None

    from unmask.runs.trained import must_be_a_folder
    from unmask.tools.replay import replay

    device, folder = checked_device(given.device), Path(given.run)
    must_be_a_folder(folder)
    for one in replay(folder, step, device):
        print("\n".join(_told(one, str(device))))
    return GOOD


def _told(one: Replayed, device: str) -> list[str]:
    """What came of it, in lines."""
    about = one.about
    part = f", process {about['rank'] + 1} of {about['world_size']}" if about["world_size"] > 1 else ""
    ids = ", ".join(map(str, about["index"][:8])) + (", ..." if len(about["index"]) > 8 else "")
    lines = [
        f"Step {about['step']:,} (epoch {about['epoch']}, batch {about['batch_idx']}{part}; samples {ids}), in "
        f"{about['precision']} on {device}: loss {one.loss:.8g}; in the run, on {about['device']}: {about['loss']}."
    ]
    lines += [f"Sample {number} is `{name}`." for number, name in about["names"].items() if int(number) in one.odd]
    if not one.again:
        other = " Dropout draws otherwise there." if device.partition(":")[0] != about["device"] else ""
        alone = " Each process's part was taken alone." if about["world_size"] > 1 else ""
        return [*lines, f"It did not happen again: loss and gradients are finite.{other}{alone}"]
    if one.odd_weights:
        lines.append(f"Weights were not finite before the step: {', '.join(one.odd_weights[:3])}.")
    if one.odd:
        lines.append(f"The batch itself holds values that are not finite: samples {', '.join(map(str, one.odd[:8]))}.")
    if (first := one.watch.forward) is not None:
        lines += [f"First module in forward order whose output is not finite: {_named(first)}.", *_inputs(first)]
        if first.what == "input" and not one.odd:
            outer = one.watch.origin
            where = f"`{outer}`" if outer else "the model itself"
            lines.append(f"What it was given was not finite before: {where} made it, between its modules.")
    if one.gradients_finite is None and first is None:
        lines.append("Outputs of all modules are finite: the loss is made infinite where it is summed.")
    if (back := one.watch.backward) is not None and first is None:
        which = f", and of the parameter `{back.parameter}`" if back.parameter else ""
        lines.append(f"The forward pass is finite. First module in backward order: {_named(back)}{which}.")
        lines += _inputs(back)
    return lines


def _named(found: Found) -> str:
    own = f", whose `{found.parameter}` is not finite" if found.parameter and found.what != "gradient" else ""
    what = "its gradient has " if found.what == "gradient" else ""
    name = f"`{found.module}` ({found.kind})" if found.module else f"the model itself ({found.kind})"
    return f"{name}{own}: {what}{found.values}"


def _inputs(found: Found) -> list[str]:
    return [f"Its input: {one}." for one in found.inputs[:4]]
