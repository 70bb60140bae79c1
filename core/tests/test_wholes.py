"""Wholes: which samples are pieces of one thing, and what is counted and averaged by wholes."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from torch import nn

from unmask import Latent, MaskedModel, Sequence, Tokens
from unmask.data import MaskedDataModule, Splits
from unmask.losses import MSELoss
from unmask.masks.random import RandomMask
from unmask.parts import Encoder, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask.tools.features.samples import batches, split_of
from unmask.tools.features.vectors import raw_vectors, vectors
from unmask.tools.finetune import Settings, finetune, load
from unmask.tools.finetune.labelled import read_labels
from unmask.tools.finetune.objective import Classification, MultiLabel, Regression
from unmask.tools.finetune.run import _plans
from unmask.tools.probe.probe import probe
from unmask.tools.wholes import Wholes, averaged, firsts, shared


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Sequence())


class Plain(Encoder):
    width, num_layers = 3, 1

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, tokens, mask=None, layer=None):
        return Latent(self.layer(tokens.values))


class Recordings(MaskedDataModule):
    """Windows ``[2, 3]`` of recordings, of which number i has ``1 + i % 4`` windows and class ``i % 2``."""

    def __init__(self, num_train=24, num_test=8, label=lambda recording, piece: recording % 2):
        super().__init__(batch_size=5, num_workers=0)
        self.sizes, self.label = (num_train, num_test), label

    def load(self):
        parts = []
        for first, count in zip((0, self.sizes[0]), self.sizes, strict=True):
            parts.append([self._window(i, piece) for i in range(first, first + count) for piece in range(1 + i % 4)])
        train, test = parts
        return Splits(train, test, train, test)

    def _window(self, i, piece):
        rng = torch.Generator().manual_seed(100 * i + piece)
        x = torch.randn(2, 3, generator=rng) + 2 * torch.eye(2, 3)[i % 2]
        label = self.label(i, piece)
        return {"x": x, "label": label, "name": f"{i}.wav", "piece": piece, "site": i % 3}


def model(seed=0):
    torch.manual_seed(seed)
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Plain(), predictor=LinearPredictor(3, 3),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


def test_a_piece_that_comes_again_begins_another_whole():
    wholes = Wholes()
    first = wholes.of({"name": ["a", "b", "a"], "piece": torch.tensor([0, 0, 1])}, 3)
    second = wholes.of({"name": ["b", "a", "a", "a"], "piece": torch.tensor([1, 0, 1, 2])}, 4)
    assert [*first, *second] == [0, 1, 0, 1, 2, 2, 2] and wholes.count == 3
    assert wholes.alone(2).tolist() == [3, 4]


def test_samples_without_piece_or_name_are_wholes():
    wholes = Wholes()
    assert wholes.of({"name": ["a", "a"]}, 2).tolist() == [0, 1]
    assert wholes.of({"piece": torch.tensor([1, 2])}, 2).tolist() == [2, 3]
    assert wholes.of(torch.zeros(2, 3), 2).tolist() == [4, 5]


def test_rows_of_a_whole_are_averaged_in_the_order_in_which_wholes_first_come():
    values = torch.tensor([[1.0, 0], [3, 0], [8, 2], [5, 6], [0, 4]])
    whole = np.array([7, 7, 2, 7, 2])
    assert averaged(values, whole).tolist() == [[3, 2], [4, 3]]
    assert firsts(whole).tolist() == [0, 2]
    assert averaged(values, np.arange(5)) is values


def test_pieces_of_one_thing_have_one_label():
    label = torch.tensor([[1.0, float("nan")], [1.0, float("nan")], [0.0, 2.0]])
    assert shared(label, np.array([4, 4, 1]))[:, 0].tolist() == [1, 0]  # NaN: unknown in both
    with pytest.raises(ValueError, match=r"must have one label, but some have 1 and 2; leave `piece` out"):
        shared(torch.tensor([0, 1, 2]), np.array([0, 1, 1]))


def test_shares_of_a_whole_are_the_means_of_its_pieces():
    outputs, whole = 4 * torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), np.array([0, 0, 1, 2, 2])
    for objective in (Classification(3), MultiLabel(3), Regression(torch.arange(3.0), torch.tensor([1.0, 2, 3]))):
        shares = objective.shares(outputs)
        expected = torch.stack([shares[:2].mean(0), shares[2], shares[3:].mean(0)])
        torch.testing.assert_close(objective.shares(objective.averaged(outputs, whole)), expected)
    sure = Classification(2).averaged(torch.tensor([[5e3, -5e3], [5e3, -5e3]]), np.array([0, 0]))
    assert sure.isfinite().all()


def test_fine_tuning_trains_on_windows_and_counts_recordings(tmp_path):
    data = Recordings()
    settings = Settings(epochs=2, batch_size=8, lr=0.3, val_ratio=0.25, label_smoothing=0)
    result = finetune(data, pretrained=model(), settings=settings, folder=tmp_path)
    (trial,) = result.details["trials"]
    # 24 recordings of 1 to 4 windows, half of either class: a quarter is held out.
    assert (trial.num_train, trial.num_val, trial.num_test) == (18, 6, 8)
    assert result.details["num_pieces"] == 80 and "cut into 80 pieces" in " ".join(result.caption)

    rows = list(csv.DictReader((tmp_path / "finetune" / "predictions.csv").open()))
    windows = data.splits.probe_test
    assert [int(row["index"]) for row in rows] == [i for i, one in enumerate(windows) if one["piece"] == 0]
    tuned = load(tmp_path / "finetune" / "pretrained-seed0.ckpt", model())
    with torch.no_grad():
        shares = tuned({"x": torch.stack([one["x"] for one in windows])}).softmax(-1)
    names = [one["name"] for one in windows]
    means = {name: shares[[i for i, own in enumerate(names) if own == name]].mean(0) for name in names}
    assert [int(row["prediction"]) for row in rows] == [int(mean.argmax()) for mean in means.values()]
    label = torch.tensor([int(row["label"]) for row in rows])
    accuracy = (torch.stack(list(means.values())).argmax(-1) == label).float().mean()
    assert trial.scores["accuracy"] == pytest.approx(accuracy.item(), abs=1e-6)
    loss = nn.functional.nll_loss(torch.stack(list(means.values())).log(), label)
    assert trial.scores["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_no_recording_has_windows_on_both_sides(ratio):
    data = Recordings()
    train, _ = read_labels(data, Rows())

    def names(labelled):
        return {labelled.dataset[sample]["name"] for sample in labelled.sample}

    kept, held = train.hold_out(ratio, 3)
    assert names(kept).isdisjoint(names(held)) and names(kept) | names(held) == names(train)
    assert len(kept) + len(held) == len(train) == 60 and len(train.of_wholes) == 24
    assert len(held.of_wholes.unique()) == 2
    drawn = train.draw(4, 0)
    assert drawn.of_wholes.bincount().tolist() == [4, 4]
    assert len(drawn) == sum(1 + int(name.split(".")[0]) % 4 for name in names(drawn))  # all windows of each

    every, _ = read_labels(data, Rows(), group="site")
    own = np.array(every.groups)[every.sample]
    left_out = names(every.take(own == 0))
    assert left_out.isdisjoint(names(every.take(own != 0))) and len(left_out) == 11


def test_class_weights_count_recordings():
    # Class 0 has recordings of 1 and of 3 windows, class 1 of 2 and of 4: as many recordings, other windows.
    train, test = read_labels(Recordings(num_train=8), Rows())
    assert train.value.bincount().tolist() == [8, 12]
    settings = Settings(class_weights="balanced", val_ratio=0)
    (plan,) = _plans(train, test, settings, [0], [None])
    assert plan.objective.weight.tolist() == [1.0, 1.0]


def test_labels_of_their_own_are_refused_for_pieces():
    with pytest.raises(ValueError, match="must have one label"):
        finetune(Recordings(label=lambda recording, piece: piece % 2), pretrained=model(), settings=Settings(epochs=1))


def test_features_are_means_over_windows():
    data, embedder = Recordings(), model().embedder
    windows = data.splits.probe_test
    found = vectors(embedder, batches(data, split_of(data, "probe_test"), 5), groups="site")
    raw = raw_vectors(embedder, batches(data, split_of(data, "probe_test"), 5))
    assert len(found.values) == 8 and found.label.tolist() == [0, 1] * 4
    assert found.group.tolist() == [i % 3 for i in range(24, 32)]
    last = torch.stack([one["x"] for one in windows if one["name"] == "31.wav"])
    with torch.no_grad():
        codes = embedder.encoder.layer(last).mean((0, 1))
    assert len(last) == 4
    np.testing.assert_allclose(found.values[-1], codes.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(raw.values[-1], last.flatten(1).mean(0).numpy(), rtol=1e-5)


def test_a_probe_has_a_row_per_recording():
    result = probe([(model(), model(1))], Recordings(), probes=["knn"], labels_per_class=())
    assert (result.details["num_train"], result.details["num_test"], result.details["num_pieces"]) == (24, 8, 80)
    assert "each the mean over its pieces (80 in all)" in result.caption[0]
