"""``unmask reconstruct``: input, what was hidden and the prediction, from a checkpoint."""

from __future__ import annotations

from pathlib import Path

from unmask.support.arguments import Arguments, checked_device, number, one_of, parts_given, whole_number, writable
from unmask.support.errors import GOOD, UserError
from unmask.tools.features import SPLITS


def run(command: str, arguments: list[str]) -> int:
    """Read a run back, take one step without training, write what came of it."""
    parser = Arguments(
        command, "Input, what was hidden and the prediction: a picture, and files of the modality's own."
    )
    parser.add_argument("run", help="a run folder, or a checkpoint in one")
    parser.add_argument("--data", help="another YAML file whose `data` to take; default: the run's own")
    parser.add_argument("--split", default="val", help=f"{', '.join(SPLITS)}; default: val")
    parser.add_argument("--num_samples", default="8", help="spread evenly over the split; default: 8")
    parser.add_argument("--seed", default="0", help="of the masks; default: 0")
    parser.add_argument("--ratio", help="share to hide, in (0, 1); default: as when the run began")
    parser.add_argument(
        "--parts", help="of joint samples, what is shown whole, such as image: the others are predicted"
    )
    parser.add_argument("--out", help="a .png file; default: reconstruct.png in the run folder")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given = parser.parse_args(arguments)

    split = one_of("--split", given.split, SPLITS)
    num_samples, seed = whole_number("--num_samples", given.num_samples), whole_number("--seed", given.seed, least=0)
    ratio = number("--ratio", given.ratio, "(0, 1)") if given.ratio else None
    if given.out and Path(given.out).suffix != ".png":
        raise UserError(f"`--out` must end in .png, but is `{given.out}`.")

    from unmask import agreements
    from unmask.configs.errors import message_of
    from unmask.runs.trained import load_run
    from unmask.tools.output import named, write_all
    from unmask.tools.pictures.reconstruct import reconstruct

    device = checked_device(given.device)
    trained = load_run(given.run, given.data)
    model = trained.model
    out = writable("--out", Path(given.out) if given.out else trained.folder / "reconstruct.png")
    parts = parts_given(given.parts, model.part_names)
    if ratio is not None and parts:
        raise UserError(
            "`--ratio` must not be given with `--parts`, which hides the other parts whole; drop one of them."
        )
    if ratio is not None and model.mask.ratio is None:
        raise UserError(f"`--ratio` must not be given: {type(model.mask).__name__} has no ratio.")
    model.mask.ratio = ratio or model.mask.ratio
    try:
        trained.datamodule.splits  # noqa: B018  reads the data
        agreements.check(model, trained.datamodule, loaded=True, other=given.data is not None)
        made = reconstruct(
            model, trained.datamodule, num_samples=num_samples, seed=seed, split=split, device=device, parts=parts
        )
    except (ValueError, OSError) as error:
        raise UserError(message_of(error)) from error

    print(trained.about)
    print(f"Loss on {len(made.samples)} samples (mask seed {seed}): {made.loss:.4f}")
    if made.error is not None:
        print(f"Squared error at asked places, as a share of the variance there: {made.error:.3f}")
    if made.accuracy is not None:
        print(f"Right at asked places: {made.accuracy:.1%}")
    for name, (squared, right) in made.by_part.items():
        if squared is not None:
            print(f"{name}: squared error at asked places, as a share of the variance there: {squared:.3f}")
        if right is not None:
            print(f"{name}: right at asked places: {right:.1%}")
    known = [made.error, made.accuracy, *(one for own in made.by_part.values() for one in own)]
    if all(one is None for one in known):
        print(
            f"Answers of {type(model).__name__} are no values: where they can be drawn, it is the loss of each that is."
        )
    if made.picture is None and not made.files:
        raise UserError(f"Nothing can be shown: {type(model.tokenizer).__name__} draws no pictures and makes no files.")
    written = write_all(out, made.picture, made.files)
    print(f"Written: {named(written)}")
    return GOOD
