"""Every command on every method, by the contract; and the command that writes."""

from pathlib import Path

import pytest
import torch

from unmask.testing.runs import RunContract
from unmask_text.generate import main as generate

SENTENCES = str(Path(__file__).with_name("sentences.jsonl"))
SMALL_DATA = (
    "--data", "text.files", "--data.paths", SENTENCES, "--data.labels", "label",
    "--data.tokens_per_batch", "null", "--data.batch_size", "16",
)  # fmt: skip


class TestMLM(RunContract):
    arguments = ["--config", "text/mlm-pydoc", *SMALL_DATA]


class TestSpanBERT(RunContract):
    arguments = ["--config", "text/spanbert-pydoc", *SMALL_DATA]


class TestELECTRA(RunContract):
    arguments = ["--config", "text/electra-pydoc", *SMALL_DATA]


class TestMAELM(RunContract):
    arguments = ["--config", "text/mae-lm-pydoc", *SMALL_DATA]


class TestMDLM(RunContract):
    arguments = ["--config", "text/mdlm-pydoc", *SMALL_DATA]

    def test_it_writes_and_fills_in(self, run_folder, capsys):
        assert generate([str(run_folder), "--length", "9", "--count", "2"]) == 0
        first = capsys.readouterr().out
        assert len(first.splitlines()) == 2
        assert "[MASK]" not in first
        assert generate([str(run_folder), "--length", "9", "--count", "2"]) == 0
        assert capsys.readouterr().out == first  # the same seed, the same texts
        assert (
            generate([str(run_folder), "--text", "the [MASK] won the [MASK] in the rain .", "--sampler", "ancestral"])
            == 0
        )
        for line in capsys.readouterr().out.splitlines():
            assert line.startswith("the ")
            assert " won the " in line
            assert line.endswith(" in the rain.")

    def test_what_it_cannot_write_is_told(self, run_folder):
        for wrong, match in (
            (["--sampler", "greedy"], "nearest: `first-hitting`"),
            (["--length", "0"], "`--length` must be at least 1"),
            (["--steps", "many"], "`--steps` must be a whole number"),
            (["--device", "abacus"], "`--device`"),
        ):
            with pytest.raises(Exception, match=match):
                generate([str(run_folder), *wrong])
        with pytest.raises(ValueError, match="`temperature`"):
            generate([str(run_folder), "--temperature", "0"])
        with pytest.raises(ValueError, match="at most 126 tokens"):
            generate([str(run_folder), "--length", "500"])
        assert torch.is_grad_enabled()
