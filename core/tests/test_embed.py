"""Features in files: nothing is hidden, right rows and ids, constant memory, and kills that leave no trace.

Run as a program, this file kills itself at every moment that matters: see `killed_everywhere`.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from functools import partial
from itertools import count
from pathlib import Path

import lightning as L
import numpy as np
import pyarrow.parquet
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

from unmask import Latent, MaskedModel, Sequence, Tokens
from unmask.data import MaskedDataModule, Splits
from unmask.losses import MSELoss
from unmask.parts import Encoder, MaskSampler, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask.tools.features import embed
from unmask.tools.features import files as feature_files
from unmask.tools.features import row_store as columns
from unmask.tools.features.samples import batches, split_of
from unmask.tools.features.vectors import vectors

of_val = partial(embed.embed, split="val")
SUFFIXES = (".npy", ".parquet", ".safetensors")


class Rows(Tokenizer):
    """Rows of ``batch["x"]`` ``[B, N, V]``; packed where the batch has ``lengths``."""

    def forward(self, batch):
        x, lengths = batch["x"], batch.get("lengths")
        if lengths is None:
            return Tokens(x, Sequence())
        valid = torch.arange(x.shape[1]) < lengths[:, None]
        if self.training:
            raise AssertionError("features are computed in evaluation mode")
        if batch["padded"].any():
            return Tokens(x, Sequence(), valid=valid)
        return Tokens(x[valid], Sequence(), offsets=nn.functional.pad(lengths.cumsum(0), (1, 0)))


class Forbidden(MaskSampler):
    """No inference path may come here."""

    def forward(self, tokens, progress=None, draws=None):
        raise AssertionError("a mask was drawn")

    sample = None


class Codes(Encoder):
    """Two layers: 2 x, then 2 x + noise of dropout; a class token that is the mean."""

    width, num_layers = 2, 2

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.dropout = nn.Dropout(0.5)
        self.masks = []

    def forward(self, tokens, mask=None, layer=None):
        self.masks.append(mask)
        self.depth(layer)
        values = 2 * tokens.values
        if layer != 1:
            values = self.dropout(self.linear(values))
        return Latent(values, prefix=values.mean(-2, keepdim=True) if tokens.offsets is None else None)


class Numbers(MaskedDataModule):
    """Samples ``[3, 2]``, with whatever ``extra`` says of each."""

    def __init__(self, num=20, extra=lambda i: {"label": i % 3}, hook=lambda i: None, **kwargs):
        super().__init__(batch_size=4, num_workers=0, **kwargs)
        self.num, self.extra, self.hook = num, extra, hook

    def load(self):
        return Splits(train=self, val=self)

    def __len__(self):
        return self.num

    def __getitem__(self, i):
        self.hook(i)
        return {"x": torch.arange(6.0).reshape(3, 2) / 7 + i, **self.extra(i)}


def model():
    torch.manual_seed(0)
    return MaskedModel(
        tokenizer=Rows(), mask=Forbidden(0.5), encoder=Codes(), predictor=LinearPredictor(2, 2),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


def table(out):
    """Columns of a file of any kind."""
    if out.suffix == ".parquet":
        read = pyarrow.parquet.read_table(out).to_pydict()
        return {name: column if name == "path" else np.array(column) for name, column in read.items()}
    ids = out.with_name(out.name + ".ids.csv")
    beside = list(csv.DictReader(ids.open(newline=""))) if ids.exists() else []
    if out.suffix == ".safetensors":
        return safetensors.numpy.load_file(out) | ({"path": [row["path"] for row in beside]} if beside else {})
    columns = {name: [row[name] for row in beside] for name in beside[0]}
    return {"features": np.load(out)} | {k: v if k == "path" else np.array(v, float) for k, v in columns.items()}


def test_no_inference_path_masks_and_all_give_the_bare_codes(tmp_path):
    trained, data = model().train(), Numbers()
    expected = torch.cat([trained.encoder.eval()(trained.tokenizer(b)).values.mean(1) for b in data.val_dataloader()])
    trained.train()
    trained.encoder.masks.clear()
    of_val(trained, data, tmp_path / "f.npy")
    assert np.array_equal(np.load(tmp_path / "f.npy"), expected.detach().numpy())
    assert np.array_equal(vectors(trained.embedder, data.val_dataloader()).values, expected.detach())
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    assert torch.equal(torch.cat(trainer.predict(trained, data)), expected.detach())
    assert trained.encoder.masks == [None] * 15
    with pytest.raises(AssertionError, match="a mask was drawn"):
        trained.step(next(iter(data.val_dataloader())))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_kinds_of_file_hold_the_same_rows_and_ids(tmp_path, suffix):
    data = Numbers(extra=lambda i: {"label": i % 3, "path": f'{i}, "ü"\n.png'})
    made = of_val(model(), data, tmp_path / f"f{suffix}", layer=1, batch_size=7)
    assert (made.num_rows, made.width, made.num_samples, made.num_found) == (20, 2, 20, 0)
    got = table(made.path)
    expected = 2 * (torch.arange(6.0).reshape(3, 2).mean(0) / 7 + torch.arange(20)[:, None])
    np.testing.assert_allclose(got["features"], expected, rtol=1e-6)
    assert got["features"].dtype in (np.float32, np.float64)  # arrow gives Python numbers
    assert got["index"].tolist() == list(range(20))
    assert got["label"].tolist() == [i % 3 for i in range(20)]
    assert got["path"] == [f'{i}, "ü"\n.png' for i in range(20)]
    assert not (tmp_path / f"f{suffix}.partial").exists()
    if suffix == ".parquet":
        assert made.ids is None
        kinds = pyarrow.parquet.read_schema(made.path)
        assert str(kinds.field("features").type) == "fixed_size_list<element: float>[2]"
        assert str(kinds.field("index").type) == "int64"


def test_an_odd_number_of_odd_rows_stays_aligned_in_safetensors(tmp_path):
    made = of_val(model(), Numbers(num=1, extra=lambda i: {"label": 0.5}), tmp_path / "f.safetensors")
    assert made.ids is None
    got = safetensors.torch.load_file(made.path)
    assert {name: value.dtype for name, value in got.items()} == {
        "features": torch.float32, "index": torch.int64, "label": torch.float64,
    }  # fmt: skip
    with safetensors.safe_open(made.path, "pt") as file:
        assert file.metadata()["pool"] == "mean"


@pytest.mark.parametrize("padded", [True, False])
def test_rows_of_ragged_tokens_by_hand(tmp_path, padded):
    lengths = [2, 3, 1]
    data = Numbers(num=3, extra=lambda i: {"lengths": lengths[i], "padded": padded, "label": 10 * i})
    made = of_val(model(), data, tmp_path / "f.npy", layer=1, per_token=True, batch_size=2)
    got = table(made.path)
    x = torch.arange(6.0).reshape(3, 2) / 7
    np.testing.assert_allclose(got["features"], torch.cat([2 * (x[:n] + i) for i, n in enumerate(lengths)]), rtol=1e-6)
    assert got["index"].tolist() == [0, 0, 1, 1, 1, 2]
    assert got["token"].tolist() == [0, 1, 0, 1, 2, 0]
    assert got["label"].tolist() == [0, 0, 10, 10, 10, 20]
    pooled = of_val(model(), data, tmp_path / "g.npy", layer=1, batch_size=2)
    np.testing.assert_allclose(
        np.load(pooled.path), [(2 * (x[:n] + i)).mean(0).tolist() for i, n in enumerate(lengths)], rtol=1e-6
    )


def test_labels_of_tokens_go_with_tokens_and_several_labels_have_a_column_each(tmp_path):
    data = Numbers(num=3, extra=lambda i: {"label": torch.tensor([i, 5, 6])})
    got = table(of_val(model(), data, tmp_path / "f.npy", per_token=True).path)
    assert got["label"].tolist() == [0, 5, 6, 1, 5, 6, 2, 5, 6]
    assert "label" not in table(of_val(model(), data, tmp_path / "g.npy").path)
    data = Numbers(num=3, extra=lambda i: {"label": torch.tensor([i == 0, i == 1]).float()})
    got = table(of_val(model(), data, tmp_path / "h.npy").path)
    assert got["label_0"].tolist() == [1, 0, 0]
    assert got["label_1"].tolist() == [0, 1, 0]


@pytest.mark.parametrize(("pool", "width"), [("max", 2), ("mean+max", 4), ("cls", 2)])
def test_pooling_and_batches_of_the_loader(tmp_path, pool, width):
    trained, data = model(), Numbers()
    made = of_val(trained, data, tmp_path / "f.npy", pool=pool)
    whole = trained.encoder.eval()(Tokens(torch.stack([data[i]["x"] for i in range(20)]), Sequence()))
    np.testing.assert_allclose(np.load(made.path), whole.pool(pool).detach(), rtol=1e-5)
    assert made.width == width
    starts = [batch["index"][0].item() for batch in batches(data, split_of(data, "val"), 6, start=5)]
    assert starts == [5, 11, 17]


def test_a_finished_file_is_not_made_again_and_another_never_overwritten_unasked(tmp_path):
    out, trained = tmp_path / "f.npy", model()
    of_val(trained, Numbers(), out)
    before = out.read_bytes()
    trained.encoder.masks.clear()
    again = of_val(trained, Numbers(), out)
    assert (again.num_rows, again.num_found, trained.encoder.masks) == (20, 20, [])
    with pytest.raises(ValueError, match=r"f\.npy` was made with pool mean, not max; .* set `overwrite`"):
        of_val(trained, Numbers(), out, pool="max")
    with pytest.raises(ValueError, match="was made with another checkpoint"):
        of_val(trained, Numbers(), out, source={"checkpoint": "sha256:1"})
    with pytest.raises(ValueError, match="was made with num_samples 20, not 21"):
        of_val(trained, Numbers(21), out)
    assert out.read_bytes() == before
    of_val(trained, Numbers(), out, pool="max", overwrite=True)
    assert out.read_bytes() != before
    (tmp_path / "f.npy.json").unlink()
    with pytest.raises(ValueError, match=r"is there already, with no `f.npy.json`"):
        of_val(trained, Numbers(), out)


def test_half_a_file_is_carried_on_only_in_the_way_it_was_begun(tmp_path, monkeypatch):
    def stop(i):
        if i == 13:
            raise KeyboardInterrupt

    out, trained = tmp_path / "f.npy", model()
    with pytest.raises(KeyboardInterrupt):
        of_val(trained, Numbers(hook=stop), out)
    assert not out.exists()
    with pytest.raises(ValueError, match=r"f\.npy\.partial` was begun with layer None, not 1"):
        of_val(trained, Numbers(), out, layer=1)
    seen = []
    made = of_val(trained, Numbers(hook=seen.append), out, progress=lambda done, total: seen.append((done, total)))
    assert made.num_found == 12
    assert [i for i in seen if isinstance(i, int)] == [0, *range(12, 20)]  # the first is looked at for a label
    assert [i for i in seen if isinstance(i, tuple)] == [(12, 20), (16, 20), (20, 20)]
    with pytest.raises(KeyboardInterrupt):
        of_val(trained, Numbers(hook=stop), out, layer=1, overwrite=True)
    assert np.load(out).shape == (20, 2)  # the old file stays until the new one is whole
    assert of_val(trained, Numbers(), out, layer=1, overwrite=True).num_found == 12
    of_val(trained, Numbers(), tmp_path / "g.npy", layer=1)
    assert out.read_bytes() == (tmp_path / "g.npy").read_bytes()


def test_mistakes_are_plain_and_leave_nothing_behind(tmp_path, monkeypatch):
    cases = [
        ({"out": tmp_path / "f.txt"}, r"`out` must end in one of \.npy, \.parquet, \.safetensors"),
        ({"split": "probe_test"}, r"`split` must be one that the data has \(train, val\), but is 'probe_test'"),
        ({"layer": 3}, r"`layer` must be in \[1, 2\]"),
        ({"pool": "median"}, "`pool` must be"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, but is 0"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            of_val(model(), Numbers(extra=lambda i: {}), **{"out": tmp_path / "f.npy"} | options)
    broken = Numbers(extra=lambda i: {"x": torch.full((3, 2), 1.0 if i != 6 else torch.nan)})
    with pytest.raises(ValueError, match="those of sample 6 hold NaN"):
        of_val(model(), broken, tmp_path / "n.npy")
    ragged = Numbers(extra=lambda i: {"x": torch.zeros(3 + i % 2, 2)})
    with pytest.raises(ValueError, match=r"of one size, but there are \(3, 2\), \(4, 2\)"):
        of_val(model(), ragged, tmp_path / "r.npy")
    monkeypatch.setattr(feature_files.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'unmask\[parquet\]'"):
        of_val(model(), Numbers(), tmp_path / "f.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.npy.partial"]  # its first samples were fine


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_more_rows_are_held_than_a_batch_and_a_chunk(tmp_path, monkeypatch, suffix):
    alive, most, chunks = [], [], []

    class Held(np.ndarray):
        """An array that weak references can follow."""

    def rows(*args, rows=embed._rows):
        number, made = rows(*args)
        made["features"] = held = made["features"].view(Held)
        alive.append(len(held))
        weakref.finalize(held, alive.pop)
        most.append(sum(alive))
        return number, made

    def read(file, kind, number, read=columns._read):
        chunks.append(number)
        return read(file, kind, number)

    monkeypatch.setattr(embed, "_rows", rows)
    monkeypatch.setattr(columns, "_read", read)
    monkeypatch.setattr(feature_files, "CHUNK_BYTES", 80)  # ten rows
    monkeypatch.setattr(feature_files, "CHUNK_LINES", 10)
    assert of_val(model(), Numbers(num=400), tmp_path / f"f{suffix}").num_rows == 400
    assert len(most) == 100
    assert max(most) <= 8  # a batch that was written and one that comes
    assert max(chunks, default=0) <= 10


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    done = subprocess.run([sys.executable, __file__, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout)
    assert set(killed) == set(SUFFIXES)
    assert all(number >= 16 for number in killed.values()), killed


def killed_everywhere(suffix: str, folder: Path) -> int:
    """Kill a process before and after each renaming, while samples are read, and while tidying; then let it end.

    Returns the number of kills; each is followed by a call that must leave the bytes of an undisturbed one.
    """

    def write(out: Path, sample=None, **options) -> None:
        data = Numbers(8, hook=lambda i: die() if i == sample else None, extra=lambda i: {"label": i, "path": f"{i}.x"})
        of_val(model(), data, out, **{"per_token": True} | options)

    def child(out: Path, prepare=lambda: None, sample=None, **options) -> bool:
        """Whether a process of its own was killed on the way."""
        pid = os.fork()
        if pid == 0:
            prepare()
            write(out, sample, **options)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or status == 0, status
        assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) == signal.SIGKILL
        return os.WIFSIGNALED(status)

    def dying(function, when: int, first: bool):
        calls = count(1)

        def call(*args, **kwargs):
            mine = next(calls)
            if mine == when and first:
                die()
            function(*args, **kwargs)
            if mine == when:
                die()

        return call

    def at_renaming(number: int, first: bool):
        return lambda: setattr(os, "replace", dying(os.replace, number, first))

    def while_tidying():
        def remove(path, **kwargs):
            if path.is_dir():
                next(path.glob("index")).unlink()
                die()

        shutil.rmtree = remove

    def contents(out: Path) -> list[bytes]:
        assert not out.with_name(out.name + ".partial").exists()
        return [path.read_bytes() for path in sorted(out.parent.iterdir())]

    columns.COMMIT_S = 0.0  # every batch counts
    os.fsync = lambda file: None  # slow, and of use when the power fails only
    whole = folder / "whole" / f"f{suffix}"
    write(whole)
    expected = contents(whole)
    kills = 0

    def check(name: str, *moments) -> bool:
        nonlocal kills
        out = folder / name / whole.name
        killed = [child(out, *moment) for moment in moments]
        kills += sum(killed)
        write(out)
        assert contents(out) == expected, name
        return all(killed)

    # A file made in another way is there, and is asked to be replaced: it is old or new, never called new while old.
    number, killed = 1, True
    while killed:
        out = folder / f"replacing-{number}" / whole.name
        write(out, per_token=False)
        old = out.read_bytes()
        killed = child(out, at_renaming(number, True), overwrite=True)
        try:
            write(out)
        except ValueError:  # nothing was committed: there is the old file alone, and it is refused
            untouched = out.read_bytes() == old and number == 1
            if not untouched:
                raise
        else:
            assert contents(out) == expected
        kills, number = kills + killed, number + 1
    for first in (True, False):
        number = 1
        while check(f"renaming-{number}-{first}", (at_renaming(number, first),)):
            number += 1
    assert check("twice", (lambda: None, 3), (lambda: None, 6))
    assert check("before-the-first-batch", (lambda: None, 2))
    # The folder is removed once when work begins and once when it is over.
    out = folder / "tidying" / whole.name
    assert child(out, lambda: None, 6)
    assert child(out, while_tidying)
    write(out)
    assert contents(out) == expected
    return kills + 2


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked process has no threads but its first
    print(json.dumps({suffix: killed_everywhere(suffix, Path(sys.argv[1]) / suffix[1:]) for suffix in SUFFIXES}))


class Named(Numbers):
    """Samples to train on and others to validate on, by name; labels are class ids, or what `extra` says."""

    classes = ("cat", "dog", "owl", "elk")

    def load(self):
        return Splits(Numbers(6, self.extra, self.hook), Numbers(3, lambda i: self.extra(i + 6), self.hook))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_sample_is_written_once_with_its_name_class_and_split(suffix, tmp_path):
    data = Named(extra=lambda i: {"label": i % 3, "name": f"f{i}.x", "piece": i // 2})
    made = embed.embed(model(), data, tmp_path / f"f{suffix}", batch_size=4)
    assert made.num_rows == made.num_samples == 9
    if suffix == ".parquet":
        rows = pyarrow.parquet.read_table(made.path).to_pylist()
        assert made.ids is None
    else:
        rows = list(csv.DictReader(made.ids.open(newline="")))
    assert [row["name"] for row in rows] == [f"f{i}.x" for i in range(9)]
    assert [row["split"] for row in rows] == ["train"] * 6 + ["val"] * 3
    assert [int(row["index"]) for row in rows] == [*range(6), *range(3)]
    assert [row["class"] for row in rows] == ["cat", "dog", "owl"] * 3
    assert [int(row["piece"]) for row in rows] == [i // 2 for i in range(9)]


def test_several_classes_and_unknown_ones_in_words(tmp_path):
    labels = [torch.tensor(row) for row in ([1, 0, 1, 0], [0, 0, 0, 0], [-100, 1, -100, -100])] * 3
    made = embed.embed(model(), Named(extra=lambda i: {"label": labels[i]}), tmp_path / "f.npy")
    assert [row["class"] for row in csv.DictReader(made.ids.open(newline=""))] == ["cat;owl", "", "dog"] * 3
    made = embed.embed(model(), Named(extra=lambda i: {"label": (-100, 2)[i % 2]}), tmp_path / "g.npy")
    assert [row["class"] for row in csv.DictReader(made.ids.open(newline=""))][:2] == ["", "owl"]


@pytest.mark.parametrize("at", [3, 5, 7])
def test_a_kill_between_parts_leaves_no_trace(at, tmp_path):
    def stop(i):
        met.append(i)
        if len(met) == at:
            raise KeyboardInterrupt

    extra = lambda i: {"label": i % 3, "name": f"f{i}"}  # noqa: E731
    whole = embed.embed(model(), Named(extra=extra), tmp_path / "whole.npy", batch_size=2)
    met = []
    with pytest.raises(KeyboardInterrupt):
        embed.embed(model(), Named(extra=extra, hook=stop), tmp_path / "cut.npy", batch_size=2)
    again = embed.embed(model(), Named(extra=extra), tmp_path / "cut.npy", batch_size=2)
    assert again.path.read_bytes() == whole.path.read_bytes() and again.ids.read_bytes() == whole.ids.read_bytes()


def test_parts_without_labels_have_unknown_ones_beside_those_with(tmp_path):
    class Apart(Named):
        def load(self):
            return Splits(Numbers(4, lambda i: {}), Numbers(2, lambda i: {}), Numbers(3), Numbers(1))

        def everything(self):
            return self.splits._asdict()

    made = embed.embed(model(), Apart(), tmp_path / "f.npy")
    rows = list(csv.DictReader(made.ids.open(newline="")))
    assert [row["class"] for row in rows] == [""] * 6 + ["cat", "dog", "owl", "cat"]
    assert [row["split"] for row in rows] == ["train"] * 4 + ["val"] * 2 + ["probe_train"] * 3 + ["probe_test"]
