"""``unmask probe``: what simple models find in raw input, untrained and trained codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.support.arguments import Arguments, checked_device, number, one_of, parts_given, whole_number, writable
from unmask.support.errors import GOOD, UserError
from unmask.support.nearest import quoted
from unmask.support.progress import progress
from unmask.tools.features import PROBE_POOLS

if TYPE_CHECKING:
    from unmask.runs.trained import Run

PROBES = ("knn", "linear", "svm", "rbf-svm", "ridge", "kmeans")


def run(command: str, arguments: list[str]) -> int:
    """Rebuild each run's model twice, load the checkpoint into one, print the table, write ``probe.json``."""
    parser = Arguments(command, "Probes on frozen features, beside raw input and the untrained encoder.")
    parser.add_argument(
        "run", nargs="+", help="a run folder, or a checkpoint in one; several: ± over runs of one set-up"
    )
    parser.add_argument("--data", help="another YAML file whose `data` to probe on; default: the run's own")
    parser.add_argument("--probes", help=f"of {','.join(PROBES)}; default: knn,linear, for regression ridge")
    parser.add_argument("--labels_per_class", help="numbers of labels; default: 5,10,20 if there are so many")
    parser.add_argument("--num_draws", default="10", help="draws of labels; default: 10")
    parser.add_argument("--max_labels", help="labels that probes other than knn are fitted on at most; default: all")
    parser.add_argument("--max_stored", help="samples that knn looks for neighbours among at most; default: all")
    parser.add_argument("--k", default="20", help="neighbours of knn; default: 20")
    parser.add_argument("--temperature", default="0.07", help="of the weights of neighbours; default: 0.07")
    parser.add_argument("--folds", help="cross-validate over both probe sets together; default: the data's split")
    parser.add_argument("--groups", help="a key of the samples, such as who made them: leave one group out in turn")
    parser.add_argument("--pool", default="mean", help=f"{', '.join(PROBE_POOLS)}; default: mean")
    parser.add_argument("--layer", help="whose codes, counted from 1, or `all`; default: the last one's, normed")
    parser.add_argument("--parts", help="of joint samples, such as image or image,text; default: each alone, and all")
    parser.add_argument("--seed", default="0", help="of the draws; default: 0")
    parser.add_argument("--device", default="cpu", help="where to compute features; default: cpu")
    parser.add_argument("--devices", default="1", help="of that kind, a process each; torchrun or srun say it too")
    given = parser.parse_args(arguments)

    if given.groups and given.folds:
        raise UserError("`--groups` must not be given with `--folds`, which splits by itself; drop one of them.")
    pool = one_of("--pool", given.pool, PROBE_POOLS)
    devices = whole_number("--devices", given.devices)
    layer = given.layer if given.layer in (None, "all") else whole_number("--layer", given.layer)
    labels = given.labels_per_class
    settings = {
        "probes": given.probes and [one_of("--probes", word, PROBES) for word in given.probes.split(",")],
        "labels_per_class": labels
        if labels is None
        else [whole_number("--labels_per_class", word) for word in labels.split(",") if word],
        "num_draws": whole_number("--num_draws", given.num_draws),
        "seed": whole_number("--seed", given.seed, least=0),
        "max_labels": given.max_labels and whole_number("--max_labels", given.max_labels, least=2),
        "max_stored": given.max_stored and whole_number("--max_stored", given.max_stored),
        "num_neighbors": whole_number("--k", given.k),
        "temperature": number("--temperature", given.temperature, "(0, inf)"),
        "num_folds": given.folds and whole_number("--folds", given.folds, least=2),
    }

    from unmask.runs.trained import load_run
    from unmask.tools.features.ranks import ranks_of
    from unmask.tools.output import write
    from unmask.tools.probe.by_part import probe_by_part

    runs = [load_run(path, given.data) for path in given.run]
    check_comparable(runs, own_data=given.data is None)
    device = checked_device(given.device)
    file = writable("run", runs[0].folder / result_name("probe", given.data))
    known = runs[0].model.part_names
    parts = parts_given(given.parts, known)
    try:
        with ranks_of(devices, device) as ranks, watching(shown=ranks.first) as watch:
            result = probe_by_part(
                [(one.model, one.untrained) for one in runs], runs[0].datamodule, None if parts is None else [parts],
                pool=pool, layer=layer, groups=given.groups, device=ranks.device, watch=watch, ranks=ranks, **settings,
            )  # fmt: skip
    except ValueError as error:
        raise UserError(str(error)) from error

    if not ranks.first:
        return GOOD
    result = result.about(*(f"{one.about[:-1]}, {pool} pooling." for one in runs))
    write(file, result.to_json().encode())
    result.show()
    print(f"Written to {file}")
    return GOOD


def result_name(command: str, data: str | None) -> str:
    """The file of a command's result: results on other data stand beside those on the run's own."""
    return f"{command}.json" if data is None else f"{command}-{Path(data).stem}.json"


@contextmanager
def watching(shown: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar where there is a terminal, if it is to be ``shown``."""
    with progress("features", shown=shown) as moved:
        yield lambda what, done, total: moved(done, total, what)


def check_comparable(runs: list[Run], own_data: bool) -> None:
    """Runs in one table differ by their seed: else ± would mix set-ups."""
    from unmask import agreements
    from unmask.support.yaml_files import read_yaml

    configs = [read_yaml(one.folder / "config.yaml") for one in runs]
    for other, config in zip(runs[1:], configs[1:], strict=True):
        differing = [name for name in ("data", "model") if config.get(name) != configs[0].get(name)]
        differing = [name for name in differing if name != "data" or own_data]
        if differing:
            raise UserError(
                f"Runs probed together must differ by their seed alone, but `{other.folder}` has another "
                f"{quoted(differing)} than `{runs[0].folder}`; probe them one by one."
            )
        try:
            agreements.check(
                other.model, runs[0].datamodule, loaded=False, other=True
            )  # whose batches it will be given
        except ValueError as error:
            raise UserError(f"`{other.folder}` must go with the data of `{runs[0].folder}`: {error}") from error
        if any(other.checkpoint.samefile(one.checkpoint) for one in runs if one is not other):
            raise UserError(f"Each run must be given once, but `{other.checkpoint}` is given again.")
