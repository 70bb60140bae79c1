"""Decoding: known distributions, equal draws with samplers written out, and each order and schedule by hand."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from unmask import Linear
from unmask.decode import decode
from unmask.noise import Process

WORDS, LENGTH, MASK = 3, 3, 3  # a language of three words in texts of three; 3 stands for a hidden word
TEXTS = torch.tensor(list(itertools.product(range(WORDS), repeat=LENGTH)))  # [27, 3]


@pytest.fixture(scope="module")
def language():
    """The probability of each text [27]: words depend strongly on each other."""
    weights = torch.rand(27, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 4
    return weights / weights.sum()


def oracle(language):
    """The exact posterior of each hidden place, given what is known."""

    def score(ids, sample, place):
        fits = ((ids[:, None] == TEXTS) | (ids[:, None] == MASK)).all(-1)  # [B, 27]
        weights = (fits * language)[sample]  # [M, 27]
        says = F.one_hot(TEXTS, WORDS + 1).double()[:, place].transpose(0, 1)  # [M, 27, 4]
        return torch.einsum("mt,mtv->mv", weights, says).log()

    return score


def distance(drawn, language):
    """Total variation between what was drawn and the language, and what chance alone gives at most."""
    codes = (drawn * torch.tensor([9, 3, 1])).sum(1)
    frequency = codes.bincount(minlength=27).double() / len(drawn)
    noise = (language * (1 - language) / len(drawn)).sqrt().sum().item() / 2
    return (frequency - language).abs().sum().item() / 2, noise


def run(score, start, seed=0, **options):
    return decode(score, start, start == MASK, generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("order", ["random", "fixed", torch.tensor([2, 0, 1])])
def test_one_at_a_time_an_exact_model_gives_its_own_distribution(order, language):
    start = torch.full((40_000, LENGTH), MASK)
    drawn = run(oracle(language), start, schedule=1, order=order)
    assert not (drawn == MASK).any()
    far, noise = distance(drawn, language)
    assert far < 2 * noise
    at_once, _ = distance(run(oracle(language), start, schedule=3, order=order), language)
    assert at_once > 0.2 > 10 * noise  # all at once takes words for independent: the test can fail


@pytest.mark.parametrize("process", [Process(), Process("cosine"), Process("polynomial", eps=1e-4)])
def test_ancestral_sampling_converges(process, language):
    start = torch.full((20_000, LENGTH), MASK)
    distances = [
        distance(run(oracle(language), start, steps=steps, schedule=process, order="random"), language)
        for steps in (1, 4, 16, 100)
    ]
    assert [far for far, _ in distances] == sorted((far for far, _ in distances), reverse=True)
    assert distances[-1][0] < 2 * distances[-1][1] + 0.02


@pytest.mark.parametrize("schedule", [1, Process()])
def test_infilling_draws_from_what_is_left_of_the_language(schedule, language):
    start = torch.full((20_000, LENGTH), MASK)
    start[:, 1] = 2
    drawn = run(oracle(language), start, steps=100, schedule=schedule, order="random")
    assert (drawn[:, 1] == 2).all()
    given = language * (TEXTS[:, 1] == 2)
    far, noise = distance(drawn, given / given.sum())
    assert far < 2 * noise + 0.02


def written_out(score, ids, generator, falls):
    """A sampler of masked diffusion as it is written in papers: ``falls(step, masked, draw)`` says what is filled."""
    ids = ids.clone()
    for fall in falls:
        sample, place = fall(ids == MASK).nonzero(as_tuple=True)
        if not len(sample):
            continue
        scores = score(ids, sample, place).double()
        noise = torch.rand(scores.shape, generator=generator, dtype=torch.float64)
        ids[sample, place] = (scores - noise.clamp(min=1e-300).log().neg().log()).argmax(1)
    return ids


def test_ancestral_equals_the_written_out_sampler_for_equal_draws(language):
    """From t to s, each masked place is filled with probability (t - s) / t, which is 1 / step."""
    start, steps = torch.full((500, LENGTH), MASK), 10
    generator = torch.Generator().manual_seed(7)
    draw = lambda: torch.rand(start.shape, generator=generator, dtype=torch.float64)  # noqa: E731
    falls = ((lambda masked, step=step: masked & (draw() < 1 / step)) for step in range(steps, 0, -1))
    expected = written_out(oracle(language), start, generator, falls)
    assert torch.equal(run(oracle(language), start, 7, steps=steps, schedule=Process(), order="random"), expected)


@pytest.mark.parametrize("at_once", [1, 2])
def test_first_hitting_equals_the_written_out_sampler_for_equal_draws(at_once, language):
    start = torch.full((500, LENGTH), MASK)
    generator = torch.Generator().manual_seed(7)
    turn = torch.rand(start.shape, generator=generator, dtype=torch.float64).argsort(1).argsort(1)
    falls = (
        (lambda masked, step=step: masked & (turn >= step) & (turn < step + at_once))
        for step in range(0, LENGTH, at_once)
    )
    expected = written_out(oracle(language), start, generator, falls)
    assert torch.equal(run(oracle(language), start, 7, schedule=at_once, order="random"), expected)


def counts_of(start, **options):
    """How many places of each sample are filled after each step, with equal scores."""
    seen = []

    def score(ids, sample, place):
        seen.append((ids != MASK).sum(1))
        return torch.zeros(len(place), WORDS)

    drawn = run(score, start, **options)
    return torch.stack([*seen, (drawn != MASK).sum(1)], dim=1).diff(dim=1).tolist()


def test_counts_by_hand():
    """Cosine of 16 places in 4 steps: floor(16 cos(pi s / 8)) = 14, 11, 6 and 0 are left."""
    start = torch.full((1, 16), MASK)
    assert counts_of(start, steps=4, schedule="cosine") == [[2, 3, 5, 6]]
    assert counts_of(start, steps=4, schedule="linear") == [[4, 4, 4, 4]]
    assert counts_of(start, steps=16, schedule="linear") == [[1] * 16]
    assert counts_of(start, schedule=5) == [[5, 5, 5, 1]]
    # A step fills at least one, and the last one has something left.
    assert counts_of(torch.full((1, 4), MASK), steps=4, schedule="cosine", order="random") == [[1, 1, 1, 1]]
    assert counts_of(torch.full((1, 3), MASK), steps=8, schedule="linear") == [[1, 1, 1]]
    # Each sample has a count of its own, of its hidden places.
    start = torch.tensor([[MASK] * 8, [MASK] * 4 + [0] * 4])
    assert counts_of(start, steps=2, schedule="linear") == [[4, 4], [2, 2]]


def test_ancestral_steps_keep_time():
    """After s of S steps, a share s / S of the places is filled; also where the surest come first."""
    for order in ("random", "probability"):
        counts = torch.tensor(counts_of(torch.full((200, 100), MASK), steps=10, schedule=Process(), order=order))
        assert counts.double().mean(0).tolist() == pytest.approx([10] * 10, abs=0.6)


def first_filled(probabilities, order, **options):
    """Which places are filled in the first of the steps of one at a time."""
    seen = []

    def score(ids, sample, place):
        seen.append((ids != MASK)[0].nonzero()[:, 0].tolist())
        return torch.tensor(probabilities).log()[place]

    start = torch.full((1, len(probabilities)), MASK)
    run(score, start, schedule=1, order=order, temperature=1e-6, **options)
    return seen[1]


def test_orders_by_hand():
    """The likeliest values: 0.5, 0.6, 0.4; margins of the two best: 0.25, 0.2, 0.05."""
    probabilities = [[0.5, 0.25, 0.25], [0.6, 0.4, 0.0], [0.4, 0.35, 0.25]]
    assert first_filled(probabilities, "probability") == [1]
    assert first_filled(probabilities, "margin") == [0]
    assert first_filled(probabilities, "fixed") == [0]
    assert first_filled(probabilities, torch.tensor([[2.0, 1.0, 0.0]])) == [2]
    drawn = {first_filled(probabilities, "probability", choice_noise=100.0, seed=seed)[0] for seed in range(20)}
    assert drawn == {0, 1, 2}


def test_correction_writes_again_what_has_become_unlikely():
    """The model first wants 1 at both places; once it sees a 1 anywhere it knows that all should be 2."""
    wanted = []

    def score(ids, sample, place):
        wanted.append(sorted(zip(sample.tolist(), place.tolist(), strict=True)))
        knows = ((ids == 1) | (ids == 2)).any(1)[sample]
        naive, wise = torch.tensor([0.04, 0.9, 0.06]), torch.tensor([0.0001, 0.0001, 0.9998])
        return torch.where(knows[:, None], wise, naive).log()

    start = torch.tensor([[0, MASK, MASK, MASK]])
    kept = run(score, start, steps=3, schedule="linear", order="probability", temperature=1e-6)
    assert kept.tolist() == [[0, 1, 2, 2]]
    wanted.clear()
    assert run(score, start, steps=3, schedule="linear", order="correction", temperature=1e-6)[0, 0] == 0
    assert wanted == [[(0, 1), (0, 2), (0, 3)]] * 3  # judged again in every step; what was given, in none
    corrected = run(score, start, steps=6, schedule="cosine", order="correction", temperature=1e-6)
    assert (corrected == 1).sum() < (kept == 1).sum()


@pytest.mark.parametrize("order", ["random", "fixed", "probability", "margin", "correction"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", 2, Process("cosine")])
def test_what_is_given_stays_and_all_else_is_filled(order, schedule):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(WORDS, (50, 17), generator=generator)
    hidden = torch.rand(50, 17, generator=generator) < 0.6
    hidden[0], hidden[1] = True, False
    start = ids.masked_fill(hidden, MASK)
    table = torch.randn(17, WORDS, generator=generator)
    drawn = run(lambda ids, sample, place: table[place], start, steps=5, schedule=schedule, order=order)
    assert torch.equal(drawn[~hidden], ids[~hidden])
    assert (drawn < WORDS).all()
    assert torch.equal(start, ids.masked_fill(hidden, MASK))


def test_guidance_and_temperature_may_rise_and_fall():
    """(1 + w) s - w u, by hand; of w from 0 to 8 over two steps, the first has 0 and the second 4."""
    conditional, plain = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 1.5, 0.0])
    options = {"unconditional": lambda ids, sample, place: plain.expand(len(place), -1), "temperature": 1e-6}
    start = torch.full((1, 2), MASK)

    def drawn(guidance):
        score = lambda ids, sample, place: conditional.expand(len(place), -1)  # noqa: E731
        return run(score, start, schedule=1, order="fixed", guidance=guidance, **options)[0].tolist()

    assert drawn(0.0) == [1, 1]
    assert drawn(1.0) == [1, 1]  # 2 - 1.5 is 0.5 above the others
    assert 1 not in drawn(3.0)  # 4 - 4.5 is 0.5 below
    assert drawn(Linear(0.0, 8.0))[0] == 1
    assert drawn(Linear(0.0, 8.0))[1] != 1
    with pytest.raises(ValueError, match="`temperature` must be above 0, but is 0"):
        run(options["unconditional"], start, temperature=Linear(1.0, -1.0), schedule=1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"steps": 0}, "`steps` must be at least 1, but is 0"),
        ({"schedule": 0}, "`schedule` must fill at least 1 place at a time, but is 0"),
        ({"schedule": "sine"}, "`schedule` must be one of cosine, linear, a number or a process, but is 'sine'"),
        (
            {"order": "any"},
            "`order` must be one of random, fixed, probability, margin, correction or a tensor of turns",
        ),
        ({"choice_noise": -1.0}, "`choice_noise` must be at least 0, but is -1.0"),
        ({"temperature": 0.0}, "`temperature` must be above 0, but is 0"),
        ({"schedule": Process(), "grid": "odd"}, "`grid` must be one of even, cosine, but is 'odd'"),
    ],
)
def test_what_cannot_be_decoded_is_told(options, told):
    with pytest.raises(ValueError, match=told):
        run(lambda ids, sample, place: torch.zeros(len(place), 2), torch.full((1, 2), MASK), **options)
