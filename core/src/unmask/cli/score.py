"""``unmask score``: held-out loss and what codes know of hidden values, under masks that are the same for every run."""

from __future__ import annotations

from unmask.cli.probe import result_name, watching
from unmask.support.arguments import Arguments, checked_device, name_of_parts, parts_given, writable
from unmask.support.errors import GOOD, UserError


def run(command: str, arguments: list[str]) -> int:
    """Score each run, write ``score.json`` into its folder, print one table of all."""
    parser = Arguments(command, "A label-free score of one run or several, under the same masks for all.")
    parser.add_argument("run", nargs="+", help="a run folder, or a checkpoint in one")
    parser.add_argument("--data", help="another YAML file whose `data` to score on; default: the run's own")
    parser.add_argument("--parts", help="of joint samples, the one to score, such as image")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)

    from unmask.runs.trained import load_run
    from unmask.tools.output import write
    from unmask.tools.score.score import score
    from unmask.tools.score.table import by_measure, side_by_side

    runs = [load_run(path, given.data) for path in given.run]
    parts = [parts_given(given.parts, one.model.part_names) for one in runs]
    runs = [one.of(own) for one, own in zip(runs, parts, strict=True)]
    device = checked_device(given.device)
    files = [
        writable("run", one.folder / result_name(f"score{name_of_parts(own)}", given.data))
        for one, own in zip(runs, parts, strict=True)
    ]
    scores = []
    with watching() as watch:
        for one in runs:
            try:
                scores.append(score(one.model, one.untrained, one.datamodule, device=device, watch=watch))
            except ValueError as error:
                raise UserError(f"`{one.folder}`: {error}") from error
    for one, found, file in zip(runs, scores, files, strict=True):
        write(file, by_measure(found, one.method, one.about).to_json().encode())
    side_by_side(given.run, scores, [one.about for one in runs]).show()
    print(f"Written to {', '.join(map(str, files))}")
    return GOOD
