"""Pickles are read as data alone: no code, no lies about sizes, whoever opens the file."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from unmask.data.pickles import data_alone, read_pickle, read_torch


class Evil:
    """Would make a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


class Harmless:
    """A class that nobody has allowed."""

    value = 3


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_is_read_as_pickle_reads_it(tmp_path: Path, protocol: int) -> None:
    whole = {
        "array": np.arange(6.0).reshape(2, 3), "words": np.array(["a", None], dtype=object), "number": np.float32(3),
        "rows": scipy.sparse.csr_matrix(np.eye(3)), "columns": scipy.sparse.csc_array(np.eye(2)),
        "tensor": torch.arange(4).reshape(2, 2), "plain": [1, (2, {3}), "four", b"five", None],
    }  # fmt: skip
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(whole, protocol))
    read = read_pickle(path)
    assert read.keys() == whole.keys()
    assert np.array_equal(read["array"], whole["array"]) and read["words"].tolist() == ["a", None]
    assert read["number"] == 3 and read["plain"] == whole["plain"]
    assert torch.equal(read["tensor"], whole["tensor"])
    assert scipy.sparse.issparse(read["rows"]) and np.array_equal(read["rows"].toarray(), np.eye(3))
    assert np.array_equal((read["columns"] @ np.ones(2)), np.ones(2))


def test_what_asks_for_code_is_refused(tmp_path: Path) -> None:
    path, ran = tmp_path / "a.pickle", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Evil(ran)))
    with pytest.raises(ValueError, match=r"a\.pickle` must hold data alone, but asks for `\w+\.mkdir`, which"):
        read_pickle(path)
    torch.save({"x": Evil(ran)}, path)
    with pytest.raises(ValueError, match=r"must hold data alone, but asks for `\w+\.mkdir`"):
        read_torch(path)
    assert not ran.exists()


def test_libraries_that_open_files_themselves_run_no_code(tmp_path: Path) -> None:
    path, ran = tmp_path / "a.pt", tmp_path / "ran"
    torch.save(Evil(ran), path)
    stored = pickle.dumps(Evil(ran))
    np.save(tmp_path / "a.npy", np.array([Evil(ran)], dtype=object), allow_pickle=True)
    before = pickle.load, pickle.loads, pickle.Unpickler, torch.load
    with data_alone():
        for read in (
            lambda: torch.load(path, weights_only=False),
            lambda: torch.load(path, None, pickle, weights_only=False),
            lambda: pickle.loads(stored),
            lambda: pickle.load(io.BytesIO(stored)),
            lambda: pickle.Unpickler(io.BytesIO(stored)).load(),
            lambda: np.load(tmp_path / "a.npy", allow_pickle=True),
        ):
            with pytest.raises((ValueError, pickle.UnpicklingError), match="asks for"):
                read()
        assert pickle.loads(pickle.dumps([1, "two"])) == [1, "two"]
        two = io.BytesIO(pickle.dumps(1) + pickle.dumps(2))
        assert [pickle.load(two), pickle.load(two)] == [1, 2]
    assert (pickle.load, pickle.loads, pickle.Unpickler, torch.load) == before
    assert not ran.exists()


def test_classes_that_are_allowed_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save([Harmless()], path)
    with pytest.raises(ValueError, match=r"asks for `[a-z_.]*Harmless`"):
        read_torch(path)
    assert read_torch(path, [Harmless])[0].value == 3
    with torch.serialization.safe_globals([Harmless]):
        with data_alone([Harmless]):
            assert torch.load(path)[0].value == 3
        assert torch.load(path, weights_only=True)[0].value == 3


def lying(**wrong: Any) -> bytes:
    matrix = scipy.sparse.csr_matrix(np.eye(3))
    for name, value in wrong.items():
        setattr(matrix, name, value)
    return pickle.dumps(matrix, 2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lying(indices=np.array([0, 1, 10**8], dtype=np.int32)), "may be damaged: indices must be < 3"),
        (lying(indices=np.array([0, 1, -1], dtype=np.int32)), "may be damaged: indices must be >= 0"),
        (lying(indptr=np.array([0, 10**6, 2 * 10**6, 3 * 10**6], dtype=np.int32)), "damaged: Last value of index"),
        (lying(_shape=(10**7, 10**6)), "may be damaged: index pointer size 4 should be 10000001"),
        (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"aa.", "may be damaged"),
        (b"\x80\x02K\x01r\xff\xff\xff\x7fX", "may be damaged"),  # a memo of 2 ** 31
        (b"", "may be damaged"),
        (b"hello", "may be damaged"),
    ],
)
def test_lies_and_damage_are_one_plain_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "a.pickle"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=told) as error:
        read_pickle(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_damaged_file_of_torch_is_one_plain_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"a\.pt` cannot be read; it may be damaged") as error:
        read_torch(path)
    assert "\n" not in str(error.value)
