"""Codes equal those of transformers' HuBERT, wav2vec 2.0 and WavLM, whatever a clip is batched with."""

import pytest
import torch
from torch import nn
from transformers import HubertConfig, Wav2Vec2FeatureExtractor
from transformers.models.hubert.modeling_hubert import HubertGroupNormConvLayer

from unmask import Corruption, Mask, agreements
from unmask.testing import shown_as
from unmask_audio.data.synth import SynthData
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.methods.hubert import HuBERT
from unmask_audio.methods.wav2vec2 import Wav2Vec2
from unmask_audio.speech import WaveTokenizer
from unmask_audio.speech.stem import geometry, joined, run_stem

KINDS = ["hubert", "wav2vec2", "wavlm"]


def close(got, expected, tolerance=2e-5):
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= tolerance * max(expected.abs().max().item(), 1)


@pytest.mark.parametrize(
    ("kind", "norm"), [*((kind, norm) for kind in KINDS for norm in ("group", "layer")), ("data2vec-audio", "layer")]
)
def test_codes_equal_transformers_clip_by_clip(kind, norm, settings, clips, some_hidden, shake):
    """Of all layers; also with hidden frames, which transformers replaces by ``mask_time_indices``."""
    torch.manual_seed(0)
    encoder = SpeechEncoder(settings(kind, norm)).eval()
    shake(encoder)
    batch = clips()
    tokens = WaveTokenizer(normalize=False)(batch)
    mask = shown_as(Corruption(token=1), Mask(some_hidden & tokens.valid, valid=tokens.valid))
    with torch.no_grad():
        codes, masked = encoder(tokens).values, encoder(tokens, mask).values
        layers = [encoder(tokens, layer=layer).values for layer in (1, 2)]
        for row, length in enumerate(batch["length"].tolist()):
            wave = batch["wave"][row : row + 1, :length]
            theirs = encoder.model(wave, output_hidden_states=True)
            frames = theirs.last_hidden_state.shape[1]
            assert frames == int(tokens.valid[row].sum())
            close(codes[row, :frames], theirs.last_hidden_state[0])
            for layer, own in zip((1, 2), layers, strict=True):
                close(own[row, :frames], theirs.hidden_states[layer][0])
            hidden = encoder.model(wave, mask_time_indices=some_hidden[row : row + 1, :frames])
            close(masked[row, :frames], hidden.last_hidden_state[0])
            assert not torch.allclose(masked[row, :frames], codes[row, :frames], atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_padded_batches_equal_transformers_where_its_norm_sees_no_padding(kind, settings, clips, shake):
    torch.manual_seed(0)
    encoder = SpeechEncoder(settings(kind, "layer")).eval()
    shake(encoder)
    batch = clips()
    tokens = WaveTokenizer(normalize=False)(batch)
    real = torch.arange(batch["wave"].shape[1]) < batch["length"][:, None]
    with torch.no_grad():
        theirs = encoder.model(batch["wave"], attention_mask=real.long()).last_hidden_state
        close(encoder(tokens).values[tokens.valid], theirs[tokens.valid])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_transformers(kind, settings, clips, shake):
    """Those of the stem by ``stem_gradient``."""
    torch.manual_seed(0)
    wave = clips(ragged=False)["wave"]
    encoder = SpeechEncoder(settings(kind), stem_gradient=0.25)
    shake(encoder)
    encoder(WaveTokenizer(normalize=False)(wave)).values.square().sum().backward()
    own = {name: parameter.grad for name, parameter in encoder.model.named_parameters()}
    encoder.zero_grad()
    encoder.model.eval()(wave).last_hidden_state.square().sum().backward()
    compared = 0
    for name, parameter in encoder.model.named_parameters():
        if name == "masked_spec_embed":
            assert own[name] is None
            continue
        expected = parameter.grad * (0.25 if name.startswith("feature_extractor") else 1)
        torch.testing.assert_close(own[name], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-7)
        compared += 1
    assert compared > 50


def test_the_stems_norm_equals_torchs_on_each_clip_alone():
    """Answers on real samples, and gradients of waves, weights and convolutions; behind them stands the bias."""
    torch.manual_seed(0)
    layers = nn.ModuleList(
        [HubertGroupNormConvLayer(HubertConfig(conv_dim=(6,), conv_kernel=(4,), conv_stride=(2,)), 0)]
    )
    norm = layers[0].layer_norm
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    wave = torch.randn(3, 40) + 2
    lengths = torch.tensor([40, 23, 6])
    weights = torch.randn(3, 19, 6)

    def gradients(loss, *inputs):
        return torch.autograd.grad(loss, [*inputs, *layers.parameters()])

    together = wave.clone().requires_grad_()
    features = run_stem(layers, together, lengths)
    got = gradients((features * weights).sum(), together)
    expected = [torch.zeros_like(one) for one in got]
    for row, length in enumerate(lengths.tolist()):
        alone = wave[row : row + 1, :length].clone().requires_grad_()
        own = layers[0](alone[:, None]).transpose(1, 2)
        count = own.shape[1]
        close(features[row : row + 1, :count], own)
        behind = layers[0].activation(norm.bias).expand(1, 19 - count, 6)
        torch.testing.assert_close(features[row : row + 1, count:], behind)
        parts = (torch.cat([own, behind], 1) * weights[row : row + 1]).sum()
        for place, one in enumerate(gradients(parts, alone)):
            if place:
                expected[place] += one
            else:
                expected[0][row, :length] = one[0]
    for one, other in zip(got, expected, strict=True):
        close(one, other)


def test_random_stand_ins_are_other_frames(settings, clips, some_hidden):
    encoder = SpeechEncoder(settings()).eval()
    tokens = WaveTokenizer()(clips(ragged=False))
    mask = shown_as(Corruption(random=1), Mask(some_hidden), 0)
    with torch.no_grad():
        features = encoder.features(tokens)
        donors = mask.donor.masked_fill(~some_hidden, -1)
        for row in range(3):
            for place in some_hidden[row].nonzero().flatten().tolist():
                assert not some_hidden[row, donors[row, place]]
        stood_in = torch.where(
            some_hidden[..., None], features.gather(1, mask.donor[..., None].expand_as(features)), features
        )
        close(encoder(tokens, mask).values, encoder.contextual(stood_in).values)
        kept = shown_as(Corruption(keep=1), Mask(some_hidden))
        assert torch.equal(encoder(tokens, kept).values, encoder(tokens).values)


def test_geometry_is_the_papers():
    assert geometry((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)) == (400, 320)
    assert geometry((50, 12, 4), (10, 8, 4)) == (400, 320)
    assert geometry((4, 3), (2, 1)) == (8, 2)  # 4 + 2 * 2
    wave = torch.arange(20.0)[None]
    assert torch.equal(joined(wave.unfold(1, 8, 4), 4), wave)


def test_a_local_folder_is_read_back(settings, clips, shake, tmp_path):
    torch.manual_seed(0)
    first = SpeechEncoder(settings("wavlm")).eval()
    shake(first)
    first.model.save_pretrained(tmp_path)
    tokens = WaveTokenizer()(clips())
    again = SpeechEncoder(path=str(tmp_path), options={"layerdrop": 0.0}).eval()
    with torch.no_grad():
        assert torch.equal(first(tokens).values, again(tokens).values)

    # One without a vector for hidden frames is given a new one, and says so in its settings.
    bare = SpeechEncoder(settings("hubert", mask_time_prob=0.0))
    assert bare.model.masked_spec_embed.shape == (32,)
    assert bare.model.config.mask_time_prob == 0.05


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_16_bits_are_taken(norm, settings, clips):
    encoder = SpeechEncoder(settings(norm=norm)).eval()
    tokens = WaveTokenizer()(clips())
    with torch.no_grad():
        expected = encoder(tokens).values
        with torch.autocast("cpu", torch.bfloat16):
            mixed = encoder(tokens).values
        pure = encoder.bfloat16()(tokens).values
    assert pure.dtype == torch.bfloat16
    for found in (mixed, pure):
        assert (found.float() - expected)[tokens.valid].abs().mean() < 0.05 * expected[tokens.valid].abs().mean()


def test_layers_that_were_dropped_have_no_codes(settings, clips):
    encoder = SpeechEncoder(settings(layerdrop=1.0)).train()
    tokens = WaveTokenizer()(clips())
    with pytest.raises(ValueError, match="need evaluation mode"):
        encoder(tokens, layer=2)
    assert encoder.eval()(tokens, layer=2).values.shape == (3, 31, 32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: SpeechEncoder(), "Exactly one of `config` and `path`"),
        (lambda s: SpeechEncoder({"hidden_size": 3}), "must be hubert, wav2vec2, wavlm or data2vec-audio"),
        (lambda s: SpeechEncoder({"model_type": "hubart"}), "nearest: `hubert`"),
        (lambda s: SpeechEncoder(s(), stem_gradient=0), "`stem_gradient` must be above 0, but is 0"),
        (lambda s: SpeechEncoder(s("wav2vec2", add_adapter=True)), "`add_adapter` must be false"),
        (
            lambda s: SpeechEncoder(s())(WaveTokenizer(360)(torch.zeros(1, 4000))),
            "`window` of the tokenizer must be 400",
        ),
        (lambda s: SpeechEncoder(s())(WaveTokenizer()(torch.zeros(1, 4000)), layer=4), r"`layer` must be in \[1, 3\]"),
        (
            lambda s: SpeechEncoder(s())(WaveTokenizer()(torch.zeros(1, 1000)), Mask(torch.tensor([[True, False]]))),
            "`drop` of the corruption must be 0",
        ),
        (
            lambda s: SpeechEncoder(s(feat_proj_layer_norm=False)).normed(torch.zeros(1, 16)),
            "`feat_proj_layer_norm` of the encoder must be true",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message, settings):
    with pytest.raises(ValueError, match=message):
        make(settings)


@pytest.mark.parametrize("method", [HuBERT, Wav2Vec2])
def test_waves_are_those_that_the_weights_were_trained_on(method, settings, tmp_path):
    """The rate and the level, as far as the folder tells them; others are refused, and those of the data compared."""
    for norm in ("layer", "group"):
        SpeechEncoder(settings("wav2vec2", norm)).model.save_pretrained(tmp_path / norm)
        assert SpeechEncoder(path=str(tmp_path / norm)).sample_rate is None
        front = Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=False)
        front.save_pretrained(tmp_path / norm)
    layer, group = (SpeechEncoder(path=str(tmp_path / norm)) for norm in ("layer", "group"))
    tokenizer = method(encoder=layer).tokenizer
    assert (tokenizer.sample_rate, tokenizer.normalize) == (8000, False)
    assert method(encoder=group).tokenizer.normalize  # of which the codes of these do not depend
    with pytest.raises(
        ValueError, match=r"^`sample_rate` of `tokenizer` must be 8000, at which the encoder was trained"
    ):
        method(encoder=layer, tokenizer=WaveTokenizer(normalize=False))
    with pytest.raises(ValueError, match=r"^`normalize` of `tokenizer` must be False, as the encoder was trained"):
        method(encoder=layer, tokenizer=WaveTokenizer(sample_rate=8000))
    with pytest.raises(ValueError, match=r"`data\.sample_rate` must be 8000, the `model\.tokenizer\.sample_rate`"):
        agreements.check(method(encoder=layer), SynthData(), loaded=False)


def test_a_recipes_size_beside_an_encoder_says_what_to_do(settings):
    with pytest.raises(
        ValueError, match=r"^`size` must be left out when `encoder` is given, .* is 'tiny'; nearest: null\.$"
    ):
        HuBERT(size="tiny", encoder=SpeechEncoder(settings()))
