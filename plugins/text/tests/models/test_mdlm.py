"""Masked diffusion: the loss is the bound, worked out by hand; samplers converge to a known distribution."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from unmask import Sequence, Tokens
from unmask_text.corruption import VocabularyCorruption
from unmask_text.diffusion import DiffusionMask
from unmask_text.encoders import TransformersEncoder
from unmask_text.methods.mdlm import MDLM
from unmask_text.sampling import ancestral, first_hitting
from unmask_text.writing import denoiser, write

WORDS, LENGTH = 3, 3  # a language of three words (and [MASK], 3) in texts of three
TEXTS = torch.tensor(list(itertools.product(range(WORDS), repeat=LENGTH)))  # [27, 3]
MASK_ID = 3


@pytest.fixture(scope="module")
def language():
    """The probability of each text [27]: words depend strongly on each other."""
    weights = torch.rand(27, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 4
    return weights / weights.sum()


def oracle(language):
    """The exact posterior of each masked place, given what is known."""

    def denoise(ids, document, place):
        fits = ((ids[:, None] == TEXTS) | (ids[:, None] == MASK_ID)).all(-1)  # [B, 27]
        weights = (fits * language)[document]  # [M, 27]
        says = F.one_hot(TEXTS, WORDS + 1).double()[:, place].transpose(0, 1)  # [M, 27, 4]
        return torch.einsum("mt,mtv->mv", weights, says).log()

    return denoise


def distance(drawn, language):
    """Total variation between what was drawn and the language, and what chance alone gives at most."""
    codes = (drawn * torch.tensor([9, 3, 1])).sum(1)
    frequency = codes.bincount(minlength=27).double() / len(drawn)
    noise = (language * (1 - language) / len(drawn)).sqrt().sum().item() / 2
    return (frequency - language).abs().sum().item() / 2, noise


@pytest.mark.parametrize("sampler", ["first-hitting", "ancestral"])
def test_samplers_converge_to_the_language(sampler, language):
    generator = torch.Generator().manual_seed(0)
    start = torch.full((40_000, LENGTH), MASK_ID)

    def draw(effort):
        if sampler == "ancestral":
            return ancestral(oracle(language), start, MASK_ID, effort, generator=generator)
        return first_hitting(oracle(language), start, MASK_ID, at_once=effort, generator=generator)

    drawn = draw(100 if sampler == "ancestral" else 1)
    assert not (drawn == MASK_ID).any()
    far, noise = distance(drawn, language)
    assert far < 2 * noise + (0.01 if sampler == "ancestral" else 0)  # 1 in 100 steps fills two places at once
    # Everything at once takes words for independent: far off, so the test can fail.
    at_once, _ = distance(draw(1 if sampler == "ancestral" else 3), language)
    assert at_once > 0.2 > 10 * noise


def test_more_steps_come_closer(language):
    generator = torch.Generator().manual_seed(0)
    start = torch.full((40_000, LENGTH), MASK_ID)
    distances = [
        distance(ancestral(oracle(language), start, MASK_ID, steps, generator=generator), language)[0]
        for steps in (1, 4, 16, 64)
    ]
    assert distances == sorted(distances, reverse=True)


@pytest.mark.parametrize("sampler", [ancestral, first_hitting])
def test_infilling_keeps_what_is_given(sampler, language):
    """Texts with a word given are drawn from the language given that word."""
    start = torch.full((40_000, LENGTH), MASK_ID)
    start[:, 1] = 2
    drawn = sampler(oracle(language), start, MASK_ID, generator=torch.Generator().manual_seed(0), **steps_of(sampler))
    assert (drawn[:, 1] == 2).all()
    given = language * (TEXTS[:, 1] == 2)
    far, noise = distance(drawn, given / given.sum())
    assert far < 2 * noise + (0.01 if sampler is ancestral else 0)


def steps_of(sampler):
    return {"num_steps": 100} if sampler is ancestral else {}


def test_samplers_take_the_float64_noise_and_the_temperature(language):
    start = torch.full((2000, LENGTH), MASK_ID)
    cold = first_hitting(oracle(language), start, MASK_ID, temperature=1e-3, generator=torch.Generator().manual_seed(0))
    assert len(cold.unique(dim=0)) < len(
        first_hitting(oracle(language), start, MASK_ID, generator=torch.Generator().manual_seed(0)).unique(dim=0)
    )
    for wrong in ({"temperature": 0.0}, {"at_once": 0}):
        with pytest.raises(ValueError, match="must be"):
            first_hitting(oracle(language), start, MASK_ID, **wrong)
    with pytest.raises(ValueError, match="`num_steps`"):
        ancestral(oracle(language), start, MASK_ID, num_steps=0)


def test_ancestral_steps_keep_time():
    """After s of S steps, a share s / S of the places is filled: at time t, a share t is masked."""
    shares = []

    def watch(ids, document, place):
        shares.append((ids == MASK_ID).double().mean().item())
        return torch.zeros(len(place), WORDS + 1)

    ancestral(watch, torch.full((200, 100), MASK_ID), MASK_ID, 10, generator=torch.Generator().manual_seed(0))
    assert shares == pytest.approx([1 - step / 10 for step in range(10)], abs=0.02)


def tiny(settings, **options):
    torch.manual_seed(0)
    encoder = TransformersEncoder(settings("bert", vocab_size=8), cls_id=5, sep_id=6, mask_id=7)
    model = MDLM(encoder=encoder, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


class AllMasks(DiffusionMask):
    """One mask, at one time."""

    def __init__(self, hidden, time):
        super().__init__()
        self.hidden, self.time = hidden, time

    def forward(self, tokens, progress=None, generator=None):
        from unmask_text.heads.vocabulary import WeightedMask

        weight = torch.full(self.hidden.shape, 1 / (self.time * self.hidden.numel()))
        return WeightedMask(self.hidden, weight=weight)


def test_the_loss_is_the_bound_by_hand(settings):
    """For one text of three tokens, ``E_t [1 / t sum over hidden of -log p] / 3``: over all eight masks, with
    probability t^hidden (1 - t)^shown, the integral over t by hand is Beta(hidden, shown + 1)."""
    model = tiny(settings)
    ids = torch.tensor([1, 4, 2])
    offsets = torch.tensor([0, 3])
    bound = 0.0
    for bits in itertools.product([False, True], repeat=3):
        hidden = torch.tensor(bits)
        if not hidden.any():
            continue
        count = int(hidden.sum())
        read = torch.tensor([[5, *torch.where(hidden, 7, ids).tolist(), 6]])
        encoder = model.encoder.model
        encoder.set_attn_implementation("eager")
        codes = encoder(read, position_ids=torch.arange(5)[None]).last_hidden_state[0, 1:-1]
        encoder.set_attn_implementation("unmask_packed")
        head = model.predictor
        scores = head.norm(head.activation(head.dense(codes))) @ head.table.T + head.bias
        scores[:, 7] = float("-inf")  # [MASK] is no answer
        nll = -scores.log_softmax(-1)[torch.arange(3), ids].detach()
        beta = torch.exp(
            torch.lgamma(torch.tensor(float(count)))
            + torch.lgamma(torch.tensor(4.0 - count))
            - torch.lgamma(torch.tensor(4.0))
        )
        bound += float(beta * nll[hidden].sum() / 3)

        # The loss of the step with this mask, at a time of 0.25.
        model.mask = AllMasks(hidden, 0.25)
        step = model.step({"ids": ids, "word": torch.arange(3), "offsets": offsets})
        assert step.loss.total.item() == pytest.approx(float(nll[hidden].sum()) / 0.25 / 3, rel=1e-5)
        torch.testing.assert_close(step.loss.per_token, nll[hidden], rtol=1e-5, atol=1e-6)

    # And with masks as the method draws them, the mean over many is the bound.
    model.mask = DiffusionMask(shortest=1e-4)
    with torch.no_grad():
        copies = 20_000
        many = {
            "ids": ids.repeat(copies),
            "word": torch.arange(3).repeat(copies),
            "offsets": torch.arange(copies + 1) * 3,
        }
        loss = model.step(many, 0).loss.total
    assert float(loss) == pytest.approx(bound, rel=0.03)


def test_times_are_spread_evenly():
    sampler = DiffusionMask()
    times = sampler.times(64, torch.device("cpu"), torch.Generator().manual_seed(0)).sort().values
    steps = times.diff()
    torch.testing.assert_close(steps, torch.full((63,), (1 - 1e-3) / 64), rtol=1e-3, atol=1e-6)
    assert times[0] >= 1e-3 and times[-1] < 1
    with pytest.raises(ValueError, match="`shortest`"):
        DiffusionMask(shortest=0)


@pytest.mark.parametrize("form", ["packed", "padded"])
def test_the_mask_hides_a_share_t_and_weighs_by_its_inverse(form, documents, dense):
    batch = documents()
    repeated = {"ids": batch["ids"].repeat(200), "word": batch["word"].repeat(200)}
    lengths = batch["offsets"].diff().repeat(200)
    repeated["offsets"] = F.pad(lengths.cumsum(0), (1, 0))
    if form == "padded":
        repeated = dense(repeated)
    tokens = Tokens(repeated["ids"], Sequence(), valid=repeated.get("valid"), offsets=repeated.get("offsets"))
    mask = DiffusionMask()(tokens, None, torch.Generator().manual_seed(0))
    real = torch.ones_like(mask.hidden) if mask.valid is None else mask.valid
    assert not (mask.hidden & ~real).any()
    time = 1 / (mask.weight * real.sum())
    assert mask.hidden[real].float().mean() == pytest.approx(0.5, abs=0.01)
    early, late = time < 0.2, time > 0.8
    assert mask.hidden[real & early].float().mean() == pytest.approx(0.1, abs=0.02)
    assert mask.hidden[real & late].float().mean() == pytest.approx(0.9, abs=0.02)
    # Summed over hidden places, weights of any document's tokens are 1 in the mean over times.
    assert float((mask.weight * mask.hidden).sum()) == pytest.approx(1, abs=0.05)


def test_a_batch_without_anything_hidden_has_no_loss_and_no_gradient(settings):
    model = tiny(settings)
    model.mask = AllMasks(torch.zeros(3, dtype=torch.bool), 0.5)
    loss = model.step({"ids": torch.tensor([1, 4, 2]), "word": torch.arange(3), "offsets": torch.tensor([0, 3])}).loss
    loss.total.backward()
    assert loss.total == 0
    assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())


def test_the_trained_model_writes_what_it_learned(settings):
    """A few steps on texts of one pattern (1 2 1 2 ... or 3 4 3 4 ...), and it writes and completes that pattern."""
    model = tiny(settings, corruption=VocabularyCorruption(token=1)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    texts = torch.tensor([[1, 2] * 3, [3, 4] * 3]).repeat(8, 1)
    batch = {"ids": texts.flatten(), "word": torch.arange(6).repeat(16), "offsets": torch.arange(17) * 6}
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        model.step(batch, generator).loss.total.backward()
        optimizer.step()
    model.eval()
    known = {(1, 2) * 3, (3, 4) * 3}
    for sampler in ("first-hitting", "ancestral"):
        written = write(model, torch.full((200, 6), 7), sampler, num_steps=60)
        right = [tuple(row) in known for row in written.tolist()]
        assert sum(right) > 170, sampler
        firsts = written[:, 0].bincount(minlength=8)[[1, 3]]
        assert firsts.min() > 50, sampler  # both, about as often
    filled = write(model, torch.tensor([[7, 7, 3, 7, 7, 7]]))
    assert filled.tolist() == [[3, 4, 3, 4, 3, 4]]
    assert torch.equal(write(model, torch.full((5, 6), 7), seed=3), write(model, torch.full((5, 6), 7), seed=3))
    with pytest.raises(ValueError, match="`sampler`"):
        write(model, torch.full((1, 6), 7), sampler="greedy")


def test_only_a_model_with_a_vocabulary_head_writes(settings):
    from unmask_text.methods.mae_lm import MAELM

    with pytest.raises(ValueError, match="vocabulary head"):
        denoiser(MAELM(encoder=TransformersEncoder(settings("bert"))))
