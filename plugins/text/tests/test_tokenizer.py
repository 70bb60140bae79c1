"""Vocabularies, and what the tokenizer of a model makes of a batch: tokens, pictures, files, raw vectors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask import Places, Prediction, Sequence
from unmask.api import UserError
from unmask_text.commands import data_of
from unmask_text.counting.__main__ import run as count
from unmask_text.layout import Words
from unmask_text.tokenizer import TextTokenizer
from unmask_text.tokenizer_training import save_tokenizer, train_tokenizer
from unmask_text.train_tokenizer import run as train
from unmask_text.vocabulary import Vocabulary, vocabulary

TEXT = "She said that New York is unbelievable , in 1984"
TEXTS = [f"{TEXT} and the {word} city never sleeps." for word in ("large", "quick", "lazy", "brown")] * 10


def encode(tokenizer_file: str, texts: list[str]) -> dict:
    from unmask_text.data.batches import Collate
    from unmask_text.data.cutting import word_begins

    named = vocabulary(tokenizer_file)
    samples = []
    for index, text in enumerate(texts):
        one = named.tokenizer.encode(text)
        ids = np.asarray(one.ids)
        begins = torch.from_numpy(word_begins(ids, [one.word_ids], named).astype(np.int64))
        samples.append({"ids": torch.from_numpy(ids), "word": begins.cumsum(0) - 1, "index": index})
    return {form: Collate(form == "packed", tokenizer_file)(samples) for form in ("packed", "dense")}


@pytest.fixture(scope="module")
def words_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A vocabulary that has every word of the sentences."""
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    save_tokenizer(train_tokenizer(lambda: ["the lazy dog fox & <b> a city " * 30], 300), path)
    return str(path)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_training_and_words(kind: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(lambda: TEXTS, 300, kind)
    assert tokenizer.get_vocab_size() <= 300
    assert [tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    if kind != "unigram":  # see `train_tokenizer`
        assert all(train_tokenizer(lambda: TEXTS, 300, kind).to_str() == tokenizer.to_str() for _ in range(3))

    batch = encode(str(path), [TEXT])["packed"]
    named = vocabulary(path)
    words = named.words(batch["ids"].tolist(), batch["word"].tolist())
    assert words == TEXT.lower().split()
    assert (named.unknown_id is None) == (kind == "bpe")


def test_long_runs_are_several_words(tokenizer_file: str) -> None:
    batch = encode(tokenizer_file, ["the " + "ab" * 40])["packed"]
    assert torch.bincount(batch["word"]).max() <= 16
    assert len(batch["word"].unique()) > 2


def test_too_few_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="`kind` must be one of wordpiece, bpe, unigram, but is 'word'"):
        train_tokenizer(lambda: TEXTS, 300, "word")
    with pytest.raises(ValueError, match="`vocab_size` must be at least 261 for bpe, but is 260"):
        train_tokenizer(lambda: TEXTS, 260, "bpe")
    many = ["".join(chr(0x4E00 + i) + " " for i in range(3000))]
    assert train_tokenizer(lambda: many, 500).get_vocab_size() <= 500
    with pytest.raises(ValueError, match=r"`vocab_size` must be about .* for the letters of these texts, but is 100"):
        train_tokenizer(lambda: many, 100, "unigram")


def test_tokens_of_both_forms(tokenizer_file: str) -> None:
    forms = encode(tokenizer_file, [TEXT, "the lazy dog"])
    packed, dense = (TextTokenizer()(forms[form]) for form in ("packed", "dense"))
    assert packed.num_samples == dense.num_samples == 2
    assert isinstance(packed.layout, Words)
    assert isinstance(packed.layout, Sequence)
    assert str(packed.layout) == "Words"
    assert packed.layout.vocabulary == tokenizer_file
    assert torch.equal(dense.values[dense.valid], packed.values)
    assert torch.equal(dense.layout.number[dense.valid], packed.layout.number)


def test_pictures(tokenizer_file: str) -> None:
    tokenizer = TextTokenizer()
    forms = encode(tokenizer_file, [TEXT * 5, "the lazy dog"])
    packed, dense = (tokenizer(forms[form]) for form in ("packed", "dense"))
    hidden = torch.zeros_like(packed.values, dtype=torch.bool)
    hidden[::3] = True
    plain, covered = tokenizer.render(packed), tokenizer.render(packed, hidden)
    rows = torch.zeros_like(dense.valid).masked_scatter(dense.valid, hidden)
    for one, other, same in zip(plain, covered, tokenizer.render(dense, rows), strict=True):
        assert one.dtype == np.uint8
        assert one.shape == other.shape
        assert np.array_equal(other, same)
        grey = (other == (140, 140, 140)).all(-1)
        assert grey.any()
        assert not (one == (140, 140, 140)).all(-1).sum() > 0.01 * grey.sum()
    assert plain[0].shape[0] > plain[1].shape[0]  # more lines


class WithLogits(Prediction):
    def __init__(self, values: torch.Tensor, asked: Places) -> None:
        super().__init__(values, asked)

    def logits(self) -> torch.Tensor:
        return self.values


@pytest.mark.parametrize("form", ["packed", "dense"])
def test_fillings(words_file: str, form: str) -> None:
    tokenizer = TextTokenizer(top_k=3)
    tokens = tokenizer(encode(words_file, ["the lazy dog", "a <b> fox & the city"])[form])
    named = vocabulary(words_file)
    hidden = torch.zeros_like(tokens.values, dtype=torch.bool)
    hidden[(1 if form == "packed" else (0, 1))] = True
    lazy, fox, the = (named.tokenizer.token_to_id(word) for word in ("lazy", "fox", "the"))
    logits = torch.full((1, len(named)), -50.0)
    logits[0, [lazy, fox, the]] = torch.tensor([0.5, 0.3, 0.2]).log()
    if form == "packed":
        prediction = WithLogits(logits, Places.of(hidden))
    else:
        places = Places.of(hidden)
        padded = torch.zeros(2, places.index.shape[1], len(named))
        padded[0, 0] = logits[0]
        prediction = WithLogits(padded, places)
    files = tokenizer.files(tokens, hidden, prediction)
    assert set(files) == {".html", ".txt"}
    text = files[".txt"][0].decode()
    assert text.splitlines()[0] == "the [[lazy]] dog"
    assert "lazy: lazy 0.500, fox 0.300, the 0.200" in text
    page = files[".html"][0].decode()
    assert re.search(r"<td class=right>lazy <small>50.0%</small></td><td>fox <small>30.0%", page)
    assert "<mark" in page
    other = files[".html"][1].decode()
    assert "<mark" not in other
    assert "&lt;" in other
    assert "&amp;" in other
    assert tokenizer.files(tokens, hidden)[".txt"][0].decode() == "the [[lazy]] dog\n"


def test_raw_is_a_bag_of_tokens(words_file: str) -> None:
    forms = encode(words_file, ["the dog the fox", "the fox"])
    named = vocabulary(words_file)
    the, dog, fox = (named.tokenizer.token_to_id(word) for word in ("the", "dog", "fox"))
    tokenizer = TextTokenizer(raw_width=len(named))
    packed, dense = (tokenizer.raw(tokenizer(forms[form])) for form in ("packed", "dense"))
    expected = torch.zeros(2, len(named))
    expected[0, [the, dog, fox]] = torch.tensor([3.0, 2, 2]).log()
    expected[1, [the, fox]] = torch.tensor([2.0, 2]).log()
    torch.testing.assert_close(packed, torch.nn.functional.normalize(expected))
    assert torch.equal(packed, dense)
    assert TextTokenizer(raw_width=7).raw(tokenizer(forms["packed"])).shape == (2, 7)


def test_ids_are_shown_where_no_vocabulary_is_known() -> None:
    tokens = TextTokenizer()(
        {"ids": torch.tensor([5, 6]), "word": torch.tensor([0, 1]), "offsets": torch.tensor([0, 2])}
    )
    assert TextTokenizer().files(tokens)[".txt"] == [b"#5 #6\n"]
    with pytest.raises(ValueError, match="`raw_width` must be at least 1, but is 0"):
        TextTokenizer(raw_width=0)
    with pytest.raises(ValueError, match=r"`tokenizer` must be a `tokenizer\.json`"):
        TextTokenizer("nowhere")


def test_a_file_that_is_no_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"must be a trained tokenizer, .* but `.*` is not one"):
        vocabulary(tmp_path)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    out = tmp_path / "vocabulary" / "tokenizer.json"
    assert train("text-tokenizer", [str(tmp_path / "a.txt"), "--out", str(out), "--vocab_size", "200"]) == 0
    assert "ids, written to" in capsys.readouterr().out
    assert len(Vocabulary(str(out))) <= 200

    config = tmp_path / "data.yaml"
    config.write_text(
        f"data:\n  class_path: text.files\n  init_args:\n    paths: {tmp_path / 'a.txt'}\n"
        f"    document: line\n    tokenizer: {out}\n"
    )
    assert data_of(str(config)).tokenizer == str(out)
    for kind in ("collocations", "pairs"):
        assert count("text-counts", [kind, str(config), str(tmp_path / f"{kind}.npz")]) == 0
        assert (tmp_path / f"{kind}.npz").is_file()
    assert "new york" in capsys.readouterr().out


def test_mistakes_on_the_command_line(tmp_path: Path) -> None:
    for command, words, told in (
        (train, ["nowhere.txt"], "`paths` must be files or folders, but there is no `nowhere.txt`"),
        (train, ["a", "--kind", "bp"], "`--kind` must be one of wordpiece, bpe, unigram, but is `bp`"),
        (train, ["a", "--vocab_size", "many"], "`--vocab_size` must be a whole number, but is `many`"),
        (count, ["triples", "a", "b"], "`kind` must be one of collocations, pairs, but is `triples`"),
        (count, ["pairs", "text/nothing", "b"], "There is no `text/nothing` among the recipes"),
    ):
        with pytest.raises(UserError, match=re.escape(told)):
            command("text-command", words)


def test_a_module_is_a_command() -> None:
    words = [sys.executable, "-m", "unmask_text.train_tokenizer", "--kind", "bp", "a"]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.strip().splitlines() == [
        "`--kind` must be one of wordpiece, bpe, unigram, but is `bp`; nearest: `bpe`."
    ]
