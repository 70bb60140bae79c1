"""Tables and columns of labels: of whatever spelling, right or refused, and what is left out is told."""

import io
import math
import os

import numpy as np
import pytest
import soundfile

from unmask_audio.data.files import AudioFilesData
from unmask_audio.data.hub import HubAudioData
from unmask_audio.data.torchaudio_sets import TorchaudioData

SMALL = {"sample_rate": 8000, "seconds": 0.25, "batch_size": 2, "num_workers": 0}


def _wave(file, seed=0, **kind):
    soundfile.write(file, 0.1 * np.random.default_rng(seed).standard_normal(2400), 8000, **kind)


@pytest.fixture
def wav(tmp_path):
    """Six sounds: even ones are of dogs."""
    (tmp_path / "wav").mkdir()
    for number in range(6):
        _wave(tmp_path / "wav" / f"c{number}.wav", number)
    return tmp_path / "wav"


def _read(folder, table, **settings):
    data = AudioFilesData(str(folder), labels="table", table=str(table), **(SMALL | settings))
    data.setup("fit")
    return data


def _labels(data):
    classes = [*data.classes, None]
    found = {}
    for clip in data.parts[0].clips:
        label = clip.item.label
        found[clip.item.name] = classes[-1 if label is None else label]
    return found


EVERY = {f"c{number}.wav": ("dog", "rain")[number % 2] for number in range(6)}


@pytest.mark.parametrize("prefix", ["", "/data/wav/", "wav/", "./", "../wav/", "C:\\data\\wav\\", "{folder}/"])
@pytest.mark.parametrize("ending", [".wav", ""])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_paths_and_delimiters_of_any_kind(prefix, ending, delimiter, wav, tmp_path):
    prefix = prefix.format(folder=wav)
    rows = [["file", "label"], *([prefix + name.removesuffix(".wav") + ending, word] for name, word in EVERY.items())]
    table = tmp_path / ("t.tsv" if delimiter == "\t" else "t.csv")
    table.write_text("\ufeff" + "\r\n".join(map(delimiter.join, rows)) + "\r\n", encoding="utf-8")
    data = _read(wav, table)
    assert _labels(data) == EVERY and data.classes == ["dog", "rain"]
    assert "`table`" not in str(data.report)


def test_the_row_that_shares_most_of_the_path_counts(tmp_path):
    for folder in ("a", "b", "a/b"):
        (tmp_path / "x" / folder).mkdir(parents=True, exist_ok=True)
        _wave(tmp_path / "x" / folder / "1.wav")
    (tmp_path / "t.csv").write_text("file,label\nold/x/b/1.wav,b\nold/x/a/1.wav,a\nold/x/a/b/1.wav,ab\n")
    assert _labels(_read(tmp_path / "x", tmp_path / "t.csv")) == {"a/1.wav": "a", "b/1.wav": "b", "a/b/1.wav": "ab"}
    (tmp_path / "t.csv").write_text(
        "file,label\n1.wav,any\na/1.wav,a\na/b/1.wav,ab\n"
    )  # the name alone is left for one
    assert _labels(_read(tmp_path / "x", tmp_path / "t.csv")) == {"a/1.wav": "a", "b/1.wav": "any", "a/b/1.wav": "ab"}


def test_rows_that_may_be_of_several_files_are_refused(tmp_path):
    for folder in ("train", "val"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            _wave(tmp_path / folder / f"{number}.wav", number)
    table = tmp_path / "t.csv"
    table.write_text("file,label\n0.wav,a\n1.wav,b\n2.wav,a\n")
    with pytest.raises(
        ValueError, match=r"must tell files apart, but `0\.wav` of t\.csv may be .*train/0\.wav or .*val/0"
    ):
        _read(tmp_path / "train", table, val_folder=str(tmp_path / "val"))
    rows = [f"{folder}/{number}.wav,{folder[0]}{number % 2}" for folder in ("train", "val") for number in range(3)]
    table.write_text("\n".join(["file,label", *rows]))
    os.rename(tmp_path / "train", tmp_path / "other")
    with pytest.raises(ValueError, match=r"the row of .*0\.wav may be `train/0\.wav` or `val/0\.wav` of t\.csv"):
        _read(tmp_path / "other", table)
    data = _read(tmp_path / "val", table)
    assert _labels(data) == {"0.wav": "v0", "1.wav": "v1", "2.wav": "v0"}


def test_two_rows_of_one_file_are_refused_unless_they_are_alike(wav, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("file,label\nc0.wav,dog\nc0.wav,loud\nc1.wav,rain\n")
    with pytest.raises(ValueError, match=r"one row for each file, but t\.csv has two for `c0\.wav`: 'dog' and 'loud'"):
        _read(wav, table)
    table.write_text("file,label\nc0.wav,dog\n./c0.wav,dog\nc1.wav,rain\n")
    assert _labels(_read(wav, table))["c0.wav"] == "dog"


def test_what_a_table_lacks_or_has_too_much_is_told(wav, tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("file,label\nc0.wav,dog\nc1.wav,rain\nc2.wav,  \nc3.wav,\nc9.wav,dog\n,dog\nc4.wav,dog,more\n")
    data = _read(wav, table)
    assert _labels(data) == {**dict.fromkeys(EVERY), "c0.wav": "dog", "c1.wav": "rain"}
    told = capsys.readouterr().out
    for line in (
        "1 rows with more or fewer fields than the first line are left out: line 8 of t.csv.",
        "1 rows of `table` name no file.",
        "1 rows of `table` are of no file: c9.wav.",
        "2 files have no row in `table`: c4.wav, c5.wav.",
        "4 without a class.",
    ):
        assert line in told, line
    table.write_text("file,label\nc0.wav,\n")
    with pytest.raises(ValueError, match=r"`table` must tell the label of a file in .*, but tells none"):
        _read(wav, table)
    table.write_text("file,label\nz.wav,dog\n")
    with pytest.raises(ValueError, match="but tells none"):
        _read(wav, table)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"file,label\nc\xe9.wav,dog\n", "must be text of UTF-8, but is not .*; name its `encoding`, such as `cp1252`"),
        (b"", "must have a first line that names its columns, but is empty"),
        (b'file,label\n"c0.wav,dog\n', "a quote does not fit"),
        (b"c0.wav,dog\nc1.wav,rain\n", "`file_column` must name a column of `t.csv`, but is 'file'"),
    ],
)
def test_what_is_no_table_is_refused(content, said, wav, tmp_path):
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        _read(wav, tmp_path / "t.csv")


def test_several_labels_in_one_are_refused_and_names_with_a_comma_are_told(wav, tmp_path):
    table = tmp_path / "t.csv"
    rows = [f'{name},"{word},loud"' for name, word in EVERY.items()]
    table.write_text("\n".join(["file,label", *rows]))
    with pytest.raises(
        ValueError, match=r"`label` of `table` must hold one label .* such as 'dog,loud' and 'rain,loud'"
    ):
        _read(wav, table)
    table.write_text("\n".join(["file,label", *(row.replace("rain,loud", "loud") for row in rows)]))
    with pytest.raises(ValueError, match="such as 'dog,loud' and 'loud'"):
        _read(wav, table)
    names = {"dog": "Fly, housefly", "rain": "Bee, wasp"}
    table.write_text("\n".join(["file,label", *(f'{name},"{names[word]}"' for name, word in EVERY.items())]))
    data = _read(wav, table)
    assert data.classes == ["Bee, wasp", "Fly, housefly"]
    assert "2 labels hold a comma, semicolon or bar, and each is a class as a whole: Bee, wasp, " in str(data.report)


def test_folders_are_read_by_one_rule(wav, capsys):
    """Hidden folders are no classes, links are followed once, and what is no file cannot hang a run."""
    for number in range(4):
        folder = wav / ("dog", "rain")[number % 2]
        folder.mkdir(exist_ok=True)
        os.rename(wav / f"c{number}.wav", folder / f"c{number}.wav")
    for number in (4, 5):
        (wav / f"c{number}.wav").unlink()
    (wav / ".ipynb_checkpoints").mkdir()
    _wave(wav / ".ipynb_checkpoints" / "c0.wav")
    (wav / "dog" / "._c0.wav").write_bytes(b"of a Mac")
    (wav / "dog" / "loop").symlink_to(wav)
    (wav / "notes.json").write_text("{}")
    os.mkfifo(wav / "z.wav")
    data = AudioFilesData(str(wav), **SMALL)
    data.setup("fit")
    assert data.classes == ["dog", "rain"] and len(data.parts[0].clips) == 4
    told = capsys.readouterr().out
    for line in (
        "2 hidden files and folders are left out: ",
        "1 links to files and folders that are found anyway are left out: dog/loop.",
        "1 pipes, sockets and devices are left out: z.wav.",
        "1 files with other endings are left out: notes.json.",
        "windows to train on, ",
    ):
        assert line in told, line


def test_folders_that_are_no_classes_are_told(wav, capsys):
    (wav / "dog").mkdir()
    os.rename(wav / "c0.wav", wav / "dog" / "c0.wav")
    data = AudioFilesData(str(wav), **SMALL)
    data.setup("fit")
    assert list(data.classes) == []
    said = "5 files lie beside the folders, which are therefore no classes: c1.wav, "
    assert said in capsys.readouterr().out


def test_what_validation_shares_or_lacks_is_told(wav, tmp_path, capsys):
    for number in range(6):
        for folder in ("train", "val"):
            inner = tmp_path / folder / ("dog", "rain")[number % 2]
            inner.mkdir(parents=True, exist_ok=True)
            _wave(inner / f"{folder}{number}.wav", number)
    os.rename(tmp_path / "val" / "rain", tmp_path / "val" / "rian")
    (tmp_path / "val" / "dog" / "again.wav").symlink_to(tmp_path / "train" / "dog" / "train0.wav")
    AudioFilesData(str(tmp_path / "train"), str(tmp_path / "val"), **SMALL).setup("fit")
    told = capsys.readouterr().out
    assert "1 files to validate on are also among those to train on: dog/again.wav." in told
    assert "3 sounds to validate on are of classes that none to train on is of: rian/val1.wav, " in told


class TestHub:
    @pytest.fixture
    def make(self, tmp_path):
        """A data set with columns beside its six sounds."""
        from datasets import Audio, Dataset, Features, Value

        def made(columns, features, **settings):
            sounds = []
            for number in range(6):
                file = io.BytesIO()
                _wave(file, number, format="WAV")
                sounds.append({"bytes": file.getvalue(), "path": None})
            kinds = {"audio": {"bytes": Value("binary"), "path": Value("string")}, **features}
            rows = Dataset.from_dict({"audio": sounds, **columns}, features=Features(kinds))
            rows.cast_column("audio", Audio(decode=False)).save_to_disk(str(tmp_path / "set"))
            data = HubAudioData(str(tmp_path / "set"), **(SMALL | settings))
            data.setup("fit")
            return data, [clip.item.label for clip in data.parts[0].clips]

        return made

    @pytest.mark.parametrize(
        ("kind", "values", "classes", "ids"),
        [
            (
                "float64",
                [0.9, 0.1, None, math.nan, 0.5, 10.0],
                ["0.1", "0.5", "0.9", "10.0"],
                [2, 0, None, None, 1, 3],
            ),
            ("string", ["b", "a", " ", "", "b ", None], ["a", "b"], [1, 0, None, None, 1, None]),
            ("int32", [10, 9, 1, 1, None, 2], ["1", "2", "9", "10"], [3, 2, 0, 0, None, 1]),
        ],
    )
    def test_values_of_labels_stay_what_they_are(self, kind, values, classes, ids, make):
        from datasets import Value

        data, found = make({"label": values}, {"label": Value(kind)})
        assert list(data.classes) == classes and found == ids

    def test_unknown_classes_are_none(self, make):
        from datasets import ClassLabel

        assert make({"k": [1, -1, 0, 1, None, 0]}, {"k": ClassLabel(names=["x", "y"])})[1] == [1, None, 0, 1, None, 0]

    def test_lists_are_refused_or_told(self, make, capsys):
        from datasets import List, Value

        column = {"label": [[0, 1], [1], [0], [], [1], [1]]}, {"label": List(Value("int64"))}
        data, _ = make(*column)
        assert list(data.classes) == []
        assert (
            "1 columns are called like labels but hold no single one, and are not read: label."
            in capsys.readouterr().out
        )
        with pytest.raises(ValueError, match=r"`label_column` must hold one label .* 'label' is a column of List"):
            make(*column, label_column="label")
        with pytest.raises(ValueError, match="`audio_column` must name a column of sounds, but 'label' is one of List"):
            make(*column, audio_column="label")

    def test_several_words_in_one_are_refused(self, make):
        from datasets import Value

        with pytest.raises(ValueError, match="holds several in one, such as 'a,b' and 'a'"):
            make({"label": ["b", "a,b", "a", "a", "b", None]}, {"label": Value("string")})

    def test_parts_have_the_same_columns_and_classes(self, tmp_path):
        from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

        _wave(tmp_path / "a.wav")
        parts = {}
        for name, names in (("train", ["x", "y"]), ("test", ["y", "x"])):
            kinds = Features({"audio": Value("string"), "k": ClassLabel(names=names)})
            held = {"audio": [str(tmp_path / "a.wav")] * 4, "k": [0, 1, 0, 1]}
            parts[name] = Dataset.from_dict(held, features=kinds)
        DatasetDict(parts).save_to_disk(str(tmp_path / "set"))
        with pytest.raises(ValueError, match=r"the classes of `split` in column 'k', but has \['y', 'x'\]"):
            HubAudioData(str(tmp_path / "set"), audio_column="audio", **SMALL).setup("fit")
        parts["test"] = parts["train"].remove_columns("k")
        DatasetDict(parts).save_to_disk(str(tmp_path / "less"))
        with pytest.raises(ValueError, match="`val_split` must have the columns of `split`, but has no 'k'"):
            HubAudioData(str(tmp_path / "less"), audio_column="audio", **SMALL).setup("fit")


def test_several_labels_of_a_torchaudio_item_are_refused(tmp_path):
    (tmp_path / "waves_yesno").mkdir()
    for number in range(3):
        _wave(tmp_path / "waves_yesno" / f"0_1_0_1_0_1_0_{number}.wav", number)
    with pytest.raises(ValueError, match="`label` of `fields` must hold one label for each sound, but holds a list"):
        TorchaudioData("YESNO", str(tmp_path), fields={"label": 2}, **SMALL).setup("fit")
