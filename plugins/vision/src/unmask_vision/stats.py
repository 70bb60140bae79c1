"""``unmask vision-stats``: measures of each band of a data set's images, by which `scale` makes values of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unmask.api import GOOD, Arguments, UserError, whole_number, writable


def run(command: str, arguments: list[str]) -> int:
    """Take the options of the measurement, leave the others to the parser of ``unmask fit``, measure."""
    parser = Arguments(
        command,
        "Mean, standard deviation, least, greatest and percentiles of each band of the images to train on, in the "
        "units of their files, places without data left out: what `--data.stats` takes. Give a recipe or file with "
        "--config, and any --model... and --data... as for `unmask fit`.",
    )
    parser.add_argument("--max_samples", default="10000", help="images to measure, spread evenly; default: 10000")
    parser.add_argument("--out", help="a .json or .yaml file to write them to, too")
    given, words = parser.parse_known_args(arguments)
    if not words:
        raise UserError("`unmask vision-stats` needs a recipe or file: `--config NAME`.")
    max_samples = whole_number("--max_samples", given.max_samples)
    if given.out and Path(given.out).suffix not in (".json", ".yaml", ".yml"):
        raise UserError(f"`--out` must end in .json or .yaml, but is `{given.out}`.")
    out = writable("--out", Path(given.out)) if given.out else None

    from unmask.api import built, message_of, write
    from unmask_vision.data.module import ImageData, Images
    from unmask_vision.data.scale import as_json

    parts = built(command, words)
    if parts is None:  # after --print_config
        return GOOD
    data = parts[1]
    if not isinstance(data, ImageData):
        raise UserError(f"`unmask vision-stats` measures images, but the data is a {type(data).__name__}.")
    try:
        data.setup("validate")  # says what was found, and asks for no full batch
        train = data.splits.train
        assert isinstance(train, Images)
        found = data.measure(train.items, max_samples)
    except (ValueError, OSError) as error:
        raise UserError(message_of(error)) from error
    print("\n".join(_lines(found)))
    if out is not None:
        write(out, as_json(found))
        print(f"Written to {out}; train with it by `--data.scale percentiles --data.stats {out}`, or `mean-std`.")
    return GOOD


def _lines(found: dict[str, Any]) -> list[str]:
    """A row for each band."""
    rows = {name: found[name] for name in ("mean", "std", "min", "max")}
    rows |= {f"{one}%": found["percentiles"][one] for one in ("2", "50", "98")}
    rows["no data"] = [f"{share:.1%}" for share in found["nodata_ratio"]]
    head = f"{'band':>6}" + "".join(f"{name:>12}" for name in rows)
    bands = zip(*rows.values(), strict=True)
    return [
        f"{found['num_images']:,} images to train on, in the units of their files.",
        head,
        *(
            f"{number:>6}" + "".join(f"{one if isinstance(one, str) else f'{one:.6g}':>12}" for one in row)
            for number, row in enumerate(bands, start=1)
        ),
    ]
