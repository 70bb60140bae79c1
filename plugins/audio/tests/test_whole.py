"""Scores of whole sounds, beside the same written out."""

import numpy as np
import pytest
import soundfile
import torch

from unmask.api import Classification, FineTuning, Settings, Task
from unmask_audio.data.files import AudioFilesData
from unmask_audio.frontends import Fbank
from unmask_audio.methods.audio_mae import AudioMAE
from unmask_audio.tokenizer import SpectrogramTokenizer
from unmask_audio.whole import _mean, score


@pytest.fixture
def data(tmp_path):
    """Eight sounds of one to three windows, of two classes."""
    for number in range(8):
        kind = tmp_path / "sounds" / ("a", "b")[number % 2]
        kind.mkdir(parents=True, exist_ok=True)
        wave = 0.1 * np.random.default_rng(number).standard_normal(4000 * (1 + number % 3) - 100)
        soundfile.write(kind / f"{number}.wav", wave, 8000)
    return AudioFilesData(
        str(tmp_path / "sounds"), sample_rate=8000, seconds=0.5, val_ratio=0.5, batch_size=3, num_workers=0
    )


def _tuned(task=Task("classification")):
    torch.manual_seed(0)
    tokenizer = SpectrogramTokenizer(Fbank(8000, 32), None, (8, 8))
    tuned = FineTuning(
        AudioMAE(size="tiny", decoder="global", tokenizer=tokenizer), Classification(2), task, Settings()
    )
    torch.nn.init.normal_(tuned.head[-1].weight)
    return tuned.eval()


def test_a_sound_is_what_is_said_about_its_windows_on_average(data, capsys):
    model = _tuned()
    data.setup("validate")
    assert "longer than a window: 5, which give several samples each." in capsys.readouterr().out
    found = score(model, data)
    said: dict[str, list] = {}
    right = []
    for sample in data.splits.probe_test:
        batch = {"wave": sample["wave"][None], "length": torch.tensor([sample["length"]])}
        with torch.no_grad():
            said.setdefault(sample["name"], []).append((model(batch).softmax(-1)[0], int(sample["label"])))
        right.append(int(said[sample["name"]][-1][0].argmax()) == sample["label"])
    whole = [int(sum(one for one, _ in each).argmax()) == each[0][1] for each in said.values()]
    assert (found.num_windows, found.num_sounds) == (len(right), 4) and len(right) > 4
    assert found.windows["accuracy"] == pytest.approx(np.mean(right), abs=1e-6)
    assert found.sounds["accuracy"] == pytest.approx(np.mean(whole), abs=1e-6)


def test_means_of_answers():
    outputs, owner = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]]), torch.tensor([0, 0, 1])
    for kind, answer in (
        ("classification", lambda x: x.softmax(-1)), ("multi-label", torch.sigmoid), ("regression", lambda x: x)
    ):  # fmt: skip
        found = answer(_mean(outputs, owner, kind))
        said = answer(outputs)
        assert torch.allclose(found, torch.stack([(said[0] + said[1]) / 2, said[2]]))


def test_labels_per_token_are_refused(data):
    with pytest.raises(ValueError, match="need a label per sound, but the model was tuned on one per token"):
        score(_tuned(Task("classification", per_token=True)), data)
