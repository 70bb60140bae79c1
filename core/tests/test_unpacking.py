"""A small file may not become gigabytes."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from unmask.data import Findings, check_archive, check_parquet, open_gzip, open_table, tables, unpacking
from unmask.data.unpacking import check_unpacked, read_npz


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    monkeypatch.setattr(unpacking, "MOST", 2**16)
    monkeypatch.setattr(tables, "LONGEST", 1000)


def test_the_limit_is_a_size_or_a_ratio_whichever_is_more():
    check_unpacked(2**16, 10, "a")
    check_unpacked(100 * 2**20, 2**20, "a")
    with pytest.raises(ValueError, match=r"`a` must unpack to at most 100 MB.* but unpacks to 1,000 MB"):
        check_unpacked(1000 * 2**20, 2**20, "a")


def test_gzip_is_counted_as_it_is_read(tmp_path: Path):
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(b"x" * 2**20))
    with pytest.raises(ValueError, match="must unpack to at most"):
        open_gzip(packed, "a.csv.gz")  # its end says it
    packed.write_bytes(packed.read_bytes()[:-4] + bytes(4))
    with open_gzip(packed, "a.csv.gz") as file, pytest.raises(ValueError, match="must unpack to at most"):
        file.read()
    packed.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with open_gzip(packed, "a.csv.gz") as file:
        assert (file.read(3), file.seek(0), file.read()) == (b"a,b", 0, b"a,b\n1,2\n")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.json.gz"])
def test_a_packed_table_that_is_a_bomb_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 2**18))
    with (
        pytest.raises(ValueError, match="must unpack to at most"),
        open_table(tmp_path / name, Findings()) as table,
    ):
        list(table.rows)


def test_an_archive_is_refused_by_what_its_records_say(tmp_path: Path):
    np.savez_compressed(tmp_path / "a.npz", points=np.zeros(2**20))
    with pytest.raises(ValueError, match="must unpack to at most"):
        check_archive(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("points.npy", b"123")
    check_archive(tmp_path / "b.npz")
    check_archive(Path(__file__))  # no archive


def test_parquet_is_refused_by_what_its_footer_says(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"a": pyarrow.nulls(2**20, pyarrow.int8())}), path)
    with parquet.ParquetFile(path) as file, pytest.raises(ValueError, match="must unpack to at most"):
        check_parquet(file, path)
    with pytest.raises(ValueError, match="must unpack"), open_table(path, Findings()):
        pass


def test_a_line_and_a_field_have_a_length_that_is_bounded(tmp_path: Path):
    for text, told in (("a,b\n" + "x" * 1001, "more in line 2"), ('a,b\n"' + "x\n" * 600, "more in that of line 2")):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(ValueError, match=told), open_table(tmp_path / "a.csv", Findings()) as table:
            list(table.rows)


def test_gzip_that_is_damaged_inside_is_refused(tmp_path: Path):
    content = bytearray(gzip.compress(np.random.default_rng(0).bytes(3000).hex().encode()))
    content[100:140] = bytes(40)
    (tmp_path / "a.csv.gz").write_bytes(bytes(content))
    with pytest.raises(ValueError, match="must be packed by gzip"), open_table(tmp_path / "a.csv.gz", Findings()) as t:
        list(t.rows)


def test_what_is_no_array_in_an_archive_is_refused(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, points=np.ones(3))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("label", b"no array")
    arrays, names = read_npz(file, ("points",))
    assert (list(arrays), names) == (["points"], ["points", "label"])
    with pytest.raises(ValueError, match="`label` is no array"):
        read_npz(file)
