"""Loss and gradients equal those of transformers' Wav2Vec2ForPreTraining at the same weights, masks and negatives."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from unmask import Corruption, Places, Progress
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.exchange import to_transformers
from unmask_audio.methods.wav2vec2 import Wav2Vec2
from unmask_audio.speech import WaveTokenizer
from unmask_audio.speech.contrast import ContrastiveLoss
from unmask_audio.speech.quantizer import GumbelQuantizer
from unmask_audio.speech.schedule import Exponential

SIZES = {"num_codebooks": 2, "num_entries": 5, "codebook_width": 12, "target_width": 10}
TEMPERATURE = 0.8


def pair(settings, shake, given_mask, hidden, norm="layer", kind="wav2vec2", **options):
    """Our model and theirs, with the same weights."""
    torch.manual_seed(0)
    encoder = SpeechEncoder(settings(kind, norm), stem_gradient=1)
    ours = Wav2Vec2(
        encoder=encoder,
        mask=given_mask(hidden),
        temperature=TEMPERATURE,
        loss=ContrastiveLoss(num_negatives=7),
        tokenizer=WaveTokenizer(normalize=False),
        **SIZES,
        **options,
    )
    shake(ours)
    config = Wav2Vec2Config(
        **{name: value for name, value in settings(kind, norm).items() if name != "model_type"},
        num_codevector_groups=2, num_codevectors_per_group=5, codevector_dim=12, proj_codevector_dim=10,
    )  # fmt: skip
    theirs = Wav2Vec2ForPreTraining(config)
    theirs.load_state_dict(to_transformers(ours), strict=True)
    theirs.set_gumbel_temperature(TEMPERATURE)
    return ours, theirs


def their_negatives(step, ours, generator):
    """What the step has drawn, drawn again, as places of the flattened batch."""
    asked = step.mask.asked
    drawn = ours.loss.draw(asked.index.shape, asked.valid, generator)  # [B, M, K]
    num_places = step.mask.hidden.shape[1]
    table = torch.zeros(*step.mask.hidden.shape, drawn.shape[-1], dtype=torch.long)
    for row in range(len(drawn)):
        for answer, place in enumerate(asked.index[row].tolist()):
            if asked.valid is None or asked.valid[row, answer]:
                table[row, place] = asked.index[row, drawn[row, answer]] + row * num_places
    return table


@pytest.mark.parametrize("ragged", [False, True], ids=["alike", "padded"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_loss_and_gradients_equal_transformers(
    training, ragged, settings, clips, some_hidden, given_mask, shake, monkeypatch
):
    """In training, noise is switched off for both: its waiting times are all 1."""
    ours, theirs = pair(settings, shake, given_mask, some_hidden, feature_penalty=0.0)
    ours.train(training), theirs.train(training)
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self, *args, **kwargs: self.fill_(1.0))
    batch = clips(ragged)
    step = ours.step(batch, 1)
    hidden = step.mask.hidden
    num_hidden = int(hidden.sum())

    attention = None
    if ragged:
        attention = (torch.arange(batch["wave"].shape[1]) < batch["length"][:, None]).long()
    negatives = their_negatives(step, ours, torch.Generator().manual_seed(1))
    output = theirs(
        batch["wave"], attention_mask=attention, mask_time_indices=hidden, sampled_negative_indices=negatives
    )
    torch.testing.assert_close(step.loss.total * num_hidden, output.loss, rtol=1e-4, atol=0)
    torch.testing.assert_close(step.loss.per_token.sum(), output.contrastive_loss.detach(), rtol=1e-4, atol=0)

    step.loss.total.backward()
    (output.loss / num_hidden).backward()
    mapped = to_transformers(ours, {name: p.grad for name, p in ours.named_parameters()})
    compared = 0
    for name, parameter in theirs.named_parameters():
        if parameter.grad is None:
            assert mapped[name] is None, name
            continue
        scale = float(parameter.grad.abs().max())
        torch.testing.assert_close(
            mapped[name], parameter.grad, rtol=1e-3, atol=1e-4 * scale + 1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )
        compared += 1
    assert compared > 60
    quantizer = theirs.quantizer
    assert (quantizer.weight_proj.weight.grad is not None) == training
    assert float(quantizer.codevectors.grad.abs().max()) > 0


def test_the_papers_stem_is_the_same_where_nothing_is_padded(settings, clips, some_hidden, given_mask, shake):
    ours, theirs = pair(settings, shake, given_mask, some_hidden, norm="group", feature_penalty=0.0)
    ours.eval(), theirs.eval()
    with torch.no_grad():
        step = ours.step(clips(ragged=False), 1)
        output = theirs(
            clips(ragged=False)["wave"],
            mask_time_indices=step.mask.hidden,
            sampled_negative_indices=their_negatives(step, ours, torch.Generator().manual_seed(1)),
        )
    torch.testing.assert_close(step.loss.total * step.mask.hidden.sum(), output.loss, rtol=1e-4, atol=0)


def test_features_are_kept_small(settings, clips, some_hidden, given_mask, shake):
    """The mean square over real frames, ten times; padding is of no account."""
    plain, _ = pair(settings, shake, given_mask, some_hidden, feature_penalty=0.0)
    kept, _ = pair(settings, shake, given_mask, some_hidden)
    batch = clips()
    with torch.no_grad():
        first, second = (model.eval().step(batch, 1) for model in (plain, kept))
        features = kept.encoder.features(first.tokens)[first.tokens.valid]
    torch.testing.assert_close(
        second.loss.total - first.loss.total, 10 * features.square().mean(), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("kind", ["hubert", "wavlm"])
def test_other_encoders_take_its_place(kind, settings, clips, given_mask, some_hidden):
    model = Wav2Vec2(encoder=SpeechEncoder(settings(kind)), mask=given_mask(some_hidden), **SIZES).train()
    loss = model.step(clips(), 1).loss.total
    loss.backward()
    assert bool(loss.isfinite())
    untrained = [name for name, p in model.named_parameters() if p.grad is None]
    assert untrained == []


def test_negatives_are_evenly_drawn_from_the_other_places():
    loss = ContrastiveLoss(num_negatives=4000)
    valid = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]).bool()
    drawn = loss.draw((3, 6), valid, torch.Generator().manual_seed(0))
    for row, count in ((0, 6), (1, 3)):
        for place in range(count):
            found = torch.bincount(drawn[row, place], minlength=6)
            assert found[place] == 0
            assert found[count:].sum() == 0
            others = found[:count][torch.arange(count) != place]
            assert chisquare(others.numpy()).pvalue > 1e-4
    assert (drawn[2, 0] == 0).all()  # there is no other
    same = ContrastiveLoss(num_negatives=5)
    prediction, target = torch.randn(1, 1, 8), torch.randn(1, 1, 8)
    assert same.per_token(prediction, target, None).item() == 0  # and so nothing to tell apart


def test_a_negative_that_is_the_answer_is_left_out():
    loss = ContrastiveLoss(num_negatives=2, temperature=0.5)
    target = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    prediction = torch.tensor([[[0.6, 0.8], [1.0, 0.0], [0.0, -2.0]]])
    negatives = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    found = loss.against(prediction, target, torch.tensor([[4, 9, 4]]), negatives)
    e = torch.exp
    own, other = e(torch.tensor([1.2, 0.0, 0.0])), e(torch.tensor([1.6, 2.0, -2.0]))
    counts = torch.tensor([1, 2, 1])  # of the other's target among the negatives, without one's own
    torch.testing.assert_close(found[0], -(own / (own + counts * other)).log())
    assert torch.equal(loss.against(prediction, target, torch.tensor([[7, 7, 7]]), negatives), torch.zeros(1, 3))


def test_the_quantiser_takes_entries_and_counts_their_use():
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(6, 2, 4, 10).eval()
    features = torch.randn(2, 5, 6)
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    values, ids, perplexity = quantizer(features, valid)
    scores = quantizer.score(features).view(2, 5, 2, 4)
    expected = 0.0
    for book in range(2):
        best = scores[:, :, book].argmax(-1)
        assert torch.equal(values[..., 5 * book : 5 * book + 5], quantizer.entries[book][best])
        use = torch.bincount(best[valid], minlength=4) / 7
        expected += torch.exp(-(use * use.clamp(min=1e-9).log()).sum())
    torch.testing.assert_close(perplexity, expected)
    same = (values[:, :, None] == values[:, None]).all(-1)
    assert torch.equal(ids[:, :, None] == ids[:, None], same)

    # In training, an entry comes as often as Gumbel's noise says: by the softmax of the scores.
    quantizer.train()
    many = features[:1, :1].expand(1, 8000, -1)
    drawn = quantizer(many, generator=torch.Generator().manual_seed(0))
    found = torch.bincount(drawn.ids[0] % 4, minlength=4)
    chances = scores[0, 0, 0].softmax(-1).detach().double()
    assert chisquare(found.numpy(), (chances / chances.sum() * 8000).numpy()).pvalue > 1e-4
    again = quantizer(many, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn.ids, again.ids)
    torch.testing.assert_close(drawn.perplexity, torch.special.entr(scores[0, 0].softmax(-1)).sum(-1).exp().sum())


def test_only_what_is_hidden_is_quantised(settings, clips, some_hidden, given_mask, shake):
    ours, _ = pair(settings, shake, given_mask, some_hidden)
    step = ours.eval().step(clips(), 1)
    assert step.target.shape == (3, int(step.mask.hidden.sum(1).max()), 10)
    features = ours.encoder.normed(ours.encoder.features(step.tokens))
    expected = ours.target.proj(ours.target.quantizer(features).values)
    torch.testing.assert_close(step.target, Places.of(step.mask.hidden).gather(expected).detach())
    with torch.no_grad():
        torch.testing.assert_close(ours.target(replace(step.tokens, values=features), step.mask), step.target)


def test_the_temperature_falls():
    schedule = Exponential(start=2.0, end=0.5, factor=0.999995)
    assert schedule(Progress(step=0)) == 2
    assert schedule(Progress(step=100_000)) == pytest.approx(2 * 0.999995**100_000)
    assert schedule(Progress(step=400_000)) == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: Wav2Vec2(size="tiny", diversity_weight=-1), "`diversity_weight` must be at least 0, but is -1"),
        (lambda s: Wav2Vec2(size="tiny", feature_penalty=-1), "`feature_penalty` must be at least 0, but is -1"),
        (lambda s: Wav2Vec2(size="tiny", temperature=0), "`temperature` must be above 0, but is 0"),
        (
            lambda s: Wav2Vec2(size="tiny", codebook_width=9),
            "`codebook_width` must be a multiple.* 2, but is 9; nearest: 8",
        ),
        (lambda s: Wav2Vec2(size="tiny", num_entries=0), "`num_entries` must be at least 1, but is 0"),
        (lambda s: Wav2Vec2(size="huge"), "`size` must be one of tiny, base, but is 'huge'"),
        (lambda s: Wav2Vec2(size="tiny", encoder=SpeechEncoder(s())), "`size` must be left out"),
        (lambda s: Wav2Vec2(encoder=torch.nn.Linear(1, 1)), "`encoder` must be an `audio.speech`, but is a Linear"),
        (lambda s: Wav2Vec2(encoder=SpeechEncoder(s(feat_proj_layer_norm=False))), "`feat_proj_layer_norm`"),
        (lambda s: Wav2Vec2(size="tiny", loss=torch.nn.MSELoss()), "`loss` must be a `ContrastiveLoss`"),
        (lambda s: ContrastiveLoss(0), "`num_negatives` must be at least 1"),
        (lambda s: ContrastiveLoss(temperature=0), "`temperature` must be above 0"),
        (lambda s: Exponential(0, 1, 0.5), "`start` must be above 0"),
        (lambda s: Exponential(1, 2, 0.5), r"`end` must be in \(0, `start` 1\], but is 2"),
        (lambda s: Exponential(1, 0.5, 1), r"`factor` must be in \(0, 1\), but is 1"),
        (
            lambda s: Wav2Vec2(size="tiny", corruption=Corruption(drop=1)).step({"wave": torch.randn(2, 9000)}),
            "`drop` of the corruption must be 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message, settings):
    with pytest.raises(ValueError, match=message):
        make(settings)
