"""Encoders leave for transformers, for sentence-transformers and as programs, and come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from unmask import Tokens
from unmask.api import ONNX, Export, TorchExport, main
from unmask.testing import FormatContract, shaken
from unmask_text.encoders import TransformersEncoder
from unmask_text.exchange.sentence_transformers_format import SentenceTransformers
from unmask_text.exchange.transformers_format import Transformers, TransformersPretraining
from unmask_text.methods.electra import ELECTRA
from unmask_text.methods.mae_lm import MAELM
from unmask_text.methods.mlm import MLM
from unmask_text.tokenizer import TextTokenizer
from unmask_text.vocabulary import vocabulary

ROWS = 160
ALL_KINDS = ["bert", "roberta", "modernbert", "electra", "deberta-v2"]
TEXTS = ["the quick brown fox", "a", "New York never sleeps; she said that he had been there before."]
transformers.utils.logging.disable_progress_bar()


def model_of(settings: Any, tokenizer_file: str, kind: str = "bert", method: Any = MLM, **others: Any) -> Any:
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings(kind, vocab_size=ROWS, pad_token_id=0, **others))
    return shaken(method(encoder=encoder, tokenizer=TextTokenizer(tokenizer_file)).eval())


def export_of(model: Any, batch: Any = None, pool: str | None = "mean") -> Export:
    return Export(model, "", seed=0, step=0, batch=lambda: batch, pool=pool)


def packed(texts: list[str], tokenizer_file: str) -> Tokens:
    known = vocabulary(tokenizer_file)
    ids = [torch.tensor(known.tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
    ends = torch.tensor([len(one) for one in ids]).cumsum(0)
    return Tokens(torch.cat(ids), None, offsets=torch.nn.functional.pad(ends, (1, 0)))  # type: ignore[arg-type]


class _Contract(FormatContract):
    @pytest.fixture(autouse=True)
    def _with(self, settings: Any, tokenizer_file: str) -> None:
        self.settings, self.file = settings, tokenizer_file

    def model(self) -> Any:
        return model_of(self.settings, self.file)

    def other(self) -> Any:
        return model_of(self.settings, self.file, hidden_size=48)


class TestTransformers(_Contract):
    def make(self) -> Transformers:
        return Transformers()


class TestTransformersPretraining(_Contract):
    def make(self) -> TransformersPretraining:
        return TransformersPretraining()

    def foreign(self) -> Any:
        return model_of(self.settings, self.file, method=MAELM)  # whose decoder is thrown away


class TestSentenceTransformers(_Contract):
    def make(self) -> SentenceTransformers:
        return SentenceTransformers()


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_transformers_reads_the_same_codes_from_the_same_texts(
    kind: str, settings: Any, tokenizer_file: str, tmp_path: Path
) -> None:
    model = model_of(settings, tokenizer_file, kind)
    Transformers().save(export_of(model), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    theirs = AutoModel.from_pretrained(tmp_path / "out").eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    tokens = packed(TEXTS, tokenizer_file)
    with torch.no_grad():
        got, expected = theirs(**batch).last_hidden_state, model.encoder(tokens)
    assert tokens.offsets is not None
    inner = [row[1 : 1 + length] for row, length in zip(got, tokens.offsets.diff().tolist(), strict=True)]
    torch.testing.assert_close(torch.cat(inner), expected.values, rtol=0, atol=1e-5)
    torch.testing.assert_close(got[:, 0], expected.prefix[:, 0], rtol=0, atol=1e-5)
    assert tokenizer.model_max_length == model.encoder.max_length
    assert tokenizer.mask_token_id == model.encoder.mask_id


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_the_head_fills_gaps_as_ours_does(kind: str, settings: Any, tokenizer_file: str, tmp_path: Path) -> None:
    model = model_of(settings, tokenizer_file, kind)
    TransformersPretraining().save(export_of(model), tmp_path / "out")
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    tokens = packed(TEXTS[:1], tokenizer_file)
    ids = torch.cat([torch.tensor([2]), tokens.values, torch.tensor([3])])
    with torch.no_grad():
        expected = model.predictor.answer(model.encoder(tokens).values, None).logits()
        got = theirs(input_ids=ids[None]).logits[0, 1:-1]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def test_a_discriminator_leaves_as_one(settings: Any, tokenizer_file: str, tmp_path: Path) -> None:
    model = model_of(settings, tokenizer_file, "electra", ELECTRA)
    TransformersPretraining().save(export_of(model), tmp_path / "out")
    theirs = transformers.ElectraForPreTraining.from_pretrained(tmp_path / "out").eval()
    own = model.predictor
    tokens = packed(TEXTS[:1], tokenizer_file)
    ids = torch.cat([torch.tensor([2]), tokens.values, torch.tensor([3])])
    with torch.no_grad():
        expected = own.score(own.activation(own.dense(model.encoder(tokens).values)))[:, 0]
        got = theirs(input_ids=ids[None]).logits[0, 1:-1]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_the_head_comes_back(settings: Any, tokenizer_file: str, tmp_path: Path) -> None:
    model = model_of(settings, tokenizer_file)
    TransformersPretraining().save(export_of(model), tmp_path / "out")
    read = TransformersPretraining().load(load_file(tmp_path / "out" / "model.safetensors"), model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(read[name], tensor), name


def test_names_of_berts_first_release_are_known(settings: Any, tokenizer_file: str) -> None:
    model = model_of(settings, tokenizer_file)
    old = {"embeddings.LayerNorm.gamma": torch.ones(32), "pooler.dense.bias": torch.ones(32)}
    read = Transformers().load(old, model)
    assert set(read) == {"encoder.model.embeddings.LayerNorm.weight", "pooler.dense.bias"}


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_sentence_transformers_modules_give_the_vectors(
    pool: str, settings: Any, tokenizer_file: str, tmp_path: Path
) -> None:
    """By the layout that its documentation gives: transformer, token weights, pooling, normalisation."""
    model, out = model_of(settings, tokenizer_file), tmp_path / "out"
    SentenceTransformers().save(export_of(model, pool=pool), out)
    modules = json.loads((out / "modules.json").read_text())
    kinds = [one["type"].rpartition(".")[2] for one in modules]
    assert kinds == ["Transformer", *(["WordWeights"] if pool == "mean" else []), "Pooling", "Normalize"]
    assert [one["idx"] for one in modules] == list(range(len(modules)))
    folders = dict(zip(kinds, (out / one["path"] for one in modules), strict=True))
    pooling = json.loads((folders["Pooling"] / "config.json").read_text())
    assert pooling["word_embedding_dimension"] == 32
    assert [name for name, value in pooling.items() if value is True and "pooling" in name] == [
        f"pooling_mode_{'cls_token' if pool == 'cls' else 'mean_tokens'}"
    ]
    assert json.loads((out / "sentence_bert_config.json").read_text())["max_seq_length"] == 48

    batch = AutoTokenizer.from_pretrained(out)(TEXTS, padding=True, return_tensors="pt")
    tokens = packed(TEXTS, tokenizer_file)
    with torch.no_grad():
        codes = AutoModel.from_pretrained(out).eval()(**batch).last_hidden_state
        expected = torch.nn.functional.normalize(model.encoder(tokens).pool(pool, tokens), dim=1)
    if pool == "mean":
        about = json.loads((folders["WordWeights"] / "config.json").read_text())
        weights = torch.tensor(
            [about["word_weights"].get(word, about["unknown_word_weight"]) for word in about["vocab"]]
        )
        assert torch.equal(load_file(folders["WordWeights"] / "model.safetensors")["emb_layer.weight"][:, 0], weights)
        weight = (weights[batch["input_ids"]] * batch["attention_mask"])[..., None]
        vectors = (codes * weight).sum(1) / weight.sum(1)
    else:
        vectors = codes[:, 0]
    torch.testing.assert_close(torch.nn.functional.normalize(vectors, dim=1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pool", ["max", "mean+max", None])
def test_other_poolings_are_refused(pool: str | None, settings: Any, tokenizer_file: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`--pool` must be 'mean' or 'cls' for sentence-transformers, but .*\.$"):
        SentenceTransformers().save(export_of(model_of(settings, tokenizer_file), pool=pool), tmp_path / "out")


def test_a_lost_vocabulary_is_said(settings: Any, tokenizer_file: str, tmp_path: Path) -> None:
    model = model_of(settings, tokenizer_file)
    model.tokenizer.file = None
    model.agreed["text.vocabulary"] = {"meaning": "another", "file": tokenizer_file}
    with pytest.raises(ValueError, match=r"^The vocabulary .* was trained with, .*, is gone; give it by `--data`"):
        Transformers().save(export_of(model, {"tokenizer": tokenizer_file}), tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "pool"),
    [
        ("bert", "mean"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("roberta", None), ("modernbert", "mean+max"))),
        pytest.param("deberta-v2", "cls", marks=pytest.mark.slow),
    ],
)
def test_programs_read_padded_documents_of_any_lengths(
    kind: str, pool: str | None, settings: Any, documents: Any, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = shaken(MLM(encoder=TransformersEncoder(settings(kind))).eval())
    told = TorchExport().save(export_of(model, documents(), pool), tmp_path / "x.pt2")
    assert "ids int64 [batch, length], attention_mask int64 [batch, length]" in told
    program = torch.export.load(tmp_path / "x.pt2").module()
    ids = torch.randint(5, 97, (3, 13))
    mask = (torch.arange(13) < torch.tensor([[13], [3], [8]])).long()
    ids[:, 0] = model.encoder.cls_id
    ids[torch.arange(3), mask.sum(1) - 1] = model.encoder.sep_id
    got = program({"ids": ids, "attention_mask": mask})
    for row, length, codes in zip(ids, mask.sum(1).tolist(), got, strict=True):
        tokens = Tokens(row[1 : length - 1], None, offsets=torch.tensor([0, length - 2]))  # type: ignore[arg-type]
        with torch.no_grad():
            latent = model.encoder(tokens)
        expected = latent.values if pool is None else latent.pool(pool, tokens)[0]
        torch.testing.assert_close(codes[1 : length - 1] if pool is None else codes, expected, rtol=0, atol=1e-5)
        assert pool is not None or not codes[length:].any()


@pytest.mark.slow
def test_an_onnx_program_reads_padded_documents(settings: Any, documents: Any, tmp_path: Path) -> None:
    import onnxruntime

    model = shaken(MLM(encoder=TransformersEncoder(settings("bert"))).eval())
    ONNX().save(export_of(model, documents()), tmp_path / "x.onnx")
    tokens = Tokens(torch.arange(5, 25), None, offsets=torch.tensor([0, 17, 20]))  # type: ignore[arg-type]
    ids = np.zeros((2, 19), dtype=np.int64)
    ids[0, :19], ids[1, :5] = [2, *range(5, 22), 3], [2, 22, 23, 24, 3]
    batch = {"ids": ids, "attention_mask": (ids > 0).astype(np.int64)}
    (got,) = onnxruntime.InferenceSession(str(tmp_path / "x.onnx")).run(None, batch)
    with torch.no_grad():
        expected = model.encoder(tokens).pool("mean", tokens)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_a_run_leaves_and_comes_back(tokenizer_file: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS * 8), "utf-8")
    words = ["--data.paths", str(tmp_path / "a.txt"), "--data.document", "line", "--data.tokenizer", tokenizer_file]
    words += [
        "--model.size",
        "tiny",
        "--model.vocab_size",
        "160",
        "--model.max_length",
        "40",
        "--data.max_length",
        "40",
    ]
    words += ["--data.batch_size", "4", "--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]
    words += [
        "--trainer.precision",
        "32-true",
        "--trainer.enable_progress_bar",
        "false",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["fit", "--config", "text/mlm-files", *words]) == 0
    assert main(["export", str(tmp_path / "run"), "--format", "text.transformers-pretraining"]) == 0
    folder = tmp_path / "run" / "export" / "text.transformers-pretraining"
    told = capsys.readouterr()
    assert "AutoTokenizer: the same ids." in told.out, told.err
    config = str(tmp_path / "run" / "config.yaml")
    assert main(["import", str(folder), "--config", config, "--out", str(tmp_path / "back")]) == 0
    assert "give `--data.tokenizer`" in capsys.readouterr().out
