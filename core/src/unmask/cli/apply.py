"""``unmask apply``: what a fine-tuned model says of new files."""

from __future__ import annotations

from pathlib import Path

from unmask.support.arguments import Arguments, checked_device, number, whole_number
from unmask.support.errors import GOOD, UserError
from unmask.support.progress import progress


def run(command: str, arguments: list[str]) -> int:
    """Read a fine-tuned model and new data, write a table of names and labels."""
    parser = Arguments(command, "Labels and probabilities for new data, from what `unmask finetune` wrote.")
    parser.add_argument("model", help="a checkpoint of `unmask finetune`, or the run folder that it lies in")
    parser.add_argument("new", nargs="?", help="new data of the run's own kind: a folder, or a file; or give --data")
    parser.add_argument("--data", help="a YAML file whose `data` to take in place of NEW")
    parser.add_argument("--out", help="a .csv or .parquet file; default: applied.csv beside the checkpoint")
    parser.add_argument("--threshold", default="0.5", help="probability from which a class counts, of multi-label")
    parser.add_argument("--batch_size", help="samples at once; default: as in validation")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    given = parser.parse_args(arguments)
    if (given.new is None) == (given.data is None):
        raise UserError("Give a file or folder of new data, or `--data FILE.yaml`, and not both.")
    threshold = number("--threshold", given.threshold, "(0, 1)")
    batch_size = whole_number("--batch_size", given.batch_size) if given.batch_size else None
    checkpoint = finetuned(Path(given.model))
    if given.new is not None and not Path(given.new).expanduser().exists():
        raise UserError(f"There is no file or folder `{given.new}`.")

    from unmask import agreements
    from unmask.configs.errors import message_of
    from unmask.tools.apply.apply import apply
    from unmask.tools.apply.table import check_table
    from unmask.tools.finetune.saved import begun_from, load

    device = checked_device(given.device)
    out = Path(given.out) if given.out else checkpoint.with_name("applied.csv")
    try:
        check_table(out, given.overwrite)
        model, datamodule = begun_from(checkpoint, Path(given.data) if given.data else None)
        tuned = load(checkpoint, model)
        agreements.check(model, datamodule, loaded=False, other=given.data is not None)  # settles a vocabulary
        if given.new is not None:
            datamodule = datamodule.elsewhere(str(Path(given.new).expanduser()))
        agreements.check(model, datamodule, loaded=False, other=True)
        if told := datamodule.about():
            print(told, flush=True)
        agreements.check(model, datamodule, loaded=True, other=True)
        with progress(datamodule.sample_name) as moved:
            made = apply(
                tuned, datamodule, out, threshold=threshold, batch_size=batch_size, device=device,
                overwrite=given.overwrite, progress=moved,
            )  # fmt: skip
    except (ValueError, OSError) as error:
        raise UserError(message_of(error)) from error
    counts = ", ".join(f"{count:,} {word}" for word, count in made.counts.items())
    print(f"{made.num_rows:,} rows{': ' + counts if counts else ''}. By {checkpoint}, written to {made.path}")
    return GOOD


def finetuned(path: Path) -> Path:
    """The checkpoint that is meant: the file itself, or of a run folder the pretrained encoder's, of all labels and the
    first seed where there are several."""
    if path.is_file():
        return path
    for folder in (path / "finetune", path):
        names = sorted(file.name for file in folder.glob("*.ckpt")) if folder.is_dir() else []
        own = [name for name in names if name.startswith("pretrained-")] or names
        if own:
            whole = [name for name in own if "-per-class" not in name] or own
            return folder / whole[0]
    if path.is_dir():
        raise UserError(
            f"`{path}` must hold what `unmask finetune` writes, but has no finetune/*.ckpt; run that first."
        )
    raise UserError(f"There is no file or folder `{path}`; it must be a checkpoint or a run folder.")
