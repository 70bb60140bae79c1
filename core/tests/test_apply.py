"""Labels for new data: right rows for every task, whole files, and mistakes in a line."""

from __future__ import annotations

import csv

import pyarrow.parquet
import pytest
import torch
from torch import nn

from unmask import Latent, MaskedModel, Sequence, Tokens
from unmask.cli.apply import finetuned
from unmask.data import MaskedDataModule, Splits
from unmask.losses import MSELoss
from unmask.masks.random import RandomMask
from unmask.parts import Encoder, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.support.errors import UserError
from unmask.targets import ValueTarget
from unmask.tools.apply.apply import apply
from unmask.tools.features.labels import CLASSIFICATION, MULTI_LABEL, REGRESSION, Task
from unmask.tools.finetune import FineTuning, Settings
from unmask.tools.finetune.objective import Classification, MultiLabel, Regression


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Sequence(), valid=batch.get("valid"))


class Same(Encoder):
    width, num_layers = 3, 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, tokens, mask=None, layer=None):
        return Latent(tokens.values * self.weight)


class Files(MaskedDataModule):
    """Five samples to train on and two to validate on, of ``[2, 3]``."""

    def __init__(
        self, folder: str, names=None, labels: str | None = "folder", val_ratio: float = 0.3, size: int = 1, cut=False
    ):
        super().__init__(batch_size=2, num_workers=0)
        self.cut = cut
        self.folder, self.names, self.labels, self.val_ratio, self.size = folder, names, labels, val_ratio, size

    def load(self):
        every = [{"x": torch.randn(2, 3, generator=torch.Generator().manual_seed(i))} for i in range(7)]
        every = [one | ({"name": self.names[i]} if self.names else {}) for i, one in enumerate(every)]
        every = [one | ({"piece": i} if self.cut else {}) for i, one in enumerate(every)]
        return Splits(every[:5], every[5:])


def tuned(objective, task):
    model = MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Same(), predictor=LinearPredictor(3, 3),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip
    made = FineTuning(model, objective, task, Settings(), seed=0)
    nn.init.normal_(made.head[-1].weight)
    return made.eval()


def outputs(made, data):
    """By a plain pass over every sample."""
    with torch.no_grad():
        return torch.cat([made({"x": sample["x"][None]}) for part in data.splits[:2] for sample in part])


def rows(path):
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    return list(csv.DictReader(path.open(newline="")))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_classes_and_their_probabilities(suffix, tmp_path):
    made, data = tuned(Classification(2, classes=("cat", "dog")), Task(CLASSIFICATION)), Files("here")
    done = apply(made, data, tmp_path / f"a{suffix}")
    expected = outputs(made, data).softmax(-1)
    found = rows(done.path)
    assert [row["name"] for row in found] == [str(i) for i in range(7)]
    assert [row["class"] for row in found] == [("cat", "dog")[place] for place in expected.argmax(-1).tolist()]
    for column, values in (("p(cat)", expected[:, 0]), ("p(dog)", expected[:, 1]), ("probability", expected.amax(-1))):
        assert torch.allclose(torch.tensor([float(row[column]) for row in found]), values, atol=1e-5)
    assert done.num_rows == 7 and sum(done.counts.values()) == 7


def test_pieces_of_one_thing_are_averaged(tmp_path):
    made = tuned(Classification(2), Task(CLASSIFICATION))
    names = ["a.wav", "a.wav", "a.wav", "b.wav", "c.wav", "c.wav", "d.wav"]
    data = Files("here", names=names, cut=True)
    found = rows(apply(made, data, tmp_path / "a.csv", batch_size=2).path)
    assert [row["name"] for row in found] == ["a.wav", "b.wav", "c.wav", "d.wav"]
    shares = outputs(made, data).softmax(-1)
    expected = torch.stack([shares[:3].mean(0), shares[3], shares[4:6].mean(0), shares[6]])
    assert torch.allclose(torch.tensor([float(row["p(0)"]) for row in found]), expected[:, 0], atol=1e-5)

    # A thing whose pieces are in both parts of the data is one; the parts have five samples and two.
    names = ["a", "a", "b", "c", "c", "c", "d"]
    found = rows(apply(made, Files("here", names=names, cut=True), tmp_path / "c.csv", batch_size=2).path)
    assert [row["name"] for row in found] == ["a", "b", "c", "d"]
    assert float(found[2]["p(0)"]) == pytest.approx(float(shares[3:6, 0].mean()), abs=1e-5)

    # Nor do tokens of two pieces become one.
    of_tokens = tuned(Classification(2), Task(CLASSIFICATION, per_token=True))
    assert len(rows(apply(of_tokens, Files("here", names=names, cut=True), tmp_path / "d.csv").path)) == 14

    # Two that are only called alike, such as molecules of one formula, stay two.
    names = ["a.wav", "a.wav", "a.wav", "b.wav", "c.wav", "c.wav", "d.wav"]
    whole = rows(apply(made, Files("here", names=names), tmp_path / "b.csv", batch_size=2).path)
    assert [row["name"] for row in whole] == names
    assert torch.allclose(torch.tensor([float(row["p(0)"]) for row in whole]), shares[:, 0], atol=1e-5)


def test_several_classes_and_numbers(tmp_path):
    made = tuned(MultiLabel(2, ("cat", "dog")), Task(MULTI_LABEL))
    found = rows(apply(made, Files("here"), tmp_path / "a.csv", threshold=0.4).path)
    for row, shares in zip(found, outputs(made, Files("here")).sigmoid(), strict=True):
        assert row["classes"] == ";".join(word for word, own in zip(("cat", "dog"), shares, strict=True) if own >= 0.4)
    made = tuned(Regression(torch.tensor([10.0]), torch.tensor([3.0])), Task(REGRESSION))
    found = rows(apply(made, Files("here"), tmp_path / "b.csv").path)
    expected = outputs(made, Files("here"))[:, 0] * 3 + 10
    assert torch.allclose(torch.tensor([float(row["prediction"]) for row in found]), expected, rtol=1e-4)


def test_a_row_per_token(tmp_path):
    made = tuned(Classification(2), Task(CLASSIFICATION, per_token=True))
    found = rows(apply(made, Files("here"), tmp_path / "a.csv").path)
    assert [(row["name"], row["token"]) for row in found[:4]] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    shares = outputs(made, Files("here")).softmax(-1).flatten(0, 1)
    assert torch.allclose(torch.tensor([float(row["p(1)"]) for row in found]), shares[:, 1], atol=1e-5)
    assert "token_name" not in found[0]

    class Named(Files):
        def token_names(self, split, index):
            return [f"{split} {index} left", f"{split} {index} right"]

    found = rows(apply(made, Named("here"), tmp_path / "b.csv").path)
    assert [row["token_name"] for row in found[:3]] == ["train 0 left", "train 0 right", "train 1 left"]


def test_a_file_that_is_there_stays_unless_asked(tmp_path):
    made, out = tuned(Classification(2), Task(CLASSIFICATION)), tmp_path / "a.csv"
    out.write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        apply(made, Files("here"), out)
    assert out.read_text() == "mine"
    apply(made, Files("here"), out, overwrite=True)
    assert out.read_text().startswith("name,class")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 1.0}, r"`threshold` must be in \(0, 1\), but is 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"out": "a.txt"}, r"`out` must end in \.csv or \.parquet, but ends in '\.txt'"),
    ],
)
def test_mistakes(options, said, tmp_path):
    out = tmp_path / options.pop("out", "a.csv")
    with pytest.raises(ValueError, match=said):
        apply(tuned(Classification(2), Task(CLASSIFICATION)), Files("here"), out, **options)
    assert not out.exists()


def test_data_elsewhere_is_read_alike_without_its_own_parts_and_labels():
    class Carried(Files):
        def carried(self):
            return {"names": "abcdefg"}

    there = Carried("here", size=4).elsewhere("there")
    assert (there.folder, there.labels, there.val_ratio, there.size, there.names) == ("there", None, 0, 4, "abcdefg")

    class Made(MaskedDataModule):
        def load(self): ...

    with pytest.raises(ValueError, match="Made reads no files or folders, so that it cannot read 'there'"):
        Made().elsewhere("there")


def test_the_checkpoint_of_a_run(tmp_path):
    folder = tmp_path / "finetune"
    with pytest.raises(UserError, match="must hold what `unmask finetune` writes"):
        finetuned(tmp_path)
    folder.mkdir()
    for name in ("scratch-seed0", "pretrained-10-per-class-seed0", "pretrained-seed1", "pretrained-seed0"):
        (folder / f"{name}.ckpt").write_text("")
    assert finetuned(tmp_path) == finetuned(folder) == folder / "pretrained-seed0.ckpt"
    assert finetuned(folder / "scratch-seed0.ckpt") == folder / "scratch-seed0.ckpt"
    with pytest.raises(UserError, match="There is no file or folder"):
        finetuned(tmp_path / "nowhere")
