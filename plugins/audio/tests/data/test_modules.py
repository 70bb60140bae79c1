"""Data modules: what is a class, what is held out, and what is refused."""

import json

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from unmask import Embedder
from unmask.api import UserError, batches, build_data, raw_vectors, split_of
from unmask_audio.data.files import AudioFilesData
from unmask_audio.data.hub import HubAudioData
from unmask_audio.data.synth import KINDS, SynthData
from unmask_audio.data.torchaudio_sets import FIELDS, TorchaudioData
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.frontends import Fbank
from unmask_audio.tokenizer import SpectrogramTokenizer

SMALL = {"sample_rate": 8000, "seconds": 0.25, "batch_size": 4, "num_workers": 0}


def _noise(path, seed=0, seconds=0.3, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate)), rate)


def _first(data):
    torch.manual_seed(0)
    data.setup("fit")
    return next(iter(data.train_dataloader()))


class TestSynth:
    def test_batches(self, capsys):
        data = SynthData(num_sounds=48, **SMALL)
        batch = _first(data)
        assert "48 synthetic sounds: 12.0 seconds at 8,000 Hz, 12 classes." in capsys.readouterr().out
        assert batch["wave"].shape == (4, 2000) and batch["wave"].dtype == torch.float32
        assert set(batch) == {"wave", "label", "name", "piece", "index"}
        assert data.classes == list(KINDS)

    def test_every_kind_is_as_frequent_sounds_and_is_the_same_each_time(self):
        first, again = (SynthData(num_sounds=36, **SMALL) for _ in range(2))
        label = [sample["label"] for part in (first.splits.train, first.splits.val) for sample in part]
        assert torch.tensor(label).bincount().tolist() == [3] * 12
        assert torch.equal(first.splits.val[2]["wave"], again.splits.val[2]["wave"])
        other = SynthData(num_sounds=36, seed=1, **SMALL)
        assert not torch.equal(first.splits.val[2]["wave"], other.splits.val[2]["wave"])
        for number in range(36):
            sound = first.source.sound(number)
            assert np.isfinite(sound).all() and 0.05 < np.abs(sound).max() <= 1, list(KINDS)[number % 12]

    def test_sounds_are_what_they_are_called(self):
        """Where the energy lies: kicks are low, hi-hats high; an a is more open than an i and a u."""
        data = SynthData(num_sounds=120)
        centre = {kind: [] for kind in KINDS}
        for number in range(120):
            power = np.abs(np.fft.rfft(data.source.sound(number))) ** 2
            frequency = np.fft.rfftfreq(16000, 1 / 16000)
            centre[list(KINDS)[number % 12]].append((power * frequency).sum() / power.sum())
        mean = {kind: np.mean(values) for kind, values in centre.items()}
        assert mean["kick"] < 400 < mean["snare"] < mean["hi-hat"]
        assert mean["hi-hat"] > 4000
        assert mean["vowel u"] < mean["vowel a"]

    def test_wrong_settings(self):
        with pytest.raises(ValueError, match="`num_sounds` must be at least 24, but is 23"):
            SynthData(num_sounds=23)


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path):
        """Digits of two speakers, in folders by digit."""
        for digit in range(3):
            for speaker in ("anna", "ben"):
                for take in range(3):
                    _noise(tmp_path / "x" / str(digit) / f"{digit}_{speaker}_{take}.wav", digit * 10 + take)
        return tmp_path / "x"

    def test_folders_are_classes(self, folder):
        data = AudioFilesData(str(folder), **SMALL)
        batch = _first(data)
        assert data.classes == ["0", "1", "2"] and batch["label"].dtype == torch.int64
        assert len(data.splits.probe_train) + len(data.splits.probe_test) >= 18
        _noise(folder / "own.wav")
        beside = AudioFilesData(str(folder), **SMALL)
        assert "label" not in _first(beside) and beside.splits.probe_train is None
        assert "label" not in _first(AudioFilesData(str(folder), labels=None, **SMALL))

    def test_names_tell_classes_and_groups(self, folder, capsys):
        pattern = r"(?P<label>\d)_(?P<speaker>[a-z]+)_"
        data = AudioFilesData(str(folder), labels="pattern", pattern=pattern, **SMALL)
        batch = _first(data)
        assert set(batch) == {"wave", "label", "speaker", "name", "piece", "index"} and set(batch["speaker"]) <= {
            "anna",
            "ben",
        }
        for clip in data.splits.train.clips.clips:
            assert str(clip.item.label) == clip.item.name[2]
            assert clip.item.groups["speaker"] in clip.item.name
        assert all("label" in sample for sample in data.splits.probe_test)

        # Probes may hold out speakers.
        loader = batches(data, split_of(data, "probe_train"), 4)
        tokenizer = SpectrogramTokenizer(Fbank(8000, 32), None, (4, 8))
        found = raw_vectors(Embedder(tokenizer, SpectrogramViT(8, 1, 1, 32)), loader, groups="speaker")
        assert set(found.group) == {"anna", "ben"} and len(found.group) == len(found.label) == len(found.values)

        _noise(folder / "0" / "other.wav")  # one that the pattern says nothing of: trained on, not probed
        more = AudioFilesData(str(folder), labels="pattern", pattern=pattern, val_ratio=0.5, **SMALL)
        capsys.readouterr()
        assert "label" not in _first(more)
        assert "1 without a class" in capsys.readouterr().out
        probed = len(more.splits.probe_train) + len(more.splits.probe_test)
        assert (len(more.splits.train) + len(more.splits.val)) - probed == 2  # two windows of it

    def test_a_table_tells_classes(self, folder):
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
        rows = [f"{name},{'even' if int(name[0]) % 2 == 0 else 'odd'},{name[4:7]}" for name in names]
        table = folder / "table.csv"
        settings = {
            "labels": "table", "table": str(table), "file_column": "path", "label_column": "parity",
            "group_column": "who", **SMALL,
        }  # fmt: skip
        for change in (lambda name: name, lambda name: name.removesuffix(".wav"), lambda name: name.split("/")[1]):
            changed = [",".join([change(row.split(",")[0]), *row.split(",")[1:]]) for row in rows]
            table.write_text("\ufeffpath,parity,who\n" + "\n".join(changed) + "\n", encoding="utf-8")
            data = AudioFilesData(str(folder), **settings)
            batch = _first(data)
            assert data.classes == ["even", "odd"] and set(batch) == {"wave", "label", "who", "name", "piece", "index"}
            for clip in data.splits.train.clips.clips:
                assert data.classes[clip.item.label] == ("odd" if clip.item.name[0] == "1" else "even")
        with pytest.raises(ValueError, match=r"`label_column` .* is 'party'; nearest: `parity`"):
            AudioFilesData(str(folder), **(settings | {"label_column": "party"})).setup()

    def test_sounds_are_held_out_whole(self, tmp_path):
        for number in range(6):
            _noise(tmp_path / f"{number}.wav", number, seconds=1.0)
        data = AudioFilesData(str(tmp_path), val_ratio=0.34, **SMALL)
        train, val = ({place for place, _ in part.windows} for part in (data.splits.train, data.splits.val))
        found = [(one["name"], one["piece"]) for one in data.splits.val]
        assert found == [(data.parts[0].items[place].name, piece) for place in sorted(val) for piece in range(4)]
        assert len(train) == 4 and len(val) == 2 and not train & val
        assert len(data.splits.train) == 16 and len(data.splits.val) == 8

    def test_another_folder_to_validate_on(self, folder, tmp_path):
        _noise(tmp_path / "v" / "1" / "a.wav", seconds=0.2)
        _noise(tmp_path / "v" / "2" / "b.wav", seconds=0.2)
        data = AudioFilesData(str(folder), str(tmp_path / "v"), **SMALL)
        batch = _first(data)
        assert [sample["label"] for sample in data.splits.val] == [1, 2]
        assert "length" in batch  # shorter ones are in the other folder
        assert len(data.splits.train.clips) == 18

    def test_one_class_is_none(self, folder, capsys):
        data = AudioFilesData(str(folder / "1"), labels="pattern", pattern="(?P<label>1)", **SMALL)
        assert "label" not in _first(data) and data.splits.probe_train is None
        assert "all labels are of one class, which tells nothing" in capsys.readouterr().out

    def test_errors(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match=r"does not exist\. Nearest: .*empty"):
            AudioFilesData(str(tmp_path / "emty")).setup()
        with pytest.raises(ValueError, match=r"must hold audio files \(\.aac, .*holds nothing"):
            AudioFilesData(str(tmp_path / "empty")).setup()
        (tmp_path / "empty" / "a.wav").write_text("no")
        with pytest.raises(ValueError, match=r"but has none: a\.wav \(no audio"):
            AudioFilesData(str(tmp_path / "empty")).setup()
        _noise(tmp_path / "empty" / "a.wav")
        with pytest.raises(ValueError, match="at least 2 sounds"):
            AudioFilesData(str(tmp_path / "empty")).setup()
        with pytest.raises(ValueError, match=r"`pattern` must tell the label of a file in .*, but tells none"):
            AudioFilesData(str(tmp_path / "empty"), labels="pattern", pattern="(?P<label>zebra)").setup()
        with pytest.raises(ValueError, match=r"must not be called 'wave', 'length', .* but one is 'index'"):
            AudioFilesData(str(tmp_path / "empty"), labels="pattern", pattern="(?P<index>(?P<label>a))").setup()

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"labels": "folders"}, "`labels` must be 'folder', 'pattern', 'table' or None"),
            ({"labels": "pattern"}, "`pattern` must be given exactly where `labels` is 'pattern'"),
            ({"pattern": "(?P<label>.)"}, "but `labels` is 'folder'"),
            ({"labels": "table"}, "`table` must be given exactly where"),
            ({"labels": "pattern", "pattern": "(x"}, r"must be a regular expression, but '\(x' is none"),
            ({"labels": "pattern", "pattern": "x"}, "must have a group named label"),
        ],
    )
    def test_wrong_settings(self, settings, said):
        with pytest.raises(ValueError, match=said):
            AudioFilesData("anywhere", **settings)


class TestTorchaudio:
    @pytest.fixture
    def words(self, tmp_path):
        """SPEECHCOMMANDS as it is unpacked, with four words."""
        root = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
        names = [f"{word}/{speaker}_nohash_0.wav" for word in ("go", "no", "stop", "yes") for speaker in ("ab", "cd")]
        for number, name in enumerate(names):
            _noise(root / name, number)
        (root / "validation_list.txt").write_text("\n".join(names[1::2]) + "\n")
        (root / "testing_list.txt").write_text("")
        return tmp_path

    def test_words_and_speakers(self, words):
        options = {"subset": "training"}, {"subset": "validation"}
        data = TorchaudioData("SPEECHCOMMANDS", str(words), *options, **SMALL)
        batch = _first(data)
        assert data.classes == ["go", "no", "stop", "yes"] and set(batch["speaker"]) == {"ab"}
        assert [sample["label"] for sample in data.splits.probe_test] == [0, 0, 1, 1, 2, 2, 3, 3]
        assert data.splits.val[0]["speaker"] == "cd"
        own = torchaudio.load
        other = TorchaudioData("SPEECHCOMMANDS", str(words), fields={"label": 3}, **SMALL)
        _first(other)
        assert other.classes == ["ab", "cd"] and torchaudio.load is own

    def test_labels_by_file_name(self, tmp_path):
        for number in range(5):
            _noise(tmp_path / "waves_yesno" / f"0_1_0_1_0_1_0_{number}.wav", number)
        data = TorchaudioData("YESNO", str(tmp_path), **SMALL)
        assert "label" not in _first(data) and len(data.splits.train.clips) == 5

    def test_errors(self, words, tmp_path):
        with pytest.raises(ValueError, match="nearest: SPEECHCOMMANDS"):
            TorchaudioData("SPEECHCOMANDS", str(words)).setup()
        with pytest.raises(ValueError, match="Set `download` to True to fetch them"):
            TorchaudioData("SPEECHCOMMANDS", str(tmp_path / "no")).setup()
        with pytest.raises(ValueError, match="arguments of SPEECHCOMMANDS, but 'subsett' is none; nearest: subset"):
            TorchaudioData("SPEECHCOMMANDS", str(words), {"subsett": "training"}).setup()
        (words / "SpeechCommands" / "speech_commands_v0.02" / "go" / "ab_nohash_0.wav").write_bytes(b"no")
        damaged = TorchaudioData("SPEECHCOMMANDS", str(words), **SMALL)
        damaged.setup()
        assert "cannot be used and are left out: SpeechCommands/speech_commands_v0.02/go/ab" in str(damaged.report)
        with pytest.raises(ValueError, match="which has 5, but 'label' is 9"):
            TorchaudioData("SPEECHCOMMANDS", str(words), fields={"label": 9}).setup()

    def test_known_fields_are_of_data_sets_that_there_are(self):
        assert set(FIELDS) <= set(torchaudio.datasets.__all__)


class TestHub:
    @pytest.fixture
    def saved(self, tmp_path):
        """A data set on disk: six sounds, one of them damaged, some as paths and some as contents."""
        from datasets import Audio, ClassLabel, Dataset, Features, Value

        held = []
        for number in range(6):
            path = tmp_path / f"{number}.flac"
            _noise(path, number)
            inside = {"bytes": path.read_bytes(), "path": None}
            held.append(inside if number % 2 else {"bytes": None, "path": str(path)})
        held[5] = {"bytes": b"no sound", "path": None}
        features = Features({
            "audio": {"bytes": Value("binary"), "path": Value("string")},
            "kind": ClassLabel(names=["hum", "hiss"]), "who": Value("string"),
        })  # fmt: skip
        rows = Dataset.from_dict({"audio": held, "kind": [0, 1] * 3, "who": list("aabbcc")}, features=features)
        rows.cast_column("audio", Audio(decode=False)).save_to_disk(str(tmp_path / "set"))
        return tmp_path / "set"

    def test_labels_groups_and_damage(self, saved, capsys):
        data = HubAudioData(str(saved), group_column="who", val_ratio=0.4, **(SMALL | {"batch_size": 2}))
        batch = _first(data)
        assert "1 cannot be used and are left out: row 5 (" in capsys.readouterr().out
        assert data.classes == ["hum", "hiss"] and set(batch) == {"wave", "label", "who", "name", "piece", "index"}
        assert [clip.item.label for clip in data.splits.train.clips.clips] == [0, 1, 0, 1, 0]
        words = HubAudioData(str(saved), label_column="who", **(SMALL | {"batch_size": 2}))
        _first(words)
        assert words.classes == ["a", "b", "c"]

    def test_errors(self, saved, tmp_path):
        with pytest.raises(ValueError, match="`audio_column` must name a column, but is 'adio'; nearest: audio"):
            HubAudioData(str(saved), audio_column="adio").setup()
        with pytest.raises(ValueError, match="`split` must be one of train, but is 'test'"):
            HubAudioData(str(saved), split="test").setup()
        (tmp_path / "plain").mkdir()
        (tmp_path / "plain" / "a.json").write_text(json.dumps([{"text": "x"}]))
        with pytest.raises(ValueError, match="must have a column of sounds, but has only text"):
            HubAudioData(str(tmp_path / "plain")).setup()


def test_probe_samples_are_augmented_where_they_are():
    """Fine-tuning applies the augmentation to samples that do not tell which sound they are from, set up or not."""
    data = SynthData(num_sounds=2 * len(KINDS), augment=("gain",), **SMALL)
    sample = {"wave": torch.ones(8)}
    assert data.augment(dict(sample)).keys() == {"wave"}
    data.setup("fit")
    probed = data.splits.probe_train[0]
    augmented = data.augment(dict(probed))
    assert augmented.keys() == probed.keys()
    assert augmented["wave"].shape == probed["wave"].shape
    assert not torch.equal(augmented["wave"], probed["wave"])


TONES = """
from functools import partial

import numpy as np

from unmask.data import Found, Item, Source
from unmask_audio.data.reading import Made


class Tones(Source):
    kind = "tones"

    def __init__(self, count: int = 8, rate: int = 8000) -> None:
        self.count, self.rate = count, rate

    def read(self, findings):
        tones = [Made(self.rate, self.rate, partial(self.tone, number)) for number in range(self.count)]
        items = [Item(f"tone {n}", one, n % 2) for n, one in enumerate(tones)]
        return Found(items, classes=["a", "b"])

    def tone(self, number):
        return np.sin(np.arange(self.rate) * (0.1 + number), dtype=np.float32) / 2
"""


def test_a_source_of_ones_own_by_class_path(tmp_path, monkeypatch):
    """Beside the options of the data, and with what its arguments are called where one is wrong."""
    (tmp_path / "own_tones.py").write_text(TONES)
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "data.yaml"
    lines = [
        "data:",
        "  class_path: unmask_audio.data.AudioData",
        "  init_args:",
        "    {sample_rate: 4000, seconds: 0.5, batch_size: 2,",
        "     source: {class_path: own_tones.Tones, init_args: {count: 6}}}",
    ]
    config.write_text("\n".join(lines))
    data = build_data(config)
    assert _first(data)["wave"].shape == (2, 2000)
    assert "6 tones: 6.0 seconds at 4,000 Hz, 2 classes." in data.found() and data.classes == ["a", "b"]
    config.write_text("\n".join(lines).replace("count", "cuont"))
    with pytest.raises(UserError, match="cuont"):
        build_data(config)
