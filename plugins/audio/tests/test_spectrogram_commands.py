"""Every command on A-JEPA and TERA, by the contract."""

import csv
from pathlib import Path

import numpy as np
import soundfile

from unmask.api import main
from unmask.testing import RunContract

SMALL = ("--data.num_sounds", "48", "--data.batch_size", "8", "--data.val_batch_size", "8")


class TestAJEPA(RunContract):
    arguments = ["--config", "audio/a-jepa-synth", *SMALL]


class TestTERA(RunContract):
    arguments = ["--config", "audio/tera-synth", *SMALL]

    def test_a_vector_for_each_recording(self, run_folder):
        for number, seconds in enumerate((0.9, 2.5, 1.5)):
            folder = Path("sounds", "ab"[number % 2])
            folder.mkdir(parents=True, exist_ok=True)
            wave = 0.1 * np.random.default_rng(number).standard_normal(round(16000 * seconds))
            soundfile.write(folder / f"{number}.wav", wave, 16000)
        Path("data.yaml").write_text(
            "data: {class_path: audio.files, init_args: {folder: sounds, seconds: 0.97, val_ratio: 0.4}}"
        )
        for options in ([], ["--whole"]):
            out = ["--out", f"{len(options)}.npy"]
            assert main(["embed", str(run_folder), "--data", "data.yaml", *options, *out]) == 0
        rows, wholes = (
            list(csv.DictReader(Path(f"{number}.npy.ids.csv").read_text().splitlines())) for number in (0, 1)
        )
        assert sorted((row["name"], row["class"], row["num_pieces"]) for row in wholes) == [
            ("a/0.wav", "a", "1"), ("a/2.wav", "a", "2"), ("b/1.wav", "b", "3"),
        ]  # fmt: skip
        windows, found = np.load("0.npy"), np.load("1.npy")
        for row, vector in zip(wholes, found, strict=True):
            own = [window for window, one in zip(windows, rows, strict=True) if one["name"] == row["name"]]
            assert np.allclose(vector, np.mean(own, axis=0), atol=1e-6)
