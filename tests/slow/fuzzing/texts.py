"""Texts, tables of texts, and tokenizers."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import numpy as np

from fuzzing import bombs, mutations
from fuzzing.case import Case, Read, batches
from fuzzing.tables import bombs_of_text, table

WORDS = ("the", "a", "cat", "dog", "reads", "writes", "long", "letter", "book", "in", "near", "house", "river")


def sentence(number: int) -> str:
    return " ".join(np.random.default_rng(number).choice(WORDS, 40)) + "\n"


@cache
def tokenizer() -> str:
    """A ``tokenizer.json`` of those words, as the data module trains it."""
    import tempfile

    from unmask_text.data import TextFilesData

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.txt").write_text("".join(map(sentence, range(20))))
        module = TextFilesData(
            str(Path(folder, "a.txt")), document="line", vocab_size=120, cache_folder=f"{folder}/cache", batch_size=2
        )
        module.prepare_data()
        module.setup("fit")
        found = next(Path(folder, "cache").rglob("*okenizer*.json"))
        return found.read_text("utf-8")


def text_files(case: Case) -> Read:

    options: dict = {"document": case.rng.choice(("file", "line", "paragraph"))}
    for number in range(4):
        case.write(f"{'ab'[number % 2]}/{number}.txt", sentence(number))
    for number in range(2):
        content = case.spoilt("".join(map(sentence, range(number, number + 6))).encode(), is_text=True)
        choice = case.rng.randrange(12)
        if choice == 0:
            content = bombs_of_text(case, content)
        if choice == 1:
            content = (
                case.rng.choice((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x1f\x8b", b"PK\x03\x04", b"%PDF-"))
                + content
            )
        packed = choice == 2
        content = (
            case.rng.choice((gzip.compress(content), bombs.gzip(), case.spoilt(gzip.compress(content))))
            if packed
            else content
        )
        case.write(f"a/x{number}.txt" + ".gz" * packed, content)
    options["labels"] = case.rng.choice((None, "folder"))
    options["encoding"] = case.rng.choice(
        ("utf-8",) * 8
        + ("latin-1", "utf-16", "shift_jis", "base64", "no-such", "utf-7", "idna", "punycode", "unicode_escape")
    )
    return _reading(case, case.data, options)


def text_tables(case: Case) -> Read:
    rows = [{"text": sentence(number).strip(), "label": "ab"[number % 2], "meta": number} for number in range(12)]
    name, content = table(case, rows)
    path = case.write(name, content)
    return _reading(case, path, {"labels": case.rng.choice((None, "label"))})


def tokenizers(case: Case) -> Read:
    for number in range(4):
        case.write(f"{number}.txt", sentence(number))
    good = tokenizer()
    if case.chance(0.7):
        content = json.dumps(mutations.tree_of(case.rng, json.loads(good), case.values))
    else:
        content = case.spoilt(good.encode(), is_text=True)
    file = case.write("../tables/tokenizer.json", content)
    return _reading(case, case.data, {"tokenizer": str(file), "document": "line"})


def _reading(case: Case, path: Path, options: dict) -> Read:
    from unmask_text.data import TextFilesData

    own = {"vocab_size": 120, "cache_folder": str(case.work / "cache"), "batch_size": 2, "num_workers": 0}
    return lambda: batches(TextFilesData(str(path), **(own | options)))


KINDS = {"texts": text_files, "text tables": text_tables, "tokenizers": tokenizers}
