"""Masks of words: the contract, whole words, span lengths, weights, salience, and counted ones by hand."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from unmask import Candidates, Draws, Grid, Linear, Progress, Sequence, Set, Tokens, num_to_hide, seeds
from unmask.testing import MaskContract
from unmask_text.counting import count_collocations, count_pairs
from unmask_text.data.cutting import build
from unmask_text.data.reading import Segment
from unmask_text.data.report import Report
from unmask_text.data.store import Store
from unmask_text.layout import Words
from unmask_text.masks import FunctionWordMask, InforMask, PMIMask, SalientMask, WholeWordMask, WordSpanMask
from unmask_text.masks.units import weighted, whole_units
from unmask_text.tokenizer_training import save_tokenizer, train_tokenizer
from unmask_text.vocabulary import vocabulary

PLAIN = [f"w{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
"""Words of a made-up language, each a token of its own."""


@cache
def plain_tokenizer() -> str:
    path = Path(mkdtemp()) / "tokenizer.json"
    save_tokenizer(train_tokenizer(lambda: [" ".join(PLAIN)] * 20, 500), path)
    assert all(len(vocabulary(str(path)).tokenizer.encode(word).ids) == 1 for word in PLAIN)
    return str(path)


def store_of(texts: list[str], tokenizer: str, limit: int = 126) -> Store:
    folder = Path(mkdtemp()) / "store"
    build(folder, [Segment(text, True) for text in texts], tokenizer, limit, Report())
    return Store(folder)


def encoded(texts: list[str], tokenizer: str) -> Tokens:
    """Packed tokens."""
    store = store_of(texts, tokenizer)
    samples = [store[i] for i in range(len(store))]
    offsets = torch.tensor([0] + [len(sample["ids"]) for sample in samples]).cumsum(0)
    word = torch.cat([sample["word"] for sample in samples])
    return Tokens(torch.cat([sample["ids"] for sample in samples]), Words(word, tokenizer), offsets=offsets)


def draw(mask: Any, tokens: Tokens, seed: int = 0, progress: Progress | None = None) -> Tensor:
    return mask(tokens, progress, streams(tokens.num_samples, seed)).hidden


def streams(num_samples: int, seed: int = 0) -> Draws:
    return Draws.of(seeds.mix("test", seed), torch.arange(num_samples))


def random_tokens(num_documents: int, seed: int = 0, longest: int = 60) -> Tokens:
    """Packed documents of words of 1 to 5 tokens."""
    rng = random.Random(seed)
    words, lengths = [], []
    for _ in range(num_documents):
        sizes = [rng.randint(1, 5) for _ in range(rng.randint(2, longest))]
        words += [number for number, size in enumerate(sizes) for _ in range(size)]
        lengths.append(sum(sizes))
    ids = torch.randint(5, 69, (len(words),), generator=torch.Generator().manual_seed(seed))
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return Tokens(ids, Words(torch.tensor(words), plain_tokenizer()), offsets=offsets)


class WordsContract(MaskContract):
    """Words of two tokens each, so that all documents of a length hide as many."""

    layouts = [Words(torch.zeros(2, 1, dtype=torch.long))]
    refused = [Set(), Sequence(), Grid((6, 8))]
    overrides = {"test_draws_from_the_samples_own_streams_alone": "a sample's word numbers are cut out with it"}

    def test_draws_from_the_samples_own_streams_alone(self) -> None:
        sampler, before = self.make(), torch.get_rng_state()
        tokens = self._dense(self.layouts[0], 16)
        whole = draw(sampler, tokens)
        layout = Words(tokens.layout.number[4:7], tokens.layout.vocabulary)
        part = sampler(Tokens(tokens.values[4:7], layout), Progress(), streams(16)[4:7])
        assert torch.equal(part.hidden, whole[4:7])
        assert torch.equal(before, torch.get_rng_state())

    def expected(self, sampler, num_tokens, layout, progress) -> int:
        count = super().expected(sampler, num_tokens, layout, progress)
        return max(count // 2 * 2, 2)

    def _dense(self, layout, batch) -> Tokens:
        if not isinstance(layout, Words):
            return super()._dense(layout, batch)
        number = (torch.arange(self.num_tokens) // 2).expand(batch, -1)
        ids = torch.randint(5, 69, number.shape, generator=torch.Generator().manual_seed(0))
        return Tokens(ids, Words(number, plain_tokenizer()))

    def _padded(self, layout) -> Tokens:
        tokens = self._dense(layout, 4)
        lengths = torch.tensor([48, 36, 24, 12])
        return Tokens(tokens.values, tokens.layout, valid=torch.arange(48) < lengths[:, None])

    @staticmethod
    def _packed(dense) -> Tokens:
        packed = MaskContract._packed(dense)
        return Tokens(packed.values, Words(dense.layout.number[dense.valid], plain_tokenizer()), offsets=packed.offsets)


class TestWholeWord(WordsContract):
    def make(self, **options):
        return WholeWordMask(**options)


class TestWordSpan(WordsContract):
    overrides = {"test_other_layouts_are_refused": "a sequence is refused for its unit, not for its layout"}

    def make(self, **options):
        return WordSpanMask(**options)

    def test_other_layouts_are_refused(self) -> None:
        for layout in (Set(), Grid((6, 8))):
            with pytest.raises(ValueError, match=type(layout).__name__):
                self._draw(self.make(), self._dense(layout, 2))
        with pytest.raises(ValueError, match="`unit` must be 'token' for tokens on a Sequence"):
            self._draw(self.make(), self._dense(Sequence(), 2))


class TestTokenSpan(MaskContract):
    layouts = [Sequence()]
    refused = [Set(), Grid((6, 8))]

    def make(self, **options):
        return WordSpanMask(unit="token", **options)


class TestFunctionWords(WordsContract):
    def make(self, **options):
        return FunctionWordMask(words=PLAIN[:8], **options)


class TestSalient(WordsContract):
    def make(self, **options):
        return SalientMask(scorer=lambda words: [len(word) % 3 for word in words], **options)


class TestPMI(WordsContract):
    def make(self, **options):
        return PMIMask(str(tiny_collocations()), **options)


class TestInforMask(WordsContract):
    def make(self, **options):
        return InforMask(str(tiny_pairs()), num_candidates=4, **options)


@cache
def tiny_collocations() -> Path:
    path = Path(mkdtemp()) / "collocations.npz"
    count_collocations(store_of(["waa wab " * 12], plain_tokenizer()), plain_tokenizer(), path, size=4, longest=2)
    return path


@cache
def tiny_pairs() -> Path:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(PLAIN, k=40)) for _ in range(50)]
    path = Path(mkdtemp()) / "pairs.npz"
    count_pairs(store_of(texts, plain_tokenizer()), plain_tokenizer(), path, window=5, least=2)
    return path


def all_masks() -> list[Any]:
    return [
        WholeWordMask(0.3), WordSpanMask(0.3), FunctionWordMask(0.3, 0.2), SalientMask(0.3, pattern="w[ab]"),
        PMIMask(str(tiny_collocations()), 0.3), InforMask(str(tiny_pairs()), 0.3, num_candidates=3),
    ]  # fmt: skip


@pytest.mark.parametrize("mask", all_masks(), ids=lambda mask: type(mask).__name__)
def test_whole_words_are_never_split(mask) -> None:
    tokens = random_tokens(400)
    hidden = draw(mask, tokens)
    document = torch.arange(400).repeat_interleave(tokens.offsets.diff())
    _, word = torch.stack([document, tokens.layout.number]).unique(dim=1, return_inverse=True)
    share = torch.zeros(int(word.max()) + 1).index_add(0, word, hidden.float()) / torch.bincount(word)
    assert set(share.tolist()) == {0.0, 1.0}
    for number, length in enumerate(tokens.offsets.diff().tolist()):
        here = hidden[document == number]
        assert 0 < here.sum() < length
    total = sum(num_to_hide(length, 0.3) for length in tokens.offsets.diff().tolist())
    assert 0.85 * total < hidden.sum() <= 1.01 * total


def test_a_document_of_one_word_is_refused() -> None:
    tokens = Tokens(torch.arange(5)[None], Words(torch.zeros(1, 5, dtype=torch.long)))
    with pytest.raises(ValueError, match="at least 2 words to hide one, but has 1"):
        draw(WholeWordMask(), tokens)


def test_words_are_drawn_evenly() -> None:
    number = torch.arange(40).repeat_interleave(2).expand(4000, -1)
    hidden = draw(WholeWordMask(0.25), Tokens(torch.zeros_like(number), Words(number)))
    times = hidden[:, ::2].sum(0).numpy()
    assert times.sum() == 4000 * 10
    assert chisquare(times).pvalue > 1e-3


def test_span_lengths_are_those_of_the_paper() -> None:
    mask = WordSpanMask()
    lengths = mask._lengths(torch.rand(200_000, generator=torch.Generator().manual_seed(0)), 10)
    law = 0.2 * 0.8 ** np.arange(10)
    law /= law.sum()
    assert math.isclose((law * np.arange(1, 11)).sum(), 3.797, abs_tol=1e-3)  # the paper's 3.8
    counts = np.bincount(lengths.numpy(), minlength=11)
    assert counts[0] == 0
    assert chisquare(counts[1:], law * 200_000).pvalue > 1e-3


def test_spans_in_a_text_have_the_papers_mean_length_in_words() -> None:
    """Words of three tokens; so few are hidden that spans rarely touch."""
    number = (torch.arange(15_000) // 3).expand(40, -1)
    tokens = Tokens(torch.zeros_like(number), Words(number))
    runs = []
    for seed in range(4):
        words = draw(WordSpanMask(0.02), tokens, seed)[:, ::3].int()  # [40, 5000]
        edges = torch.nn.functional.pad(words, (1, 1)).diff(dim=1)
        runs += ((edges == -1).nonzero()[:, 1] - (edges == 1).nonzero()[:, 1]).tolist()
    assert len(runs) > 3000
    assert abs(np.mean(runs) - 3.797) < 0.2
    assert max(Counter(runs), key=Counter(runs).__getitem__) == 1


def test_spans_start_evenly() -> None:
    number = torch.arange(30).expand(20_000, -1)
    hidden = draw(WordSpanMask(2 / 30, length=2, geometric=None), Tokens(torch.zeros_like(number), Words(number)))
    starts = hidden.int().argmax(1)
    assert (hidden.sum(1) == 2).all()
    assert chisquare(torch.bincount(starts, minlength=29).numpy()[:29]).pvalue > 1e-3


def test_weighted_draws_follow_their_weights() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0, 0.0]).expand(80_000, -1)
    first = weighted(weights, streams(80_000)).argmin(1)
    counts = torch.bincount(first, minlength=4)
    assert counts[3] == 0
    assert chisquare(counts[:3].numpy(), np.array([1, 2, 5]) * 10_000).pvalue > 1e-3
    assert (weighted(weights, Draws.fresh(80_000)).argmax(1) == 3).all()


def test_function_words_come_later(tokenizer_file) -> None:
    texts = ["The quick brown fox and the lazy dog is of the large city in New York."] * 200
    tokens = encoded(texts, tokenizer_file)
    named = vocabulary(tokenizer_file)
    function = torch.tensor([named.piece(id)[0] in ("the", "and", "is", "of", "in") for id in tokens.values.tolist()])
    mask = FunctionWordMask(0.3, Linear(0.0, 1.0))
    early, late = (
        draw(mask, tokens, progress=Progress(step=step, total_steps=10))[function].float().mean() for step in (0, 10)
    )
    assert early < 0.02  # where no other word fits
    assert 0.15 < late < 0.45
    with pytest.raises(ValueError, match="`weight` must be at least 0, but is -1"):
        FunctionWordMask(weight=-1)


def test_ratio_may_be_scheduled_too() -> None:
    tokens = random_tokens(100)
    mask = WholeWordMask(Linear(0.3, 0.15))
    early, late = (draw(mask, tokens, progress=Progress(step=step, total_steps=10)).float().mean() for step in (0, 10))
    assert 0.25 < early <= 0.31
    assert 0.12 < late <= 0.16


def test_a_pattern_is_hidden_first_and_as_a_whole(tokenizer_file) -> None:
    tokens = encoded(["She was there in 1984 or in 1985, in New York, they said and went away."], tokenizer_file)
    named = vocabulary(tokenizer_file)
    texts = np.array([named.piece(id)[0] for id in tokens.values.tolist()])
    number = tokens.layout.number
    for seed in range(5):
        hidden = draw(SalientMask(0.4, pattern=r"\d{4}"), tokens, seed)
        words = ["".join(texts[number == n]) for n in number[hidden].unique().tolist()]
        assert {"1984", "1985"} <= set(words)
    name = torch.from_numpy(np.isin(texts, ["new", "york"]))
    for seed in range(5):
        assert draw(SalientMask(0.2, pattern="new york"), tokens, seed)[name].all()


def test_a_scorer_gives_the_weights() -> None:
    tokens = encoded([" ".join(PLAIN[:20])] * 300, plain_tokenizer())
    mask = SalientMask(0.05, scorer=lambda words: [1.0 if word == PLAIN[3] else 0.0 for word in words])
    hidden = draw(mask, tokens).view(300, 20)
    assert hidden.sum(1).tolist() == [1] * 300
    assert hidden[:, 3].all()
    wrong = SalientMask(scorer=lambda words: [1.0])
    with pytest.raises(ValueError, match=r"`scorer` must give 20 scores of at least 0, but gave \[1.0\]"):
        draw(wrong, tokens)
    for options in ({}, {"pattern": "a", "scorer": len}):
        with pytest.raises(ValueError, match="`pattern` or `scorer` must be given, and not both"):
            SalientMask(**options)
    with pytest.raises(ValueError, match="`pattern` must be a regular expression, but is '\\('"):
        SalientMask(pattern="(")


def test_pmi_ranks_by_hand(tmp_path: Path) -> None:
    """24 words, 18 pairs: p(waa) = 6/24, p(wab) = 6/24, p(wac) = 3/24, p(wad) = 3/24, p(wae) = 6/24.

    waa wab x 6 of 18 pairs: log((6/18) / (1/16)) = log(16/3); wac wad x 3: log((3/18) / (1/64)) = log(32/3);
    wab wac x 3: log((3/18) / (1/32)) = log(16/3); wab wae and wae wae x 3: log((3/18) / (1/16)) = log(8/3).
    """
    texts = ["waa wab wac wad"] * 3 + ["waa wab wae wae"] * 3
    store = store_of(texts, plain_tokenizer())
    about = count_collocations(store, plain_tokenizer(), tmp_path / "c.npz", least=3, size=10, longest=2)
    with np.load(tmp_path / "c.npz") as file:
        pmi = sorted(file["pmi2"].tolist(), reverse=True)
    # waa wab 6, wab wac 3, wac wad 3, wab wae 3, wae wae 3
    expected = [
        math.log((3 / 18) / (3 / 24 * 3 / 24)),  # wac wad
        math.log((6 / 18) / (6 / 24 * 6 / 24)),  # waa wab
        math.log((3 / 18) / (6 / 24 * 3 / 24)),  # wab wac
        math.log((3 / 18) / (6 / 24 * 6 / 24)),  # wab wae
        math.log((3 / 18) / (6 / 24 * 6 / 24)),  # wae wae
    ]
    assert about["examples"]["2"][0] == "wac wad"
    assert set(about["examples"]["2"][1:3]) == {"waa wab", "wab wac"}  # log(16/3) both
    np.testing.assert_allclose(pmi, expected, rtol=1e-6)


@pytest.mark.parametrize("limit", [4_000_000, 200])
def test_pmi_of_longer_ngrams_counts_every_segmentation(tmp_path: Path, limit: int) -> None:
    """Against a slow and independent count; with a small ``limit``, by way of the disk."""
    rng = random.Random(1)
    texts = [" ".join(rng.choices(PLAIN[:6], weights=range(1, 7), k=rng.randint(3, 60))) for _ in range(120)]
    store = store_of(texts, plain_tokenizer())
    count_collocations(store, plain_tokenizer(), tmp_path / "c.npz", least=4, size=100_000, limit=limit)

    grams: dict[int, Counter[tuple[str, ...]]] = {n: Counter() for n in range(1, 6)}
    for words in (text.split() for text in texts):
        for n, count in grams.items():
            count.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    p = {gram: count / sum(grams[n].values()) for n in grams for gram, count in grams[n].items()}

    def pmi(gram: tuple[str, ...]) -> float:
        ways = []
        for cuts in range(1, len(gram)):
            for places in combinations(range(1, len(gram)), cuts):
                bounds = [0, *places, len(gram)]
                ways.append(sum(math.log(p[gram[a:b]]) for a, b in pairwise(bounds)))
        return math.log(p[gram]) - max(ways)

    with np.load(tmp_path / "c.npz") as file:
        for n in range(2, 6):
            expected = sorted(pmi(gram) for gram, count in grams[n].items() if count >= 4)
            assert len(expected) > 20
            np.testing.assert_allclose(sorted(file[f"pmi{n}"].tolist()), expected, rtol=1e-5)


def test_collocations_are_units_and_the_longest_counts(tmp_path: Path) -> None:
    texts = ["waa wab wac"] * 12 + ["wad wae"] * 12 + ["wba wbb wbc wbd"] * 3
    store = store_of(texts, plain_tokenizer())
    count_collocations(store, plain_tokenizer(), tmp_path / "c.npz", least=5, size=100)
    mask = PMIMask(str(tmp_path / "c.npz"), 0.4)
    tokens = encoded(["wba waa wab wac wbb wad wae waa wab wbc", "waa wab wac"], plain_tokenizer())
    for seed in range(30):
        long, short = draw(mask, tokens, seed).tolist()[:10], draw(mask, tokens, seed).tolist()[10:]
        units = [long[:1], long[1:4], long[4:5], long[5:7], long[7:9], long[9:]]
        assert all(len(set(unit)) == 1 for unit in units)
        assert sum(long) <= 4
        assert 0 < sum(short) < 3  # one collocation from end to end is taken word by word


def test_counts_of_another_vocabulary_are_refused(tokenizer_file, tmp_path: Path) -> None:
    tokens = encoded(["The city of New York"], tokenizer_file)
    for mask in (PMIMask(str(tiny_collocations())), InforMask(str(tiny_pairs()))):
        with pytest.raises(ValueError, match="`counts` must be counted with the data's vocabulary"):
            draw(mask, tokens)
    with pytest.raises(ValueError, match=r"holds pairs; `python -m unmask_text\.counting collocations` writes one"):
        PMIMask(str(tiny_pairs()))
    (tmp_path / "cut.npz").write_bytes(tiny_pairs().read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read as one"):
        InforMask(str(tmp_path / "cut.npz"))
    with pytest.raises(ValueError, match="there is none at"):
        InforMask(str(tmp_path / "none.npz"))


def test_coverage_chooses_the_size(tmp_path: Path) -> None:
    rng = random.Random(2)
    texts = [" ".join(rng.choices(PLAIN[:12], weights=range(1, 13), k=40)) for _ in range(200)]
    store = store_of(texts, plain_tokenizer())
    sizes = [
        sum(count_collocations(store, plain_tokenizer(), tmp_path / "c.npz", coverage=share)["sizes"].values())
        for share in (0.1, 0.5, 1.0)
    ]
    assert 0 < sizes[0] < sizes[1] < sizes[2]


def test_pairs_by_hand(tmp_path: Path) -> None:
    """waa wab waa: window 1 gives the pair (waa, wab) twice; window 2 also (waa, waa) once."""
    tokenizer = plain_tokenizer()
    named = vocabulary(tokenizer)
    a, b = (named.tokenizer.encode(word).ids[0] for word in ("waa", "wab"))
    about = count_pairs(store_of(["waa wab waa"], tokenizer), tokenizer, tmp_path / "p.npz", window=2, least=1)
    with np.load(tmp_path / "p.npz") as file:
        pmi = dict(zip(file["pairs"].tolist(), file["pmi"].tolist(), strict=True))
        assert json.loads(str(file["about"]))["window"] == 2
    # places in pairs: waa 4 of 6, wab 2 of 6
    assert about["num_counted"] == 3
    assert pmi[min(a, b) * len(named) + max(a, b)] == pytest.approx(math.log((2 / 3) / (2 * 4 / 6 * 2 / 6)), rel=1e-6)
    assert pmi[a * len(named) + a] == pytest.approx(math.log((1 / 3) / (4 / 6 * 4 / 6)), rel=1e-6)


def test_informask_keeps_the_most_relevant_candidate() -> None:
    mask = InforMask(str(tiny_pairs()), 0.2, num_candidates=5)
    tokens = random_tokens(200)
    valid = torch.arange(int(tokens.offsets.diff().max())) < tokens.offsets.diff()[:, None]
    ids = torch.zeros(valid.shape, dtype=torch.long).masked_scatter(valid, tokens.values)
    pmi = dict(zip(mask.pairs.tolist(), mask.pmi.tolist(), strict=True))

    def relevance(hidden: list[bool], row: list[int], length: int) -> float:
        return sum(
            pmi.get(min(row[i], row[j]) * mask.num_ids + max(row[i], row[j]), 0.0)
            for i in range(length)
            for j in range(i + 1, min(i + 6, length))
            if hidden[i] != hidden[j]
        )

    candidates = torch.stack([draw(WholeWordMask(0.2), tokens, seed) for seed in range(5)])
    dense = torch.zeros(5, *valid.shape, dtype=torch.bool).masked_scatter(valid.expand(5, -1, -1), candidates)
    scores = mask.relevance(dense, ids, valid)
    for c in range(5):
        for b in range(20):
            slow = relevance(dense[c, b].tolist(), ids[b].tolist(), int(valid[b].sum()))
            assert scores[c, b].item() == pytest.approx(slow, abs=1e-4)

    # Of its own candidates, drawn again from the same streams, the mask keeps the best.
    counts = torch.tensor([num_to_hide(length, 0.2) for length in tokens.offsets.diff().tolist()])
    units = mask.units(Candidates(tokens, valid, counts), streams(200))
    own = whole_units(*units, counts.repeat(5), valid.repeat(5, 1)).view(5, *valid.shape)
    chosen = torch.zeros(valid.shape, dtype=torch.bool).masked_scatter(valid, draw(mask, tokens))
    scores = mask.relevance(torch.stack([chosen, *own]), ids, valid)
    assert torch.equal(scores[0], scores[1:].amax(0))
    assert len(own.unique(dim=0)) == 5
    assert (scores[0] > scores[1:].mean(0)).float().mean() > 0.8
