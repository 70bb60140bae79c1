"""``unmask preview``: what a mask hides on real samples, before any training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.support.arguments import Arguments, checked_device, one_of, whole_number, writable
from unmask.support.errors import GOOD, UserError
from unmask.support.nearest import nearest, quoted
from unmask.tools.features import SPLITS

if TYPE_CHECKING:
    from unmask.parts import MaskSampler
    from unmask.tools.pictures.preview import Preview

_FIT = ("--config", "--model", "--data", "--trainer", "--seed_everything", "--ckpt_path", "--print_config")
"""Options of ``unmask fit`` without a dot."""


def run(command: str, arguments: list[str]) -> int:
    """Take the options of a picture, leave the others to the parser of ``unmask fit``, draw."""
    parser = Arguments(
        command,
        "What a mask hides on real samples, before any training. Give a recipe or file with --config, or a run "
        "folder first; then any --model... and --data... as for `unmask fit`.",
    )
    parser.add_argument("--num_samples", default="8", help="spread evenly over the split; default: 8")
    parser.add_argument("--seeds", default="0,1,2", help="of the masks; default: 0,1,2")
    parser.add_argument("--split", default="val", help=f"{', '.join(SPLITS)}; default: val")
    parser.add_argument("--out", help="a .png file; default: preview.png, in the run folder if one is given")
    parser.add_argument("--device", default="cpu", help="where to compute; default: cpu")
    given, words = parser.parse_known_args(arguments)
    if not words:
        raise UserError("`unmask preview` needs a recipe or file (`--config NAME`), or a run folder.")
    _check_spelling(words, [option for action in parser._actions for option in action.option_strings])

    num_samples = whole_number("--num_samples", given.num_samples)
    seeds = [whole_number("--seeds", word, least=0) for word in given.seeds.split(",") if word]
    split = one_of("--split", given.split, SPLITS)
    if given.out and Path(given.out).suffix != ".png":
        raise UserError(f"`--out` must end in .png, but is `{given.out}`.")

    from unmask.cli.building import built
    from unmask.configs.errors import message_of
    from unmask.tools.output import named, write_all
    from unmask.tools.pictures.preview import preview

    device = checked_device(given.device)
    folder, words = _run_folder(words)
    out = writable("--out", Path(given.out) if given.out else (folder or Path()) / "preview.png")
    parts = built(command, words)
    if parts is None:  # after --print_config
        return GOOD
    model, datamodule = parts
    try:
        if folder and model.mask.state_dict():
            _load_mask(model.mask, folder)
        made = preview(model, datamodule, num_samples=num_samples, seeds=seeds, split=split, device=device)
    except (ValueError, OSError) as error:
        raise UserError(message_of(error)) from error

    _print(made)
    if made.picture is None and not made.files:
        raise UserError(f"Nothing to look at: {type(model.tokenizer).__name__} draws no pictures and makes no files.")
    print(f"Written: {named(write_all(out, made.picture, made.files))}")
    return GOOD


def _check_spelling(words: list[str], own: list[str]) -> None:
    """Catch what is nearly an option of this command; the parser of ``unmask fit`` knows none of them."""
    for word in words:
        option = word.partition("=")[0]
        near = nearest(option, own) if option.startswith("--") and "." not in option and option not in _FIT else []
        if near:
            raise UserError(f"There is no option `{option}`; nearest: {quoted(near)}.")


def _run_folder(words: list[str]) -> tuple[Path | None, list[str]]:
    """The run named by the first word, if it is no option, and the words with its config in that place."""
    if not words or words[0].startswith("-"):
        return None, words
    from unmask.runs.trained import locate

    folder = Path(words[0])
    if not (folder / "config.yaml").is_file():  # a checkpoint, or nothing at all
        folder, _ = locate(folder)
    return folder, ["--config", str(folder / "config.yaml"), *words[1:]]


def _load_mask(mask: MaskSampler, folder: Path) -> None:
    """A mask that learns is shown as the run's newest checkpoint has it."""
    from unmask.runs.checkpoints import read_checkpoint
    from unmask.runs.match import load_weights
    from unmask.runs.trained import locate

    _, file = locate(folder)
    state = read_checkpoint(file)["state_dict"]
    own = {name.removeprefix("mask."): value for name, value in state.items() if name.startswith("mask.")}
    load_weights(mask, own, f"`{file}`", "the mask")


def _print(made: Preview) -> None:
    """The shares as a table, and what they mean in a line."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title="Hidden, % of a sample's tokens", title_justify="left")
    columns = []
    for seed, ratios in made.hidden_ratios.items():
        columns.append((f"seed {seed}", ratios))
        if seed in made.asked_ratios:
            columns.append((f"seed {seed}, asked", made.asked_ratios[seed]))
    for name in ("sample", "tokens", *(name for name, _ in columns)):
        table.add_column(name, justify="right")
    for row, (sample, count) in enumerate(zip(made.samples, made.num_tokens, strict=True)):
        table.add_row(str(sample), str(count), *(f"{100 * ratios[row]:.1f}" for _, ratios in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(f"{made.about}.")
