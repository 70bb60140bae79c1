"""``python -m unmask_text.counting``: count a corpus once for `text.pmi` or `text.informask`."""

from __future__ import annotations

from pathlib import Path

from unmask.api import GOOD, Arguments, UserError, one_of, whole_number
from unmask_text.commands import console, data_of


def run(command: str, arguments: list[str]) -> int:
    """Read the data's text as tokens, count, write the file and say what was found."""
    parser = Arguments(command, "Counts a corpus once, for masks that hide what goes together.")
    parser.add_argument("kind", help="collocations (for text.pmi) or pairs (for text.informask)")
    parser.add_argument("data", help="a recipe, or a YAML file, whose `data` to count")
    parser.add_argument("out", help="the file to write, such as counts.npz")
    parser.add_argument("--least", help="occurrences at least; default: 11 for collocations, 5 for pairs")
    parser.add_argument("--size", help="collocations in the list; default: as many as cover half of the words")
    parser.add_argument("--window", default="10", help="distance of a pair in tokens at most; default: 10")
    given = parser.parse_args(arguments)
    kind = one_of("kind", given.kind, ("collocations", "pairs"))
    least = whole_number("--least", given.least or ("11" if kind == "collocations" else "5"))
    size = whole_number("--size", given.size) if given.size else None
    window = whole_number("--window", given.window)

    from unmask_text.counting import count_collocations, count_pairs

    data = data_of(given.data)
    out = Path(given.out)
    try:
        store = data.stores["train"]
        print(store.report)
        if kind == "collocations":
            about = count_collocations(store, data.tokenizer, out, least=least, size=size)
            for n, texts in about["examples"].items():
                print(f"{about['sizes'][int(n)]:,} of {n} words: {'; '.join(texts[:5])}")
        else:
            about = count_pairs(store, data.tokenizer, out, window=window, least=least)
            print(f"{about['num_pairs']:,} pairs that were counted at least {least} times")
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    print(f"Written to {out}")
    return GOOD


if __name__ == "__main__":
    console("text-counts", run)
