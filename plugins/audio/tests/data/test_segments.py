"""Segments of long recordings by a table: only their own samples are read, and whole recordings are held out."""

import json

import numpy as np
import pytest
import soundfile
import torch

from unmask.data import UNREADABLE
from unmask_audio.data.files import AudioFilesData
from unmask_audio.data.reading import Segment, read_header, read_wave
from unmask_audio.data.report import CUT
from unmask_audio.data.segments import seconds_of

SMALL = {"sample_rate": 8000, "seconds": 0.5, "batch_size": 2, "num_workers": 0}
SEGMENTS = {"labels": "table", "start_column": "start", "end_column": "end"}
RATE = 16000


@pytest.fixture
def folder(tmp_path):
    """Three recordings of 6 s, second n of which is a constant of n / 10, and ``d`` more of each recording."""
    (tmp_path / "wav" / "b").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "b/c.wav", "b/d.flac")):
        wave = np.repeat(np.arange(6) / 10, RATE) + number / 100
        soundfile.write(tmp_path / "wav" / name, wave, RATE, subtype="PCM_24")
    return tmp_path / "wav"


def _data(folder, rows, **settings):
    table = folder.parent / "t.csv"
    table.write_text("file,start,end,label\n" + "\n".join(rows) + "\n")
    return AudioFilesData(str(folder), table=str(table), **(SEGMENTS | SMALL | settings))


def _names(data):
    return [[item.name for item in part.items] for part in data.parts]


def test_each_row_is_an_item_of_its_own_samples(folder, capsys):
    rows = [f"{name},{start},{start + 1},{'even' if start % 2 == 0 else 'odd'}"
            for name in ("a.wav", "wav/b/c.wav", "d") for start in range(6)]  # fmt: skip
    data = _data(folder, rows, val_ratio=0.3)
    data.setup("fit")
    assert "18 sounds: 18.0 seconds at 8,000 Hz, 2 classes." in capsys.readouterr().out
    for part in data.splits[:2]:
        for sample in part:
            start = int(sample["name"].partition("@")[2].partition("-")[0])
            number = ("a.wav", "b/c.wav", "b/d.flac").index(sample["name"].partition("@")[0])
            assert data.classes[sample["label"]] == ("even", "odd")[start % 2]
            inner = sample["wave"][1000:3000]  # where the filter of another rate sees no other second
            assert torch.allclose(inner, torch.tensor(start / 10 + number / 100), atol=2e-3), sample["name"]
            assert sample["piece"] in (0, 1)
    train, val = ({name.partition("@")[0] for name in part} for part in _names(data))
    assert len(train) == 2 and len(val) == 1 and not train & val


def test_of_one_recording_the_last_segments_are_held_out(folder, capsys):
    rows = [f"a.wav,{start / 2:g},{start / 2 + 1:g},{start % 2}" for start in range(11)]
    data = _data(folder, rows, val_ratio=0.3)
    data.setup("validate")
    train, val = _names(data)
    assert val == ["a.wav@4-5", "a.wav@4.5-5.5", "a.wav@5-6"]
    assert train == [f"a.wav@{start / 2:g}-{start / 2 + 1:g}" for start in range(7)]
    told = capsys.readouterr().out
    assert "1 recording has segments to train and to validate on, the latter at its end: a.wav." in told
    assert "1 segments overlap with those to validate on, and are left out: a.wav@3.5-4.5." in told
    assert "2 files have no row in `table`: b/c.wav, b/d.flac." in told


def test_rows_that_are_no_segments_are_told(folder):
    rows = ["a.wav,0,1,x", "a.wav,1,1,x", "a.wav,2,one,x", "a.wav,,3,x", "a.wav,0,1,x", "z.wav,0,1,x", "a.wav,5.5,9,y",
            "a.wav,7,8,y", "a.wav,0:03,0:00:04,"]  # fmt: skip
    data = _data(folder, rows, val_ratio=0)
    data.setup("validate")
    assert _names(data) == [["a.wav@0-1", "a.wav@5.5-9", "a.wav@3-4"]]
    odd = {what: count for what, (count, _) in data.report.findings.odd.items()}
    assert odd["rows of `table` have no start below their end, in seconds, and are left out"] == 3
    assert odd["rows of `table` are there twice, and count once"] == 1
    assert odd["rows of `table` are of no file"] == 1
    assert odd[CUT] == 1
    assert data.report.findings.named(UNREADABLE).startswith("a.wav@7-8 (it begins after the end of its file, which is")


def test_segments_without_labels_from_json_lines(folder):
    table = folder.parent / "t.jsonl"
    records = [{"file": name, "from": start, "to": start + 0.5} for name in ("a", "c") for start in range(4)]
    table.write_text("\n".join(map(json.dumps, records)))
    columns = {"start_column": "from", "end_column": "to", "label_column": None}
    data = AudioFilesData(str(folder), labels="table", table=str(table), **columns, **SMALL)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert "label" not in batch and batch["wave"].shape == (2, 4000)


def test_a_folder_to_validate_on(folder):
    (folder / "b").rename(folder.parent / "val")
    rows = [f"{name},{start},{start + 1},{start % 2}" for name in ("a.wav", "c.wav") for start in range(4)]
    data = _data(folder, rows, val_folder=str(folder.parent / "val"))
    data.setup("validate")
    assert [len(names) for names in _names(data)] == [4, 4]
    assert all(name.startswith("c.wav@") for name in _names(data)[1])


@pytest.mark.parametrize("label_column", ["label", None])
def test_other_data_is_read_by_whole_files(label_column, folder):
    """As `unmask apply` reads it: no table tells of its segments."""
    data = _data(folder, ["a.wav,0,1,x", "b/c.wav,1,2,y"], label_column=label_column)
    other = data.elsewhere(str(folder))
    other.setup("validate")
    assert _names(other) == [["a.wav", "b/c.wav", "b/d.flac"]]


def test_what_does_not_fit_is_refused(folder):
    for settings, said in (
        ({"end_column": None}, "`start_column` and `end_column` must be given together, but are 'start' and None"),
        ({"labels": "folder", "table": None}, "`labels` must be 'table' where `start_column` and `end_column`"),
        ({"start_column": "stort"}, "`start_column` must name a column of `t.csv`, but is 'stort'; nearest: `start`"),
        ({"label_column": "klass"}, "`label_column` must name a column of `t.csv`, but is 'klass'"),
    ):
        with pytest.raises(ValueError, match=said):
            AudioFilesData(
                str(folder), **(SEGMENTS | {"table": str(_table(folder, "a.wav,0,1,x"))} | SMALL | settings)
            ).setup()
    with pytest.raises(ValueError, match=r"`table` must give segments of files in .*, but gives none"):
        _data(folder, ["z.wav,0,1,x"]).setup()
    with pytest.raises(ValueError, match="`label_column` must name a column of `table`, but is None"):
        AudioFilesData(str(folder), labels="table", table="t.csv", label_column=None)
    soundfile.write(folder / "a.flac", np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match=r"may be .*a\.(flac|wav) or .*a\.(flac|wav); write their endings"):
        _data(folder, ["a,0,1,x"]).setup()


@pytest.mark.parametrize(
    ("unit", "said"),
    [(1000, "such as 1000 to 2000 of a.wav, which is 6 s long"), (RATE, "such as 16000 to 32000 of a")],
)
def test_numbers_that_are_no_seconds_are_refused(unit, said, folder):
    rows = [f"a.wav,{start * unit},{(start + 1) * unit},{start % 2}" for start in range(1, 6)]
    with pytest.raises(
        ValueError, match=rf"must be seconds from .*, but 5 of 5 .* {said}.*divide milliseconds by 1,000"
    ):
        _data(folder, rows).setup()
    rounded = [*(f"a.wav,{start},{start + 1},{start % 2}" for start in range(3)), "a.wav,3,6.5,1"]
    assert len(_data(folder, rounded, val_ratio=0).parts[0].items) == 4


def _table(folder, row):
    table = folder.parent / "t.csv"
    table.write_text(f"file,start,end,label\n{row}\n")
    return table


def test_a_segment_reads_as_a_cut_of_the_whole(folder):
    """At the file's own rate, sample by sample."""
    whole, rate = soundfile.read(folder / "a.wav", dtype="float32")
    segment = Segment(folder / "a.wav", 1.25, 2.5)
    header = read_header(lambda: segment)
    assert (header.num_samples, header.sample_rate, header.cut) == (20000, rate, False)
    assert np.array_equal(read_wave(lambda: segment, header, rate).samples, whole[20000:40000])
    assert np.array_equal(read_wave(lambda: segment, header, rate, 18000, 5000).samples, whole[38000:40000])


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [("1.5", 1.5), (2, 2.0), (" 1:30 ", 90.0), ("1:00:01.5", 3601.5), ("", None), (None, None), ("x", None),
     ("-1", None), (float("nan"), None), ("1:2:3:4", None)],
)  # fmt: skip
def test_seconds(cell, seconds):
    assert seconds_of(cell) == seconds
