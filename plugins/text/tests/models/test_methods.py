"""Methods: their defaults, their shares of [MASK], random and kept tokens, and that they learn."""

import copy
from dataclasses import fields

import pytest
import torch
from scipy.stats import chisquare

from unmask import KEPT, RANDOM, TOKEN, Optimization, parameter_groups
from unmask_text.corruption import SWAPPED, VocabularyCorruption, shown_ids
from unmask_text.encoders import TransformersEncoder
from unmask_text.methods.bag_of_words import BagOfWords
from unmask_text.methods.electra import ELECTRA
from unmask_text.methods.mae_lm import MAELM
from unmask_text.methods.mdlm import MDLM
from unmask_text.methods.mlm import MLM
from unmask_text.methods.spanbert import SpanBERT

METHODS = {
    "mlm": MLM,
    "spanbert": SpanBERT,
    "electra": ELECTRA,
    "mae-lm": MAELM,
    "mdlm": MDLM,
    "bag-of-words": BagOfWords,
}


def make(name, settings, kind=None, **options):
    torch.manual_seed(0)
    return METHODS[name](
        encoder=TransformersEncoder(settings(kind or ("electra" if name == "electra" else "bert"))), **options
    )


def test_bert_shows_80_10_10(corrupted):
    """Of a million hidden tokens, by chi-square; random ids evenly over the vocabulary."""
    corruption = VocabularyCorruption(token=0.8, random=0.1, keep=0.1).of(50)
    hidden = torch.ones(1_000_000, dtype=torch.bool)
    mask = corrupted(corruption, hidden)
    counts = torch.stack([(mask.show == kind).sum() for kind in (TOKEN, RANDOM, KEPT)])
    assert counts.sum() == len(hidden)
    assert chisquare(counts.numpy(), [800_000, 100_000, 100_000]).pvalue > 1e-3
    ids = torch.full((1_000_000,), 49)
    shown = shown_ids(ids, mask, torch.tensor([0, len(ids)]), 4)
    assert (shown[mask.show == TOKEN] == 4).all() and (shown[mask.show == KEPT] == 49).all()
    drawn = shown[mask.show == RANDOM].bincount(minlength=50)
    assert chisquare(drawn.numpy()).pvalue > 1e-3


def test_visible_tokens_stay_whatever_the_lots_say(corrupted):
    hidden = torch.rand(10_000, generator=torch.Generator().manual_seed(1)) < 0.15
    ids = torch.arange(10_000)
    for shares in (
        {"token": 0.8, "random": 0.1, "keep": 0.1},
        {"random": 1},
        {"swap": 1},
        {"token": 0.3, "random": 0.3, "swap": 0.4},
    ):
        offsets = torch.tensor([0, 4_000, 10_000])
        mask = corrupted(VocabularyCorruption(**shares).of(10_000), hidden, offsets=offsets)
        shown = shown_ids(ids, mask, offsets, 4)
        assert torch.equal(shown[~hidden], ids[~hidden])
        for share, kind in (("token", TOKEN), ("random", RANDOM), ("swap", SWAPPED)):
            found = float((mask.show[hidden] == kind).float().mean())
            assert found == pytest.approx(shares.get(share, 0), abs=0.05)


@pytest.mark.parametrize("form", ["packed", "rows"])
def test_spans_are_shown_one_way(form, corrupted):
    hidden = torch.tensor([1, 1, 1, 0, 1, 1, 0, 0, 1, 0] * 2000, dtype=torch.bool)
    if form == "rows":
        hidden = hidden.view(-1, 10)
    corruption = VocabularyCorruption(token=0.8, random=0.1, keep=0.1, per_span=True).of(50)
    show = corrupted(corruption, hidden).show.view(-1, 10)
    for span in (show[:, 0:3], show[:, 4:6]):
        assert (span == span[:, :1]).all()
    ways = show[:, [0, 4, 8]].flatten()
    counts = torch.stack([(ways == kind).sum() for kind in (TOKEN, RANDOM, KEPT)])
    assert chisquare(counts.numpy(), [4800, 600, 600]).pvalue > 1e-3
    assert (show[:, 0] != show[:, 4]).any()


def test_a_span_ends_with_its_document(corrupted):
    """What is shown of a document is the same whatever stands before it."""
    corruption = VocabularyCorruption(token=0.5, keep=0.5, per_span=True)
    hidden = torch.ones(4_000, dtype=torch.bool)
    before = hidden.clone()
    before[1::2] = False
    offsets = torch.arange(0, 4_001, 2)
    show = corrupted(corruption, hidden, offsets=offsets).show
    assert torch.equal(show[::2], show[1::2])
    assert len(show.unique()) == 2
    assert torch.equal(show[::2], corrupted(corruption, before, offsets=offsets).show[::2])


def test_packed_and_padded_are_shown_alike(corrupted):
    hidden = torch.rand(6, 30, generator=torch.Generator().manual_seed(0)) < 0.5
    for shares in ({"token": 0.5, "random": 0.3, "keep": 0.2, "per_span": True}, {"swap": 1}):
        corruption = VocabularyCorruption(**shares).of(97)
        rows = corrupted(corruption, hidden)
        flat = corrupted(corruption, hidden.flatten(), offsets=torch.arange(7) * 30)
        assert torch.equal(rows.show[hidden], flat.show[hidden.flatten()])
        assert torch.equal(rows.donor[hidden], flat.donor[hidden.flatten()])


def test_special_tokens_may_be_spared(corrupted):
    corruption = VocabularyCorruption(random=1, vocab_size=20, first_id=5)
    mask = corrupted(corruption, torch.ones(5000, dtype=torch.bool))
    assert mask.donor.min() == 5 and mask.donor.max() == 19


def test_shares_that_make_no_sense_are_told(corrupted):
    with pytest.raises(ValueError, match="must sum to 1"):
        VocabularyCorruption(token=0.8, swap=0.1)
    with pytest.raises(ValueError, match="`swap`"):
        VocabularyCorruption(token=1, swap=-0.1)
    with pytest.raises(ValueError, match="`first_id`"):
        VocabularyCorruption(random=1, vocab_size=5, first_id=5)
    with pytest.raises(ValueError, match="`vocab_size`"):
        corrupted(VocabularyCorruption(random=1), torch.ones(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="`drop`"):
        VocabularyCorruption(drop=0.5, token=0.5)


@pytest.mark.parametrize("name", METHODS)
def test_every_weight_learns(name, settings, documents):
    """Gradients everywhere, and after some steps on one batch the loss has fallen by a third."""
    model = make(name, settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = documents()
    losses = []
    for number in range(60):
        optimizer.zero_grad()
        loss = model.step(batch, number % 4).loss
        loss.total.backward()
        if number == 0:
            assert all(p.grad is not None for p in model.parameters())
            for parameter_name, parameter in model.named_parameters():
                assert parameter.grad.abs().max() > 0 or "key.bias" in parameter_name, parameter_name
        optimizer.step()
        losses.append(loss.total.item())
    assert sum(losses[-4:]) < 0.67 * sum(losses[:4])


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_restores_all(name, settings, documents):
    model, other = make(name, settings), make(name, settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    other.load_state_dict(model.state_dict(), strict=True)
    twin = copy.deepcopy(other)
    first, second, third = (one.eval().step(documents(), 0).loss.total for one in (model, other, twin))
    assert torch.equal(first, second) and torch.equal(first, third)
    names = {id(parameter) for parameter in model.parameters()}
    assert len(names) == len(list(twin.parameters()))  # what is shared is shared in copies


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_step(name, settings, documents):
    model = make(name, settings).eval()
    first, again, other = (model.step(documents(), seed).loss.total for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_is_close(name, settings, documents):
    model = make(name, settings).eval()
    exact = model.step(documents(), 0).loss.total
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.step(documents(), 0).loss.total
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.03)


def test_electra_judges_every_token_and_nothing_else(settings, documents, dense):
    model = make("electra", settings).eval()
    batch = documents()
    step = model.step(batch, 0)
    assert step.prediction.values.shape == (75, 2) and step.target.shape == (75,)
    assert (step.target[~step.mask.hidden] == 0).all()
    rows = model.step(dense(batch), 0)
    assert rows.mask.asked.valid.sum() == 75
    assert (rows.loss.per_token[~rows.mask.asked.valid] == 0).all()


def test_no_gradient_passes_through_drawn_tokens(settings, documents):
    model = make("electra", settings)
    head = model.generator.predictor
    step = model.step(documents(), 0)
    (step.loss.total - model.loss(step.prediction, step.target).total).backward(retain_graph=False)
    mlm_only = head.dense.weight.grad.clone()
    model.zero_grad()
    model.step(documents(), 0).loss.total.backward()
    torch.testing.assert_close(head.dense.weight.grad, mlm_only)


def test_electra_adds_up_both_losses_by_their_weight(settings, documents):
    model = make("electra", settings, weight=7.0).eval()
    step = model.step(documents(), 0)
    judged = model.loss(step.prediction, step.target)
    torch.testing.assert_close(step.loss.total, step.terms["generator"] + 7 * judged.total)
    assert torch.equal(step.loss.per_token, judged.per_token)
    made = step.given.shown.made["guess_loss"]
    assert made.total.requires_grad
    assert torch.equal(made.total, step.terms["generator"])
    names = {name.partition(".")[0] for name in model.state_dict()}
    assert names == {"encoder", "predictor", "generator"}


def test_electra_draws_for_a_document_by_itself(settings, documents):
    """The same document in another batch is filled in with the same tokens."""
    model = make("electra", settings).eval()
    batch = documents() | {"index": torch.arange(5)}
    start, end = batch["offsets"][2:4].tolist()
    alone = {"ids": batch["ids"][start:end], "word": batch["word"][start:end], "index": torch.tensor([2])}
    alone["offsets"] = torch.tensor([0, end - start])
    whole, one = (model.step(given, 0).given.shown.tokens.values for given in (batch, alone))
    assert torch.equal(whole[start:end], one)


def test_electra_says_what_it_needs(settings):
    with pytest.raises(ValueError, match="model_type electra"):
        ELECTRA(encoder=TransformersEncoder(settings("bert")))
    for options, match in (({"weight": 0.0}, "`weight`"), ({"generator_ratio": 1.5}, "`generator_ratio`")):
        with pytest.raises(ValueError, match=match):
            make("electra", settings, **options)
    wide = TransformersEncoder(settings("electra", embedding_size=16))
    with pytest.raises(ValueError, match="`generator` must have embeddings"):
        make("electra", settings, generator=wide)


def test_mae_lm_encodes_visible_tokens_alone_and_where_they_stood(settings, documents):
    model = make("mae-lm", settings).eval()
    batch = documents()
    read = []
    model.encoder.model.register_forward_pre_hook(lambda m, x, k: read.append(k), with_kwargs=True)
    step = model.step(batch, 0)
    kept = ~step.mask.hidden
    assert step.latent.values.shape == (int(kept.sum()), 32)
    ids, positions = read[0]["input_ids"][0], read[0]["position_ids"][0]
    assert len(ids) == kept.sum() + 2 * 5 and not (ids == 4).any()
    place = torch.cat([torch.arange(length) for length in batch["offsets"].diff().tolist()])
    expected = sorted(zip(batch["ids"][kept].tolist(), (place[kept] + 1).tolist(), strict=True))
    special = (ids == 2) | (ids == 3)
    assert sorted(zip(ids[~special].tolist(), positions[~special].tolist(), strict=True)) == expected
    assert sorted(positions[ids == 3].tolist()) == sorted((batch["offsets"].diff() + 1).tolist())


def test_the_masked_decoder_tells_places_apart(settings, documents):
    """Hidden tokens of one document get different answers: the decoder knows where they are."""
    model = make("mae-lm", settings).eval()
    values = model.step(documents(), 0).prediction.values
    assert len(values.unique(dim=0)) == len(values)


@pytest.mark.parametrize("style", ["bert", "roberta", "modernbert", "electra", "deberta-v2"])
def test_styles_and_sizes(style, documents):
    model = MLM(style=style, size="tiny", vocab_size=97, max_length=32, dropout=0.0)
    assert model.encoder.width == 128 and model.encoder.num_layers == 2
    assert model.encoder.model.config.model_type == style
    assert torch.isfinite(model.step(documents(), 0).loss.total)  # 30 tokens and two
    dropping = MLM(style=style, size="tiny", vocab_size=97, max_length=32, dropout=0.5)
    rates = {module.p for module in dropping.encoder.modules() if isinstance(module, torch.nn.Dropout)}
    assert 0.5 in rates and rates <= {0.5, 0.0}


def test_values_out_of_range_are_told():
    for options, match in (
        ({"style": "gpt"}, "`style` must be one of"),
        ({"size": "giant"}, "`size` must be one of"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=match):
            MLM(**{"size": "tiny", "vocab_size": 97} | options)


def test_weight_decay_spares_what_it_should(settings):
    model = make("mlm", settings)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {group["decays"]: group["params"] for group in parameter_groups(model, 1e-3, 0.01)}
    kept, spared = ({names[id(parameter)] for parameter in groups[decays]} for decays in (True, False))
    assert kept | spared == set(names.values())
    assert {"encoder.model.embeddings.word_embeddings.weight", "predictor.dense.weight"} <= kept
    assert {"encoder.model.embeddings.position_embeddings.weight", "predictor.bias", "predictor.norm.weight"} <= spared


def test_defaults_are_the_papers():
    def default(method, name):
        return next(field.default for field in fields(method) if field.name == name)

    assert default(MLM, "mask").ratio == 0.15
    corruption = default(MLM, "corruption")
    assert (corruption.token, corruption.random, corruption.keep) == (0.8, 0.1, 0.1)
    assert default(SpanBERT, "corruption").per_span
    assert default(ELECTRA, "weight") == 50
    assert default(MAELM, "corruption").drop == 1
    assert default(MDLM, "corruption").token == 1
    assert isinstance(default(MLM, "optim"), Optimization)
