"""Nothing of a hidden frame reaches codes or answers, from behind the stem on: there the papers hide."""

import pytest
import torch

from unmask import Corruption, Mask
from unmask.testing import shown_as
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.methods.hubert import HuBERT
from unmask_audio.methods.wav2vec2 import Wav2Vec2
from unmask_audio.speech import WaveTokenizer

CORRUPTIONS = {"token": Corruption(token=1), "both": Corruption(token=0.6, random=0.4), "random": Corruption(random=1)}


@pytest.mark.parametrize("ragged", [False, True], ids=["alike", "padded"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("shown", CORRUPTIONS)
@pytest.mark.parametrize("kind", ["hubert", "wav2vec2", "wavlm"])
def test_codes_are_bit_equal_whatever_is_hidden(kind, shown, training, ragged, settings, clips, some_hidden):
    torch.manual_seed(0)
    encoder = SpeechEncoder(settings(kind, hidden_dropout=0.2, layerdrop=0.2)).train(training)
    tokens = WaveTokenizer()(clips(ragged))
    hidden = some_hidden if tokens.valid is None else some_hidden & tokens.valid
    mask = shown_as(CORRUPTIONS[shown], Mask(hidden, valid=tokens.valid), 1)
    with torch.no_grad():
        features = encoder.features(tokens)

        def codes(features, mask=mask):
            torch.manual_seed(5)  # dropout
            out = encoder.contextual(features.clone(), tokens.valid, mask).values
            return out if tokens.valid is None else out[tokens.valid]

        before = codes(features)
        for other in (torch.randn_like(features), torch.full_like(features, float("nan"))):
            assert torch.equal(codes(torch.where(hidden[..., None], other, features)), before)
            if tokens.valid is not None:  # nor of padding
                assert torch.equal(codes(torch.where(tokens.valid[..., None], features, 7.0)), before)
        # The test can fail: a visible frame changes the codes, and so does a hidden one that is shown.
        changed = torch.where(hidden[..., None], features, features + torch.randn_like(features))
        assert not torch.equal(codes(changed), before)
        kept = shown_as(Corruption(keep=1), Mask(hidden, valid=tokens.valid))
        other = torch.where(hidden[..., None], torch.randn_like(features), features)
        assert not torch.equal(codes(other, kept), codes(features, kept))


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_what_the_stem_sees_beyond_its_window_is_what_is_told(norm, settings, clips):
    """With a norm per frame, a frame's features depend on its own 400 samples alone; with one over time, on all."""
    torch.manual_seed(0)
    encoder = SpeechEncoder(settings(norm=norm)).eval()
    wave = clips(ragged=False)["wave"]
    tokenizer = WaveTokenizer(normalize=False)
    other = wave.clone()
    other[:, 320 * 10 + 400 : 320 * 12] += 1  # behind the window of frame 10, before that of frame 12
    with torch.no_grad():
        first, second = (encoder.features(tokenizer(one)) for one in (wave, other))
    same = torch.tensor([torch.equal(first[:, i], second[:, i]) for i in range(31)])
    assert bool(same[11]) is False
    assert bool(same[torch.arange(31) != 11].all()) == (norm == "layer")


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("method", [HuBERT, Wav2Vec2])
def test_predictions_of_a_whole_step_do_not_see_hidden_frames(method, training, settings, clips, monkeypatch):
    torch.manual_seed(0)
    options = {"num_clusters": 6} if method is HuBERT else {"num_entries": 5, "codebook_width": 8}
    model = method(encoder=SpeechEncoder(settings()), **options)
    batch = clips()
    if method is HuBERT:
        model.target.fit(lambda: iter([model.tokenizer(batch)]), 50, 0, lambda done: None)
    model.train(training)
    seen = []
    true = SpeechEncoder.features
    for change in (False, True):

        def features(self, tokens, change=change):
            found = true(self, tokens)
            if not change:
                return found
            hidden = seen[0].mask.hidden
            return torch.where(hidden[..., None], torch.randn_like(found), found)

        monkeypatch.setattr(SpeechEncoder, "features", features)
        with torch.no_grad():
            seen.append(model.step(batch, 5))
    assert torch.equal(seen[0].mask.hidden, seen[1].mask.hidden)
    asked = seen[0].mask.asked
    real = torch.ones_like(asked.index, dtype=torch.bool) if asked.valid is None else asked.valid
    assert torch.equal(seen[0].prediction.values[real], seen[1].prediction.values[real])
    if method is Wav2Vec2:
        assert not torch.equal(seen[0].target[real], seen[1].target[real])
