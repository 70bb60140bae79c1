"""Every command on every method, by the contract; and the command that writes."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from unmask.api import main
from unmask.testing import RunContract

SENTENCES = str(Path(__file__).with_name("sentences.jsonl"))
SMALL_DATA = (
    "--data", "text.files", "--data.paths", SENTENCES, "--data.labels", "label",
    "--data.tokens_per_batch", "null", "--data.batch_size", "16",
)  # fmt: skip


class TestMLM(RunContract):
    arguments = ["--config", "text/mlm-pydoc", *SMALL_DATA]

    def test_a_vector_for_each_document(self, run_folder):
        """Some pieces of the long one are held out, for there are few documents; one has a single word."""
        Path("texts").mkdir()
        texts = {"long": "the player won the game in the rain . " * 200, "short": "rain", "a": "the rain"}
        for name, text in texts.items():
            Path("texts", f"{name}.txt").write_text(text)
        Path("data.yaml").write_text("data: {class_path: text.files, init_args: {paths: texts, val_ratio: 0.2}}")
        for options in ([], ["--whole"]):
            out = ["--out", f"{len(options)}.parquet"]
            assert main(["embed", str(run_folder), "--data", "data.yaml", *options, *out]) == 0
        pieces, wholes = (parquet.read_table(f"{number}.parquet").to_pylist() for number in (0, 1))
        own = [row for row in pieces if row["name"] == "long.txt"]
        assert {row["split"] for row in own} == {"train", "val"}
        found = {row["name"]: row for row in wholes}
        assert sorted(found) == ["a.txt", "long.txt", "short.txt"] and len(wholes) == 3
        assert found["long.txt"]["num_pieces"] == len(own) and found["long.txt"]["split"] == "train;val"
        assert np.allclose(found["long.txt"]["features"], np.mean([row["features"] for row in own], 0), atol=1e-6)


class TestBagOfWords(RunContract):
    arguments = ["--config", "text/bag-of-words-pydoc", *SMALL_DATA]


class TestSpanBERT(RunContract):
    arguments = ["--config", "text/spanbert-pydoc", *SMALL_DATA]


class TestELECTRA(RunContract):
    arguments = ["--config", "text/electra-pydoc", *SMALL_DATA]


class TestMAELM(RunContract):
    arguments = ["--config", "text/mae-lm-pydoc", *SMALL_DATA]


class TestMDLM(RunContract):
    arguments = ["--config", "text/mdlm-pydoc", *SMALL_DATA]

    def test_it_writes_and_fills_in(self, run_folder, capsys):
        assert main(["text-generate", str(run_folder), "--length", "9", "--count", "2"]) == 0
        first = capsys.readouterr().out
        assert len(first.splitlines()) == 2
        assert "[MASK]" not in first
        assert main(["text-generate", str(run_folder), "--length", "9", "--count", "2"]) == 0
        assert capsys.readouterr().out == first  # the same seed, the same texts
        assert (
            main(
                [
                    "text-generate",
                    str(run_folder),
                    "--text",
                    "the [MASK] won the [MASK] in the rain .",
                    "--sampler",
                    "ancestral",
                ]
            )
            == 0
        )
        for line in capsys.readouterr().out.splitlines():
            assert line.startswith("the ")
            assert " won the " in line
            assert line.endswith(" in the rain.")

    @pytest.mark.parametrize("order", ["fixed", "probability", "margin", "correction"])
    def test_it_writes_in_any_order(self, run_folder, capsys, order):
        text = "the [MASK] won the [MASK] in the rain ."
        options = ["--order", order, "--choice-noise", "1", "--sampler", "cosine", "--steps", "3"]
        assert main(["text-generate", str(run_folder), "--text", text, *options]) == 0
        for line in capsys.readouterr().out.splitlines():
            assert line.startswith("the ")
            assert line.endswith(" in the rain.")

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            (["--sampler", "greedy"], "nearest: `first-hitting`"),
            (["--order", "margins"], "nearest: `margin`"),
            (["--choice-noise", "-1"], "`choice_noise` must be at least 0"),
            (["--length", "0"], "`--length` must be at least 1"),
            (["--steps", "many"], "`--steps` must be a whole number"),
            (["--device", "abacus"], "`--device`"),
            (["--temperature", "0"], "`temperature`"),
            (["--length", "500"], "at most 126 tokens"),
        ],
    )
    def test_what_it_cannot_write_is_told(self, run_folder, capsys, wrong, told):
        assert main(["text-generate", str(run_folder), *wrong]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert len(error.splitlines()) <= 2
