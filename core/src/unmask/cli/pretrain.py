"""``unmask pretrain``: training on a folder of one's own, with a recipe for the files that lie there."""

from __future__ import annotations

from unmask.support.arguments import Arguments
from unmask.support.errors import UserError


def run(command: str, arguments: list[str]) -> int:
    """Look at the files, take a recipe, and do as ``unmask fit`` does."""
    parser = Arguments(
        command,
        "Train on files of your own: their endings tell the modality, whose recipe for such files is run, as by "
        "`unmask fit`. Any option of `unmask fit` may follow: --model.size small, --trainer.max_steps 2000, ...",
    )
    parser.add_argument("data", nargs="*", help="folders or files, or the name of a registered data module")
    parser.add_argument("--method", help="a registered method, such as vision.mae; default: the recipe's")
    parser.add_argument("--recipe", help="a recipe's name or a file; default: the plugin's own for such files")
    parser.add_argument("--out", help="the run folder; default: runs/ and the recipe's name")
    places, rest = _split(arguments)
    given, words = parser.parse_known_args([*places, *rest])
    if not given.data:
        raise UserError("`unmask pretrain` needs data: a folder, files, or the name of a data module.")

    from unmask.cli import fit
    from unmask.configs.guessing import guess

    found = guess(given.data, given.method, given.recipe)
    print(f"{found.told}.", flush=True)
    out = ["--out", given.out] if given.out else []
    return fit.run("fit", ["--config", found.recipe, *found.words, *out, *words])


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The words before the first option, and the others: a value of an unknown option is no place."""
    first = next((place for place, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    return arguments[:first], arguments[first:]
