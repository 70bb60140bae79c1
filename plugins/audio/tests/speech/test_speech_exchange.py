"""Speech encoders travel to transformers and back, wav2vec 2.0 with its heads."""

import json

import pytest
import torch
from transformers import (
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    WavLMModel,
)

from unmask.api import read_weights
from unmask.testing import FormatContract
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.exchange import Transformers, TransformersPretraining
from unmask_audio.methods.audio_mae import AudioMAE
from unmask_audio.methods.hubert import HuBERT
from unmask_audio.methods.wav2vec2 import Wav2Vec2
from unmask_audio.speech import WaveTokenizer

WIDE = {"hidden_size": 48, "num_attention_heads": 3}


@pytest.fixture(autouse=True)
def _given(request, settings):
    if request.cls is not None:
        request.cls.settings = staticmethod(settings)


class TestHuBERT(FormatContract):
    kind = "hubert"

    def make(self):
        return Transformers()

    def model(self, **options):
        return HuBERT(encoder=SpeechEncoder(self.settings(self.kind, **options)))

    def other(self):
        return self.model(**WIDE)

    def foreign(self):
        return AudioMAE(size="tiny")


class TestWavLM(TestHuBERT):
    kind = "wavlm"


class TestData2Vec(TestHuBERT):
    kind = "data2vec-audio"


class TestWav2Vec2(TestHuBERT):
    def model(self, **options):
        return Wav2Vec2(encoder=SpeechEncoder(self.settings("wav2vec2", **options)), num_entries=6, codebook_width=8)


class TestWav2Vec2Pretraining(TestWav2Vec2):
    def make(self):
        return TransformersPretraining()

    def foreign(self):
        return Wav2Vec2(encoder=SpeechEncoder(self.settings("hubert")), num_entries=6, codebook_width=8)

    def test_the_heads_come_back_too(self, trained, tmp_path):
        made, out = self.make(), tmp_path / "written"
        told = made.save(self._export(trained), out)
        assert "Wav2Vec2ForPreTraining.from_pretrained: codes within" in told
        read = made.load(read_weights(out).tensors, trained)
        fresh = self.model()
        missing = fresh.load_state_dict(read, strict=False)
        assert not missing.unexpected_keys
        assert all("bank" in name or "mfcc" in name for name in missing.missing_keys), missing.missing_keys
        for name, tensor in trained.state_dict().items():
            assert torch.equal(fresh.state_dict()[name], tensor), name
        theirs = Wav2Vec2ForPreTraining.from_pretrained(out)
        assert theirs.config.num_codevectors_per_group == 6


def test_what_is_written_computes_our_codes(settings, clips, shake, tmp_path):
    """From raw clips, through the extractor that lies beside the weights."""
    torch.manual_seed(0)
    model = HuBERT(encoder=SpeechEncoder(settings("wavlm", "layer"))).eval()
    shake(model)
    made = Transformers()
    made.save(TestHuBERT()._export(model), tmp_path / "it")
    theirs = WavLMModel.from_pretrained(tmp_path / "it")
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "it")
    batch = clips()
    raw = [wave[:length].numpy() for wave, length in zip(batch["wave"], batch["length"].tolist(), strict=True)]
    with torch.no_grad():
        read = theirs(**extractor(raw, sampling_rate=16_000, padding=True, return_tensors="pt")).last_hidden_state
        tokens = model.tokenizer(batch)
        own = model.encoder(tokens).values
    torch.testing.assert_close(own[tokens.valid], read[tokens.valid], rtol=1e-4, atol=1e-4)


def test_released_files_are_read_under_their_prefix_and_old_names(settings, shake):
    """As checkpoints of the hub are: with a head, and with the names that weight norms had."""
    config = HubertConfig(**{name: value for name, value in settings().items() if name != "model_type"})
    theirs = HubertForCTC(config)
    shake(theirs)
    old = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
    weights = {}
    for name, tensor in theirs.state_dict().items():
        if name.startswith("hubert."):
            name = name.removeprefix("hubert.")
            for new, before in old.items():
                name = name.replace(new, before)
        weights[name] = tensor
    model = HuBERT(encoder=SpeechEncoder(settings()))
    found = Transformers().load(weights, model)
    left = [name for name in found if not name.startswith("encoder.")]
    assert left == ["lm_head.weight", "lm_head.bias"]
    model.load_state_dict(found, strict=False)
    for name, tensor in model.encoder.model.state_dict().items():
        assert torch.equal(tensor, theirs.hubert.state_dict()[name]), name


def test_settings_that_no_tensor_tells_are_compared(settings, tmp_path):
    theirs = HubertModel(HubertConfig(**{k: v for k, v in settings().items() if k != "model_type"}))
    theirs.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=False).save_pretrained(tmp_path)
    made, model = Transformers(), HuBERT(encoder=SpeechEncoder(settings()))
    rate, normalize = made.check(tmp_path, model)
    assert rate == "`sample_rate` of the tokenizer is 16000, but the weights were trained with `sampling_rate` 8000."
    assert "`do_normalize` False" in normalize
    assert made.check(tmp_path, HuBERT(encoder=SpeechEncoder(settings()), tokenizer=_tokenizer())) == []
    for key, value in (("num_attention_heads", 2), ("model_type", "wavlm"), ("do_stable_layer_norm", True)):
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
        with pytest.raises(ValueError, match=f"`{key}` must be"):
            made.check(tmp_path, model)
        (tmp_path / "config.json").write_text(json.dumps(config))


def _tokenizer():
    return WaveTokenizer(sample_rate=8000, normalize=False)
