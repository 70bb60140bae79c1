"""Windows of one sound count as one, in features and in scores of fine-tuning."""

import numpy as np
import pytest
import soundfile
import torch

from unmask.api import Settings, batches, finetune, split_of, vectors
from unmask_audio.data.files import AudioFilesData
from unmask_audio.frontends import Fbank
from unmask_audio.methods.audio_mae import AudioMAE
from unmask_audio.tokenizer import SpectrogramTokenizer


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


def test_a_sound_counts_once(data):
    """Eight sounds are fifteen windows: four of either class, half of them held out."""
    assert sum(len(part) for part in data.splits[:2]) == 15
    torch.manual_seed(0)
    model = AudioMAE(
        size="tiny", decoder="global", tokenizer=SpectrogramTokenizer(Fbank(8000, 32), None, (8, 8))
    ).eval()
    found = vectors(model.embedder, batches(data, split_of(data, "probe_test"), 3))
    assert len(found.values) == 4 and len(data.splits.probe_test) > 4
    names = [sample["name"] for sample in data.splits.probe_test]
    assert found.label.tolist() == [("a", "b").index(name[0]) for name in dict.fromkeys(names)]
    settings = Settings(epochs=1, batch_size=4, val_ratio=0.5)
    (trial,) = finetune(data, pretrained=model, settings=settings).details["trials"]
    assert (trial.num_train, trial.num_val, trial.num_test) == (2, 2, 4)
