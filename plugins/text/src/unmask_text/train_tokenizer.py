"""``python -m unmask_text.train_tokenizer``: a vocabulary of one's own text, as a ``tokenizer.json``."""

from __future__ import annotations

from pathlib import Path

from unmask.api import GOOD, Arguments, UserError, one_of, whole_number
from unmask_text.commands import console

KINDS = ("wordpiece", "bpe", "unigram")


def run(command: str, arguments: list[str]) -> int:
    """Read files, train, write the file and say what was found."""
    parser = Arguments(
        command, "Trains a vocabulary on text files: .txt .md .json .jsonl .csv .tsv .parquet, also .gz."
    )
    parser.add_argument("paths", nargs="+", help="files and folders")
    parser.add_argument("--out", default="tokenizer.json", help="the file to write; default: tokenizer.json")
    parser.add_argument("--kind", default="wordpiece", help="wordpiece, bpe (of bytes) or unigram; default: wordpiece")
    parser.add_argument("--vocab_size", default="8000", help="ids at most; default: 8000")
    parser.add_argument("--cased", action="store_true", help="keep case and accents")
    parser.add_argument("--text_column", help="column of tables; default: text, or the only one")
    parser.add_argument("--encoding", default="utf-8", help="of the files; default: utf-8")
    given = parser.parse_args(arguments)
    vocab_size = whole_number("--vocab_size", given.vocab_size)
    kind = one_of("--kind", given.kind, KINDS)

    from unmask.api import progress
    from unmask_text.data.files import TextFilesSource
    from unmask_text.data.report import Report
    from unmask_text.tokenizer_training import save_tokenizer, train_tokenizer

    report = Report()
    try:
        source = TextFilesSource(given.paths, text_column=given.text_column, encoding=given.encoding)
        part = source.parts()["train"]

        def texts():
            report.__init__()  # type: ignore[misc]  # what is read twice is told once
            for segment in source.read(part, report, moved):
                report.num_documents += segment.first
                yield segment.text

        with progress("Training the tokenizer", 1) as moved:
            tokenizer = train_tokenizer(texts, vocab_size, kind, lowercase=not given.cased)
        save_tokenizer(tokenizer, Path(given.out))
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    print(report)
    print(f"{tokenizer.get_vocab_size():,} ids, written to {given.out}")
    return GOOD


if __name__ == "__main__":
    console("text-tokenizer", run)
