"""Model and data must mean the same by an id, have room for all of them, and for the longest document."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM
from transformers.utils import logging

from unmask import agreements
from unmask.api import load_run, main
from unmask_text.agreements import KEY
from unmask_text.data import TextFilesData
from unmask_text.encoders import TransformersEncoder
from unmask_text.methods.bag_of_words import BagOfWords
from unmask_text.methods.electra import ELECTRA
from unmask_text.methods.mae_lm import MAELM
from unmask_text.methods.mdlm import MDLM
from unmask_text.methods.mlm import MLM
from unmask_text.methods.spanbert import SpanBERT
from unmask_text.tokenizer import TextTokenizer
from unmask_text.tokenizer_training import save_tokenizer, train_tokenizer
from unmask_text.vocabulary import vocabulary

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "near", "old", "stone", "bridges", "every"]
OTHER = ["seven", "grey", "ships", "sail", "slowly", "under", "pale", "winter", "moons", "while", "sailors", "sing"]
POSITIONS = 40
logging.disable_progress_bar()


def texts_of(words: list[str], count: int = 40) -> list[str]:
    return [" ".join(words[(i * k) % len(words)] for k in range(1, 12)) for i in range(count)]


def corpus_of(path: Path, words: list[str]) -> Path:
    path.write_text("\n".join(texts_of(words)))
    return path


def data_of(corpus: Path, **options: Any) -> TextFilesData:
    options = {"document": "line", "max_length": 32, "batch_size": 4, "vocab_size": 150} | options
    return TextFilesData(str(corpus), **options)


def bert_of(folder: Path, words: list[str], form: str = "tokenizer.json", size: int = 150) -> Path:
    """A pretrained model in a folder of transformers', with a tokenizer of one form."""
    folder.mkdir()
    tokenizer = train_tokenizer(lambda: texts_of(words), size)
    ids = tokenizer.get_vocab()
    config = BertConfig(
        vocab_size=len(ids), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=POSITIONS,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(folder)
    if form == "tokenizer.json":
        save_tokenizer(tokenizer, folder / form)
    elif form == "vocab.txt":
        (folder / form).write_text("\n".join(sorted(ids, key=ids.__getitem__)) + "\n")
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True} | special
    if form:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_of(tmp_path_factory.mktemp("pretrained") / "bert", WORDS)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """A vocabulary of the same size, in which ids are other words."""
    tokenizer = train_tokenizer(lambda: texts_of(OTHER), 150)
    content = json.loads(tokenizer.to_str())
    path = tmp_path_factory.mktemp("twin") / "tokenizer.json"
    known = vocabulary(bert)
    words = list(known.tokenizer.get_vocab())
    ids = content["model"]["vocab"]
    keep = {word: id for word, id in ids.items() if id < len(words)}
    free = [id for id in range(len(words)) if id not in keep.values()]
    content["model"]["vocab"] = keep | {f"word{id}": id for id in free}
    path.write_text(json.dumps(content))
    assert len(vocabulary(path)) == len(known)
    return path


def held(model: L.LightningModule, data: Any, capsys: Any) -> str:
    agreements.check(model, data, loaded=False)
    agreements.check(model, data, loaded=True)
    return capsys.readouterr().out


@pytest.mark.parametrize("method", [MLM, BagOfWords, SpanBERT, MAELM, MDLM, ELECTRA])
def test_data_takes_the_tokenizer_of_pretrained_weights(method: Any, bert: Path, tmp_path: Path, capsys: Any) -> None:
    corpus = corpus_of(tmp_path / "a.txt", OTHER)  # that would make another vocabulary
    if method is ELECTRA:  # whose generator needs embeddings of its kind
        encoder = TransformersEncoder(path=str(bert))
        model = ELECTRA(encoder=encoder, generator=TransformersEncoder(path=str(bert)))
    else:
        model = method(pretrained=str(bert))
    data = data_of(corpus)
    told = held(model, data, capsys)
    assert f"The data is read with the tokenizer of the pretrained model {bert}" in told
    assert vocabulary(data.tokenizer).fingerprint == vocabulary(bert).fingerprint
    batch = next(iter(data.train_dataloader()))
    assert batch["tokenizer"] == vocabulary(bert).path
    assert torch.isfinite(model.step(batch, 0).loss.total)


def test_an_encoder_from_a_path_counts_as_well(bert: Path, tmp_path: Path, capsys: Any) -> None:
    data = data_of(corpus_of(tmp_path / "a.txt", OTHER))
    data.stores  # noqa: B018  cut by a vocabulary of its own, before anybody compared
    held(MLM(encoder=TransformersEncoder(path=str(bert))), data, capsys)
    assert next(iter(data.train_dataloader()))["tokenizer"] == vocabulary(bert).path
    # weights that are read into an encoder that is given
    whole = MLM(encoder=TransformersEncoder(path=str(bert)), pretrained=str(bert))
    assert whole.encoder.source == str(bert)


def test_another_vocabulary_than_the_weights_is_refused(bert: Path, twin: Path, tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "a.txt", WORDS)
    model = MLM(pretrained=str(bert))
    with pytest.raises(
        ValueError, match=r"`data.tokenizer` must have the vocabulary of the pretrained model .*, but .*"
    ):
        agreements.check(model, data_of(corpus, tokenizer=str(twin)), loaded=False)
    same = tmp_path / "same"
    same.mkdir()
    content = json.loads((bert / "tokenizer.json").read_text())
    (same / "tokenizer.json").write_text(json.dumps(content | {"truncation": None}, indent=2))  # the same ids
    agreements.check(model, data_of(corpus, tokenizer=str(same)), loaded=False)


def test_weights_without_a_tokenizer(tmp_path: Path, twin: Path, capsys: Any) -> None:
    bare = bert_of(tmp_path / "bare", WORDS, form="")
    model = MLM(encoder=TransformersEncoder(path=str(bare), cls_id=2, sep_id=3, mask_id=4))
    corpus = corpus_of(tmp_path / "a.txt", WORDS)
    with pytest.raises(ValueError, match=r"`data.tokenizer` must be given, because the pretrained model has none"):
        agreements.check(model, data_of(corpus), loaded=False)
    assert "nothing tells whether the ids" in held(model, data_of(corpus, tokenizer=str(twin)), capsys)


def test_sizes_of_a_recipe_give_way_to_the_weights(bert: Path, tmp_path: Path, capsys: Any) -> None:
    model = MLM(pretrained=str(bert), style="bert", size="base", vocab_size=30_522, max_length=POSITIONS)
    assert model.encoder.width == 32
    told = held(model, data_of(corpus_of(tmp_path / "a.txt", WORDS)), capsys)
    assert "not used: `model.size` base, `model.vocab_size` 30,522." in told
    rows = len(model.encoder.embedding)
    again = MLM(pretrained=str(bert), vocab_size=rows)
    assert "not used" not in held(again, data_of(tmp_path / "a.txt"), capsys)


def test_lengths_of_a_recipe_give_way_to_the_weights(bert: Path, tmp_path: Path, capsys: Any) -> None:
    corpus = corpus_of(tmp_path / "a.txt", WORDS)
    model, data = MLM(pretrained=str(bert)), data_of(corpus, max_length=512)
    data.stores  # noqa: B018  cut already
    told = held(model, data, capsys)
    assert f"Documents are cut to {POSITIONS} tokens instead of 512 (`data.max_length`)" in told
    assert data.max_length == data.settled["max_length"] == POSITIONS
    assert max(data.stores["train"].lengths) <= POSITIONS - 2
    with pytest.raises(ValueError, match=rf"`data.max_length` must be at most {POSITIONS}"):
        agreements.check(MLM(size="tiny", vocab_size=500, max_length=POSITIONS), data_of(corpus, max_length=64), False)


def test_a_recipe_with_pretrained_weights_needs_no_other_option(bert: Path, tmp_path: Path, capsys: Any) -> None:
    """And the config of the run is what was used."""
    corpus = corpus_of(tmp_path / "a.txt", WORDS)
    words = ["--data.paths", str(corpus), "--data.document", "line", "--model.pretrained", str(bert)]
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
    told = capsys.readouterr().out
    assert "not used: `model.size` base, `model.vocab_size` 30,522, `model.max_length` 512." in told
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert [model[name] for name in ("size", "vocab_size", "max_length")] == [None] * 3
    assert data["max_length"] == POSITIONS
    assert load_run(tmp_path / "run").model.encoder.width == 32
    assert "not used" not in capsys.readouterr().out


def test_ids_without_an_embedding(bert: Path, tmp_path: Path, capsys: Any) -> None:
    corpus = corpus_of(tmp_path / "a.txt", WORDS)
    size = len(vocabulary(bert))

    def model(rows: int) -> MLM:
        return MLM(size="tiny", vocab_size=rows, max_length=32)

    with pytest.raises(ValueError, match=f"`model.vocab_size` must be at least {size}, the ids of `data.tokenizer`"):
        agreements.check(model(size - 1), data_of(corpus, tokenizer=str(bert)), loaded=False)
    assert held(model(size), data_of(corpus, tokenizer=str(bert)), capsys) == ""
    data = data_of(corpus, vocab_size=5_000)
    told = held(model(110), data, capsys)
    assert "gets 110 ids instead of 5,000 (`data.vocab_size`)" in told
    assert len(vocabulary(data.tokenizer)) <= 110
    assert "most of the model's 3,000 embeddings" in held(model(3_000), data_of(corpus), capsys)


def test_gaps_between_ids_count(tmp_path: Path) -> None:
    """`vocab.txt` with a word twice has an id less, and none below its largest is free."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "the", *WORDS[1:]]
    folder = tmp_path / "twice"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    assert len(vocabulary(folder)) == len(words) == vocabulary(folder).tokenizer.get_vocab_size() + 1


def test_special_ids_of_an_encoder_are_no_words(tmp_path: Path) -> None:
    """RoBERTa's full stop has the id that [MASK] has in vocabularies that are trained here."""
    tokenizer = train_tokenizer(lambda: texts_of(WORDS), 150)
    content = json.loads(tokenizer.to_str())
    ids = content["model"]["vocab"]
    first, last = "[MASK]", max(ids, key=ids.__getitem__)
    ids[first], ids[last] = ids[last], ids[first]
    for token in content["added_tokens"]:
        token["id"] = ids[token["content"]]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    corpus = corpus_of(tmp_path / "a.txt", WORDS)
    with pytest.raises(ValueError, match=f"`mask_id` of the model's encoder .* but 4 is '{last}' there"):
        agreements.check(MLM(size="tiny", vocab_size=150), data_of(corpus, tokenizer=str(path)), loaded=False)


@pytest.mark.parametrize("style", ["bert", "roberta", "modernbert", "deberta-v2"])
def test_documents_longer_than_the_model(style: Any, tmp_path: Path, capsys: Any) -> None:
    corpus = corpus_of(tmp_path / "a.txt", WORDS)
    model = MLM(style=style, size="tiny", vocab_size=150, max_length=32)
    held(model, data_of(corpus, max_length=32), capsys)
    with pytest.raises(ValueError, match=r"`data.max_length` must be at most 32, the model's positions .*, but is 33"):
        agreements.check(model, data_of(corpus, max_length=33), loaded=False)


def test_a_vocabulary_for_pictures_is_the_datas(bert: Path, twin: Path, tmp_path: Path) -> None:
    model = MLM(size="tiny", vocab_size=150, max_length=32, tokenizer=TextTokenizer(file=str(bert)))
    corpus = corpus_of(tmp_path / "a.txt", OTHER)
    data = data_of(corpus)
    agreements.check(model, data, loaded=False)
    assert data.tokenizer == vocabulary(bert).path
    with pytest.raises(ValueError, match=r"must be the vocabulary of `model.tokenizer.file`"):
        agreements.check(model, data_of(corpus, tokenizer=str(twin)), loaded=False)


# Vocabularies of transformers' folders.


@pytest.mark.parametrize("lower", [True, False])
def test_vocab_txt_is_read_as_transformers_does(lower: bool, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "The",
        "cafe",
        "café",
        "un",
        "##believ",
        "##able",
        ".",
    ]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lower}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    text = "The café. Unbelievable 中 the unbelievable[MASK]"
    theirs = AutoTokenizer.from_pretrained(folder)(text.replace("[MASK]", ""), add_special_tokens=False)["input_ids"]
    named = vocabulary(folder)
    assert named.tokenizer.encode(text.replace("[MASK]", ""), add_special_tokens=False).ids == theirs
    assert (words.index("the") in theirs[:1]) == lower
    assert vocabulary(folder).path == named.path  # converted once
    assert named.special_ids["[MASK]"] == 4 not in named.tokenizer.encode(text, add_special_tokens=False).ids


def test_vocab_json_with_merges_is_read_as_transformers_does(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(lambda: texts_of(WORDS), 320, "bpe", lowercase=False)
    tokenizer.model.save(str(tmp_path))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    settings = {"tokenizer_class": "RobertaTokenizer", "bos_token": "[CLS]", "eos_token": "[SEP]"} | special
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    text = "the quick fox, a café"
    theirs = AutoTokenizer.from_pretrained(tmp_path)(text, add_special_tokens=False)["input_ids"]
    assert vocabulary(tmp_path).tokenizer.encode(text, add_special_tokens=False).ids == theirs


def test_folders_without_a_tokenizer_are_refused(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path / "empty")
    (tmp_path / "none").mkdir()
    for name in ("empty", "none", "nowhere"):
        with pytest.raises(ValueError, match=r"`tokenizer` must be a `tokenizer\.json`, or a folder with one"):
            vocabulary(tmp_path / name)


def test_a_pretrained_model_with_vocab_txt(tmp_path: Path, capsys: Any) -> None:
    bert = bert_of(tmp_path / "bert", WORDS, form="vocab.txt")
    corpus = corpus_of(tmp_path / "a.txt", OTHER)
    for options in ({}, {"tokenizer": str(bert)}):
        data = data_of(corpus, **options)
        held(MLM(pretrained=str(bert)), data, capsys)
        expected = AutoTokenizer.from_pretrained(bert)(texts_of(OTHER)[0], add_special_tokens=False)["input_ids"]
        assert data.stores["train"].ids[: len(expected)].tolist() == expected


# Runs: what a checkpoint was trained with.


def fit(corpus: Path, out: Path, *words: str) -> int:
    return main(
        [
            "fit", "--model", "text.mlm", "--model.size", "tiny", "--model.vocab_size", "150",
            "--model.max_length", "32", "--model.optim.warmup_steps", "0",
            "--data", "text.files", "--data.paths", str(corpus),
            "--data.document", "line", "--data.max_length", "32", "--data.batch_size", "4", "--data.vocab_size", "150",
            "--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--out", str(out), *words,
        ]
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    assert fit(corpus_of(tmp_path / "a.txt", WORDS), tmp_path / "run") == 0
    return tmp_path / "run"


def other_data(tmp_path: Path, **options: Any) -> Path:
    corpus = corpus_of(tmp_path / "b.txt", OTHER)
    arguments = {"paths": str(corpus), "document": "line", "max_length": 32, "batch_size": 4, "vocab_size": 150}
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump({"data": {"class_path": "text.files", "init_args": arguments | options}}))
    return path


def test_a_run_reads_other_data_with_its_own_vocabulary(run: Path, twin: Path, tmp_path: Path, capsys: Any) -> None:
    own = load_run(run).datamodule.tokenizer
    capsys.readouterr()
    other = load_run(run, other_data(tmp_path)).datamodule
    assert other.tokenizer == own
    assert "The data is read with the vocabulary of the model's checkpoint" in capsys.readouterr().out
    assert main(["embed", str(run), "--data", str(other_data(tmp_path, tokenizer=str(twin)))]) == 2
    assert "`data.tokenizer` must be the vocabulary of the model's checkpoint" in capsys.readouterr().err


def test_a_run_whose_vocabulary_is_gone(run: Path, tmp_path: Path) -> None:
    data = load_run(run).datamodule
    Path(data.tokenizer).unlink()
    assert load_run(run).datamodule.tokenizer == data.tokenizer  # trained again on the same corpus
    Path(data.tokenizer).unlink()
    other = load_run(run, other_data(tmp_path)).datamodule
    with pytest.raises(ValueError, match=r"the data's is another, .*: its ids mean other tokens"):
        other.stores  # noqa: B018


def test_a_run_whose_corpus_has_changed(run: Path, tmp_path: Path, capsys: Any) -> None:
    own = load_run(run).datamodule.tokenizer
    corpus = corpus_of(tmp_path / "a.txt", OTHER)
    assert load_run(run).datamodule.tokenizer == own  # to look at it, the vocabulary is what counts
    assert fit(corpus, run, "--trainer.max_steps", "4", "--ckpt_path", "last") == 2
    error = capsys.readouterr().err
    assert "`data.tokenizer` must be the vocabulary that the checkpoint was trained with" in error
    assert len(error.strip().splitlines()) == 1
    words = ["--trainer.max_steps", "4", "--ckpt_path", "last", "--data.tokenizer", own]
    assert fit(corpus, run, *words) == 0


def test_a_run_resumed_in_python_on_a_changed_corpus(run: Path, tmp_path: Path) -> None:
    checkpoint = next((run / "checkpoints").glob("*.ckpt"))
    for words, refused in ((WORDS, False), (OTHER, True)):
        data = data_of(corpus_of(tmp_path / "c.txt", words))
        model = MLM(size="tiny", vocab_size=150, max_length=32)
        trainer = L.Trainer(
            max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, limit_val_batches=0,
        )  # fmt: skip
        if refused:
            with pytest.raises(ValueError, match="its ids mean other tokens"):
                trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)
        else:
            trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)


def test_checkpoints_of_an_earlier_version_keep_nothing(run: Path, tmp_path: Path) -> None:
    (checkpoint,) = (run / "checkpoints").glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    assert set(content.pop("agreed")) == {KEY}
    torch.save(content, checkpoint)
    assert load_run(run, other_data(tmp_path)).datamodule.tokenizer
    assert fit(tmp_path / "a.txt", run, "--trainer.max_steps", "4", "--ckpt_path", "last") == 0


def test_runs_of_two_vocabularies_are_not_probed_together(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert fit(corpus_of(tmp_path / "b.txt", OTHER), tmp_path / "second") == 0
    capsys.readouterr()
    data = other_data(tmp_path)
    assert main(["probe", str(run), str(tmp_path / "second"), "--data", str(data)]) == 2
    assert "must be that of the model's checkpoint" in capsys.readouterr().err


def test_a_vocabulary_alone_and_a_package_that_is_missing(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n")
    with pytest.raises(ValueError, match=r"`.*vocab.txt` alone does not say .* put a `tokenizer_config.json` beside"):
        vocabulary(tmp_path)
    with pytest.raises(ValueError, match=rf"`tokenizer` must be .* or a folder, but .*; nearest: `{tmp_path}`\.$"):
        vocabulary(tmp_path / "vocab.txt")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    assert vocabulary(tmp_path).tokenizer.encode("The", add_special_tokens=False).ids == [5]

    folder = tmp_path / "sentencepiece"
    folder.mkdir()
    (folder / "spiece.model").write_bytes(b"\0")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "AlbertTokenizer"}')
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "sentencepiece" else found(name, *more))
    with pytest.raises(
        ValueError, match=r"needs the package `sentencepiece`: pip install 'unmask-text\[sentencepiece\]'"
    ):
        vocabulary(folder)
