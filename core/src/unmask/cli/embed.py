"""``unmask embed``: the features of a data set in a file, for whatever comes next."""

from __future__ import annotations

from pathlib import Path

from unmask.support.arguments import Arguments, checked_device, name_of_parts, one_of, parts_given, whole_number
from unmask.support.errors import GOOD, UserError
from unmask.support.progress import progress
from unmask.tools.features import ALL, POOLS, SPLITS


def run(command: str, arguments: list[str]) -> int:
    """Read a run back, write its encoder's features; killed, the same command goes on where it was."""
    parser = Arguments(command, "Features of a data set, with nothing hidden. Killed, the same command carries on.")
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("--out", help="a .npy, .parquet or .safetensors file; default: features.npy in the run folder")
    parser.add_argument("--data", help="another YAML file whose `data` to take; default: the run's own")
    parser.add_argument("--split", default=ALL, help=f"all (each sample once), {', '.join(SPLITS)}; default: all")
    parser.add_argument("--pool", help=f"{', '.join(POOLS)}; default: mean")
    parser.add_argument("--layer", help="whose codes, counted from 1; default: the last one's, normed")
    parser.add_argument("--per_token", action="store_true", help="a row per token in place of one per sample")
    parser.add_argument("--whole", action="store_true", help="a row per document, recording or file: means over pieces")
    parser.add_argument("--batch_size", help="samples at once; default: as in validation")
    parser.add_argument(
        "--parts", help="of joint samples, such as image or image,text; default: as the method uses them"
    )
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    parser.add_argument("--devices", default="1", help="of that kind, a process each; torchrun or srun say it too")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that was made in another way")
    given = parser.parse_args(arguments)

    split = one_of("--split", given.split, (ALL, *SPLITS))
    if given.per_token and given.pool:
        raise UserError("`--pool` must not be given with `--per_token`, which pools nothing; drop one of them.")
    if given.per_token and given.whole:
        raise UserError("`--whole` must not be given with `--per_token`, whose rows are of tokens; drop one of them.")
    pool = one_of("--pool", given.pool or "mean", POOLS)
    layer = whole_number("--layer", given.layer) if given.layer else None
    batch_size = whole_number("--batch_size", given.batch_size) if given.batch_size else None
    devices = whole_number("--devices", given.devices)

    from unmask import agreements
    from unmask.configs.errors import message_of
    from unmask.runs.trained import load_run
    from unmask.tools.features.embed import embed, fingerprint
    from unmask.tools.features.ranks import ranks_of

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    parts = parts_given(given.parts, trained.model.part_names)
    trained = trained.of(parts)
    source = fingerprint(trained, given.data) | ({"parts": ",".join(parts)} if parts else {})
    out = Path(given.out) if given.out else trained.folder / f"features{name_of_parts(parts)}.npy"
    try:
        trained.datamodule.splits  # noqa: B018  reads the data
        agreements.check(trained.model, trained.datamodule, loaded=True, other=given.data is not None)
        with ranks_of(devices, device) as ranks, progress(trained.datamodule.sample_name, shown=ranks.first) as moved:
            made = embed(
                trained.model, trained.datamodule, out, split=split, pool=pool, layer=layer,
                per_token=given.per_token, whole=given.whole, batch_size=batch_size, device=device, ranks=ranks,
                source=source, overwrite=given.overwrite, progress=moved,
            )  # fmt: skip
    except (ValueError, OSError) as error:
        raise UserError(message_of(error)) from error

    if not ranks.first:
        return GOOD
    if made.num_found:
        done = made.num_found == made.num_samples
        print(f"`{made.path}` was {'finished already' if done else f'carried on from sample {made.num_found:,}'}.")
    print(f"{made.num_rows:,} vectors of width {made.width}: {made.path}" + (f", {made.ids}" if made.ids else ""))
    return GOOD
