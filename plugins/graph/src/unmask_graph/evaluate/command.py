"""``unmask graph-probe``: a run's encoder by the papers' protocols, beside raw input and the untrained encoder."""

from __future__ import annotations

from typing import cast

from unmask.api import GOOD, Arguments, UserError, checked_device, number, one_of, whole_number, writable
from unmask_graph.evaluate import POOLS

TASKS = ("nodes", "graphs", "links")

_OPTIONS = {
    "lr": "Adam's learning rate, for nodes; default: 0.01",
    "weight_decay": "Adam's L2 penalty, for nodes; default: 0.0001",
    "epochs": "full-batch steps of the linear layer, for nodes; default: 300",
}


def run(command: str, arguments: list[str]) -> int:
    """Rebuild each run's model twice, load the checkpoint into one, print the table, write ``graph-probe.json``."""
    parser = Arguments(command, "Protocols of the papers on frozen codes of nodes, graphs or links.")
    parser.add_argument(
        "run", nargs="+", help="a run folder, or a checkpoint in one; several: ± over runs of one set-up"
    )
    parser.add_argument(
        "--task", help=f"{', '.join(TASKS)}; default: what has labels, or links where they are held out"
    )
    parser.add_argument("--pool", default="mean", help=f"of a graph's codes: {', '.join(POOLS)}; default: mean")
    for name, what in _OPTIONS.items():
        parser.add_argument(f"--{name}", help=what)
    parser.add_argument("--data", help="another YAML file whose `data` to measure on; default: the run's own")
    parser.add_argument("--device", default="cpu", help="where to compute codes; default: cpu")
    given = parser.parse_args(arguments)
    task = given.task and one_of("--task", given.task, TASKS)
    pool = one_of("--pool", given.pool, POOLS)
    asked = {name: word for name in _OPTIONS if (word := getattr(given, name)) is not None}
    asked = {name: (whole_number if name == "epochs" else number)(f"--{name}", word) for name, word in asked.items()}

    from unmask.api import check_comparable, load_run, over_runs, result_name, watching, write
    from unmask_graph.data.module import GraphData
    from unmask_graph.evaluate.caption import captioned
    from unmask_graph.evaluate.measure import Task, measure, task_of
    from unmask_graph.evaluate.nodes import Fit

    runs = [load_run(path, given.data) for path in given.run]
    check_comparable(runs, own_data=given.data is None)
    device = checked_device(given.device)
    data = runs[0].datamodule
    if not isinstance(data, GraphData):
        raise UserError(f"`{runs[0].folder}` must be a run on graphs, but its data is {type(data).__name__}.")
    file = writable("run", runs[0].folder / result_name("graph-probe", given.data))
    try:
        task = cast(Task, task) if task else task_of(data)
        if asked and task != "nodes":
            name = next(iter(asked))
            raise ValueError(f"`--{name}` must be left out for the task `{task}`, but is given; it is for `nodes`.")
        fit = Fit(**asked)
        with watching() as watch:
            results = [
                measure(
                    one.model, one.untrained, data, task, pool=pool, seed=one.seed, fit=fit, device=device, watch=watch
                )
                for one in runs
            ]
    except ValueError as error:
        raise UserError(str(error)) from error

    result = captioned(over_runs(results), task, pool, fit).about(*(one.about for one in runs))
    write(file, result.to_json().encode())
    result.show()
    print(f"Written to {file}")
    return GOOD
