"""HuBERT beside the same written out: what is hidden and named, several codebooks, visible frames, what is refused."""

import pytest
import torch
import torch.nn.functional as F

from unmask import Corruption
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.methods.hubert import HuBERT
from unmask_audio.speech import WaveTokenizer

SHORT = {"conv_dim": (8,), "conv_kernel": (9,), "conv_stride": (4,)}


def small(settings, mask, kind="hubert", **options):
    torch.manual_seed(0)
    options = {"num_clusters": [6, 4], "feature_penalty": 0.0} | options
    model = HuBERT(encoder=SpeechEncoder(settings(kind)), mask=mask, **options)
    model.tokenizer.normalize = False
    return model


def fit(model, batch, num_frames=60):
    model.target.fit(lambda: iter([model.tokenizer(batch)]), num_frames, 0, lambda done: None)
    return model


def written_out(model, batch, hidden):
    """Losses of hidden and of visible frames, each the mean over frames and codebooks."""
    losses = {True: [], False: []}
    for row, wave in enumerate(batch["wave"]):
        wave = wave[None, : int(batch["length"][row])] if "length" in batch else wave[None]
        tokens = model.tokenizer(wave)
        places = tokens.values.shape[1]
        given = hidden[row : row + 1, :places]
        codes = model.encoder.model(wave, mask_time_indices=given).last_hidden_state[0]  # transformers' own
        features = model.target.source(tokens)[0]
        for place in range(places):
            loss = 0.0
            projected = model.predictor.proj(codes[place]).view(len(model.target.num_clusters), -1)
            for book, count in enumerate(model.target.num_clusters):
                centres = model.target.centres[book, :count]
                right = (centres - features[place]).square().sum(-1).argmin()
                scores = F.cosine_similarity(projected[book], model.predictor.embeddings[book, :count], dim=-1) / 0.1
                loss = loss + F.cross_entropy(scores, right)
            losses[bool(given[0, place])].append(loss / len(model.target.num_clusters))
    return torch.stack(losses[True]).mean(), torch.stack(losses[False]).mean()


@pytest.mark.parametrize("teacher", [False, True], ids=["cepstra", "layer"])
@pytest.mark.parametrize("ragged", [False, True], ids=["alike", "padded"])
@pytest.mark.parametrize("counts", [[6, 4], [6]], ids=str)
def test_a_step_written_out(counts, ragged, teacher, settings, clips, some_hidden, given_mask, shake):
    options = {"num_clusters": counts}
    if teacher:
        options |= {"teacher_layer": 2, "teacher": SpeechEncoder(settings("wavlm", "layer"))}
    model = small(settings, given_mask(some_hidden), **options).eval()
    shake(model)
    batch = clips(ragged)
    fit(model, batch)
    with torch.no_grad():
        hidden, visible = written_out(model, batch, some_hidden)
        step = model.step(batch, 0)
        torch.testing.assert_close(step.loss.total, hidden, rtol=1e-4, atol=1e-5)
        assert step.prediction.values.shape[-1] == 6
        assert step.target.shape == step.prediction.values.shape[:-1]

        model.visible_weight = 0.25
        both = model.step(batch, 0)
        torch.testing.assert_close(both.loss.total, hidden + 0.25 * visible, rtol=1e-4, atol=1e-5)

        model.visible_weight, model.feature_penalty = 0.0, 10.0
        features = model.encoder.features(step.tokens)
        real = torch.ones(features.shape[:2], dtype=torch.bool) if step.tokens.valid is None else step.tokens.valid
        kept = model.step(batch, 0).loss.total
        torch.testing.assert_close(kept - hidden, 10 * features[real].square().mean(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2", "wavlm"])
def test_all_that_is_trained_has_a_gradient(kind, settings, clips, some_hidden, given_mask):
    options = {"teacher_layer": 1, "visible_weight": 1.0, "feature_penalty": 10.0}
    model = small(settings, given_mask(some_hidden), kind, **options).train()
    fit(model, clips())
    before = model.target.source.encoder.state_dict()["model.masked_spec_embed"].clone()
    model.step(clips(), 0).loss.total.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == ("target" not in name), name
    assert torch.equal(model.target.source.encoder.model.masked_spec_embed, before)
    assert not any(module.training for module in model.target.source.modules())


def test_ids_do_not_depend_on_precision(settings, clips, some_hidden, given_mask):
    model = small(settings, given_mask(some_hidden), teacher_layer=2).train()
    fit(model, clips())
    steps = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            steps.append(model.step(clips(), 0))
    assert torch.equal(steps[0].target, steps[1].target)
    assert steps[1].loss.total.dtype == torch.float32
    torch.testing.assert_close(steps[0].loss.total, steps[1].loss.total, rtol=0.05, atol=0)


def test_it_learns_what_follows_from_what(settings):
    """Two tones in turns, 100 ms each: frames that are hidden can be told from those around them."""
    torch.manual_seed(0)
    sizes = {"conv_dim": (32, 32, 32), "conv_kernel": (50, 12, 4), "conv_stride": (10, 8, 4)}
    encoder = SpeechEncoder(settings("hubert", **sizes), stem_gradient=1)
    model = HuBERT(encoder=encoder, num_clusters=2, corruption=Corruption(token=1))

    def batch(seed):
        start = torch.rand(8, 1, generator=torch.Generator().manual_seed(seed)) * 0.2
        times = torch.arange(16_000) / 16_000 + start
        pitch = torch.where((times % 0.2) < 0.1, 400.0, 2000.0)
        return {"wave": torch.sin(2 * torch.pi * pitch * times)}

    fit(model, batch(0), 300)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for number in range(60):
        step = model.train().step(batch(number), number)
        optimizer.zero_grad()
        step.loss.total.backward()
        optimizer.step()
        losses.append(float(step.loss.per_token.mean()))
    assert sum(losses[:5]) / 5 > 0.6  # log 2 is 0.69
    assert sum(losses[-5:]) / 5 < 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: HuBERT(size="tiny", visible_weight=-1), "`visible_weight` must be at least 0, but is -1"),
        (lambda s: HuBERT(size="tiny", feature_penalty=-1), "`feature_penalty` must be at least 0, but is -1"),
        (lambda s: HuBERT(size="tiny", num_frames=0), "`num_frames` must be at least 1, but is 0"),
        (lambda s: HuBERT(size="tiny", num_clusters=1), r"`num_clusters` must be in \[2, 10000\], but is \[1\]"),
        (lambda s: HuBERT(size="tiny", teacher_run="x"), "`teacher_layer` must say which layer"),
        (lambda s: HuBERT(size="tiny", teacher_layer=5), r"`layer` must be in \[1, 4\]"),
        (
            lambda s: HuBERT(size="tiny", tokenizer=WaveTokenizer(400, 200)),
            "Frames of `tokenizer` must see 400 samples, 320 apart, as the encoder's stem does, but see 400, 200 apart",
        ),
        (
            lambda s: HuBERT(size="tiny", teacher_layer=1, teacher=SpeechEncoder(s() | SHORT)),
            "Frames of `teacher` must see 400 samples, 320 apart, as the encoder's stem does, but see 9, 4 apart",
        ),
        (lambda s: HuBERT(style="hubert", encoder=SpeechEncoder(s())), "`style` must be left out"),
        (
            lambda s: HuBERT(size="tiny").step({"wave": torch.randn(2, 9000)}),
            "Clusters must be fitted before frames have ids",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message, settings):
    with pytest.raises(ValueError, match=message):
        make(settings)


def test_base_is_the_papers_size():
    """94.4 million in HuBERT's encoder, as transformers makes it by default."""
    from transformers import HubertConfig, HubertModel

    with torch.device("meta"):
        theirs = HubertModel(HubertConfig())
    from unmask_audio.methods.speech_sizes import SIZES

    with torch.device("meta"):
        ours = HubertModel(HubertConfig(**SIZES["base"]))
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes
    assert round(sum(tensor.numel() for tensor in ours.parameters()) / 1e6, 1) == 94.4
