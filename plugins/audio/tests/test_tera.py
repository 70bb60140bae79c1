"""TERA: a whole step written out, what the encoder may see, defaults and refusals."""

from dataclasses import replace

import pytest
import torch

from unmask import Draws, Sequence, Tokenizer, Tokens
from unmask.masks import SpanMask
from unmask_audio.alteration import Alteration
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.methods.tera import TERA

FEATURES = 10
VALID = torch.arange(30) < torch.tensor([30, 30, 12])[:, None]


class Frames(Tokenizer):
    """``[B, N, F]`` frames as they are."""

    def __init__(self, valid=None):
        super().__init__()
        self.valid = valid

    def forward(self, batch) -> Tokens:
        return Tokens(batch, Sequence(), valid=self.valid)


def frames(seed=0):
    return torch.randn(3, 30, FEATURES, generator=torch.Generator().manual_seed(seed))


def tera(valid=None, **options):
    torch.manual_seed(0)
    encoder = SpectrogramViT(16, 2, 2, FEATURES, class_token=False)
    return TERA(num_features=FEATURES, tokenizer=Frames(valid), encoder=encoder, **options)


@pytest.mark.parametrize("valid", [None, VALID], ids=["whole", "padded"])
def test_a_step_is_the_alteration_then_the_absolute_error_of_all_frames(valid):
    model, given = tera(valid), frames()
    step = model.step(given, 3)
    assert step.mask.hidden.sum(1).tolist() == ([5, 5, 5] if valid is None else [5, 5, 2])
    assert torch.equal(step.tokens.values, given)

    # The same draws: the mask, the alteration.
    draws = Draws.of(3, torch.arange(3))
    mask = SpanMask(0.15, length=7)(step.tokens, None, draws)
    altered = Alteration().altered(given, mask, draws.named("alteration"))
    assert not torch.equal(altered, given)
    answers = model.predictor.head(
        model.predictor.norm(
            torch.nn.functional.gelu(model.predictor.dense(model.encoder(replace(step.tokens, values=altered)).values))
        )
    )
    errors = (answers - given).abs().mean(-1)
    real = torch.ones(3, 30, dtype=torch.bool) if valid is None else valid
    torch.testing.assert_close(step.loss.per_token[real], errors[real].detach())
    torch.testing.assert_close(step.loss.total, errors[real].mean())
    step.loss.total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_answers_do_not_depend_on_hidden_frames_that_are_not_kept(training):
    model = tera(VALID, corruption=Alteration(zero=0.5, random=0.5, keep=0.0)).train(training)
    first = model.step(frames(), 3)
    hidden = first.mask.hidden[..., None]
    other = model.step(torch.where(hidden, frames(9), frames()), 3)
    assert torch.equal(first.mask.hidden, other.mask.hidden)
    assert torch.equal(first.prediction.values, other.prediction.values)
    assert not torch.equal(first.target, other.target)
    seen = model.step(torch.where(hidden, frames(), frames() + 0.1), 3)
    assert not torch.equal(first.prediction.values, seen.prediction.values)


def test_nothing_is_altered_when_nothing_is_hidden():
    """At inference the encoder is called without a mask, and is given frames as they are."""
    model = tera().eval()
    with torch.no_grad():
        assert torch.equal(model.encoder(Frames()(frames())).values, model.encoder(Frames()(frames()), None).values)


def test_paper_defaults():
    model = TERA(size="tiny")
    assert (model.encoder.num_layers, model.encoder.embed.in_features, model.encoder.cls_token) == (3, 80, None)
    assert (model.mask.ratio, model.mask.length) == (0.15, 7)
    shown = model.corruption
    assert (shown.zero, shown.token, shown.random, shown.keep) == (0.8, 0.8, 0.1, 0.1)
    assert (shown.frequency_ratio, shown.noise_chance, shown.noise_std, shown.num_features) == (0.2, 0.15, 0.2, None)
    wave = torch.randn(2, 8000, generator=torch.Generator().manual_seed(3))
    step = model.step({"wave": wave}, 3)
    assert step.prediction.values.shape == step.tokens.values.shape == (2, 48, 80)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TERA(size="small"), "`size` must be one of tiny, base, medium, large, but is 'small'"),
        (lambda: TERA(size="tiny", encoder=SpectrogramViT(8, 1, 2)), "`size` must be left out when `encoder`"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
