"""Fine-tuning: labels of samples and tokens, pairing, determinism, the best epoch, and values checked elsewhere."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, default_collate

from unmask.cli import main
from unmask.data import MaskedDataModule, Splits
from unmask.embedder import Embedder
from unmask.losses import MSELoss
from unmask.masks.random import RandomMask
from unmask.model import MaskedModel
from unmask.nn.transformer import Transformer
from unmask.parts import Encoder, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.runs.checkpoints import read_checkpoint
from unmask.structures import Grid, Latent, Sequence, Set, Tokens
from unmask.support.errors import UserError
from unmask.targets import EMATeacher, ValueTarget
from unmask.tools.features.labels import CLASSIFICATION, IGNORED, MULTI_LABEL, REGRESSION, Task
from unmask.tools.finetune import FineTuning, Settings, finetune, load
from unmask.tools.finetune.drop_path import DropPath, set_drop_path
from unmask.tools.finetune.labelled import Labelled, read_labels
from unmask.tools.finetune.loop import BalancedSampler, train
from unmask.tools.finetune.mixing import Mixing, _block
from unmask.tools.finetune.model import trainable_embedder
from unmask.tools.finetune.objective import Classification, MultiLabel, Regression, objective_of
from unmask.tools.finetune.saved import save
from unmask.tools.finetune.scores import OF_NUMBERS
from unmask.tools.finetune.trials import PRETRAINED, SCRATCH, Trial, tabled
from unmask.training import activations

QUICK = Settings(epochs=3, batch_size=16, lr=0.3, val_ratio=0.25)


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Grid((2, 3)), valid=batch.get("valid"), offsets=batch.get("offsets"))


class Attending(Encoder):
    """Positions fixed by design, then blocks."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.width, self.num_layers = 8, 2
        self.enter = nn.Linear(4, 8)
        self.pos_embed = nn.Parameter(torch.zeros(1, 6, 8), requires_grad=False)
        self.dropout = nn.Dropout(dropout)
        self.trunk = Transformer(8, depth=2, num_heads=2)

    def forward(self, tokens, mask=None, layer=None):
        assert mask is None, "nothing is hidden in fine-tuning"
        return Latent(self.trunk(self.dropout(self.enter(tokens.values)) + self.pos_embed))


class Pointwise(Encoder):
    """Each token by itself, whatever the storage form."""

    def __init__(self):
        super().__init__()
        self.width, self.num_layers = 8, 1
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 8))

    def forward(self, tokens, mask=None, layer=None):
        return Latent(self.layers(tokens.values))


class Taught(MaskedModel):
    @property
    def embedder(self):
        return Embedder(self.tokenizer, self.target.teacher)


def model_of(encoder=Attending, seed=0, cls=MaskedModel, target=None, **options):
    torch.manual_seed(seed)
    return cls(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=encoder(**options), predictor=LinearPredictor(8, 4),
        target=target or ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


def build(seed):
    return model_of(seed=100 + seed)


class Data(MaskedDataModule):
    def __init__(self, train, test, collate=default_collate, augment=None):
        super().__init__(batch_size=16, num_workers=0, augment=augment)
        self.given, self.collate = (train, test), collate

    def load(self):
        train, test = self.given
        return Splits(train, test, train, test)

    def val_dataloader(self):
        return DataLoader(self.given[1], batch_size=self.val_batch_size, collate_fn=self.collate)


def samples(num=48, seed=0, label=lambda kind, x: kind, **extra):
    """Three classes whose tokens lie around three centres."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for i in range(num):
        x = torch.randn(6, 4, generator=rng) + 2 * torch.eye(3, 4)[i % 3]
        made.append({"x": x, "label": label(i % 3, x)} | {key: value(i) for key, value in extra.items()})
    return made


@pytest.fixture(scope="module")
def data():
    return Data(samples(), samples(30, seed=1))


def tuned(settings=QUICK, objective=None, task=Task(CLASSIFICATION), model=None, seed=0):
    return FineTuning(model or model_of(), objective or Classification(3), task, settings, seed)


# Both columns.


def test_classes_are_learnt_and_everything_is_written(data, tmp_path):
    settings = replace(QUICK, epochs=8)
    result = finetune(data, pretrained=model_of(), scratch=build, settings=settings, folder=tmp_path, about="Here.")
    assert result.columns == [SCRATCH, PRETRAINED]
    for row in result.rows:
        assert all(row.cells[encoder].mean > 0.8 for encoder in result.columns)

    numbers = json.loads((tmp_path / "finetune.json").read_text())
    assert numbers["about"] == "Here."
    assert numbers["rows"][0]["mean"][PRETRAINED] == result.rows[0].cells[PRETRAINED].mean
    assert numbers["settings"] == asdict(settings)
    assert [one["num_train"] + one["num_val"] for one in numbers["trials"]] == [48, 48]

    rows = list(csv.DictReader((tmp_path / "finetune" / "predictions.csv").open()))
    own = [row for row in rows if row["encoder"] == PRETRAINED]
    assert [int(row["index"]) for row in own] == list(range(30))
    assert [int(row["label"]) for row in own] == [i % 3 for i in range(30)]
    right = np.mean([row["label"] == row["prediction"] for row in own])
    assert right == pytest.approx(result.rows[0].cells[PRETRAINED].mean, abs=1e-6)
    f1 = f1_score([row["label"] for row in own], [row["prediction"] for row in own], average="macro")
    assert f1 == pytest.approx(result.rows[2].cells[PRETRAINED].mean, abs=1e-6)
    names = {path.name for path in (tmp_path / "finetune").iterdir()}
    assert names == {"pretrained-seed0.ckpt", "scratch-seed0.ckpt", "predictions.csv"}

    loaded = load(tmp_path / "finetune" / "pretrained-seed0.ckpt", model_of(seed=5))
    batch = default_collate(data.given[1])
    assert loaded.predict(batch).tolist() == [int(row["prediction"]) for row in own]


def test_the_same_twice_and_a_column_does_not_depend_on_the_other(data):
    settings = replace(QUICK, mixup=0.5, cutmix=0.5)
    options = {"settings": settings, "seeds": (0, 1), "labels_per_class": (4, None)}
    noisy = model_of(dropout=0.3)

    def scratch(seed):
        with torch.random.fork_rng(devices=[]):
            return model_of(seed=100 + seed, dropout=0.3)

    def bare(trials):
        return [asdict(replace(trial, seconds=0)) for trial in trials]

    state = torch.get_rng_state()
    both = finetune(data, pretrained=noisy, scratch=scratch, **options)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(9)
    assert bare(finetune(data, pretrained=noisy, scratch=scratch, **options).details["trials"]) == bare(
        both.details["trials"]
    )
    alone = finetune(data, scratch=scratch, **options)
    assert bare(alone.details["trials"]) == bare(one for one in both.details["trials"] if one.encoder == SCRATCH)
    assert len({json.dumps(one["scores"]) for one in bare(alone.details["trials"])}) > 1, "seeds must differ"
    # the columns are paired: of the same weights nothing is gained (no decay by layer, as from scratch)
    paired = {**options, "settings": replace(settings, layer_decay=1.0)}
    twins = finetune(data, pretrained=build(0), scratch=build, **(paired | {"seeds": (0,)}))
    assert [row.details["gain"] for row in twins.rows] == [(0.0, None)] * 6


def test_the_pretrained_model_is_left_as_it_is(data):
    model = model_of()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    finetune(data, pretrained=model, settings=QUICK)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_rows_are_means_over_seeds_with_paired_gains_by_hand():
    def trial(encoder, seed, error):
        return Trial(encoder, 5, None, seed, {"MAE": error}, None, 0, 1, 1, 10, 0, 4, [], 1.0)

    scores = {SCRATCH: (0.5, 0.75), PRETRAINED: (0.5, 0.25)}
    trials = [trial(name, seed, error) for name, own in scores.items() for seed, error in enumerate(own)]
    details = {
        "about": "Here.", "trials": trials, "encoders": list(scores), "names": ("MAE",), "higher_is_better": (False,),
        "task": asdict(Task(REGRESSION)), "settings": asdict(Settings()), "seeds": [0, 1], "groups": None,
        "num_parameters": 7, "num_pieces": 0,
    }  # fmt: skip
    result = tabled(details)
    (row,) = result.rows
    assert (row.cells[SCRATCH].mean, row.cells[SCRATCH].error) == (0.625, 0.125)
    assert row.gain(PRETRAINED, SCRATCH) == (0.25, 0.25)  # of an error less is better
    text = result.text()
    assert "MAE, 5 per class   0.625 ± 0.125   0.375 ± 0.125   +0.25 ± 0.25" in text
    assert "Here.\nTask: regression. Trained: encoder and head, 7 parameters." in text
    assert "± standard error over seeds (seeds 0, 1); gains are paired." in text
    (row,) = tabled(details | {"encoders": [SCRATCH], "trials": trials[:1]}).rows
    assert row.details["gain"] is None


def test_every_group_is_left_out_once(tmp_path):
    speaker = ["ann", "bob", "cid"]
    train, test = (samples(n, seed=n, speaker=lambda i: speaker[i // 3 % 3]) for n in (36, 18))
    result = finetune(
        Data(train, test), pretrained=model_of(), settings=QUICK, groups="speaker", seeds=(0, 1), folder=tmp_path
    )
    assert [(trial.group, trial.seed) for trial in result.details["trials"]] == [
        (name, seed) for name in speaker for seed in (0, 1)
    ]
    assert {trial.num_test for trial in result.details["trials"]} == {18}
    assert {trial.num_train + trial.num_val for trial in result.details["trials"]} == {36}
    assert len(result.rows[0].cells[PRETRAINED].scores) == 3, "one number per group"
    pool = train + test
    for row in csv.DictReader((tmp_path / "finetune" / "predictions.csv").open()):
        sample = pool[int(row["index"])]
        assert (sample["speaker"], sample["label"]) == (row["group"], int(row["label"]))
    with pytest.raises(ValueError, match="`groups` must be a key of the samples, but is 'speeker'; nearest: `speaker`"):
        finetune(Data(train, test), pretrained=model_of(), groups="speeker")


# Training.


def test_decay_by_layer_reaches_the_optimiser():
    model = tuned(Settings(batch_size=64, lr=1e-3, layer_decay=0.5))
    model._trainer = SimpleNamespace(estimated_stepping_batches=10)
    made = model.configure_optimizers()
    peak = {id(p): group["initial_lr"] for group in made["optimizer"].param_groups for p in group["params"]}
    lr = 1e-3 * 64 / 256
    for name, depth in {
        "head.0.weight": 0, "head.1.bias": 0, "encoder.trunk.norm.weight": 0,
        "encoder.trunk.blocks.1.mlp.fc1.weight": 1, "encoder.trunk.blocks.0.norm1.bias": 2, "encoder.enter.weight": 3,
    }.items():  # fmt: skip
        assert peak[id(model.get_parameter(name))] == pytest.approx(lr * 0.5**depth), name
    assert id(model.encoder.pos_embed) not in peak
    factor = made["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [factor(step) for step in (0, 1, 10)] == [0, 1, pytest.approx(0)]


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"),
    [
        ([0.5, 0.9, 0.6, 0.8], [1, 1, 1, 1], 1),
        ([0.5, 0.9, 0.9, 0.6, 0.8], [3, 3, 2, 1, 1], 2),  # a tie goes to the lower loss
    ],
)
def test_the_best_epoch_is_restored_and_training_stops_early(data, tmp_path, monkeypatch, accuracies, losses, best):
    planned, heads = iter(zip(accuracies, losses, strict=True)), []
    score = FineTuning.score

    def scripted(self, answers):
        numbers = score(self, answers)
        if self.trainer.state.fn == "fit":
            heads.append(self.head[-1].weight.detach().clone())
            numbers["accuracy"], numbers["loss"] = next(planned)
        return numbers

    monkeypatch.setattr(FineTuning, "score", scripted)
    settings = replace(QUICK, epochs=20, patience=2)
    (trial,) = finetune(data, pretrained=model_of(), settings=settings, folder=tmp_path).details["trials"]
    assert (trial.best_epoch, trial.num_epochs) == (best, len(accuracies))
    assert trial.val_scores["accuracy"] == 0.9
    kept = load(tmp_path / "finetune" / "pretrained-seed0.ckpt", model_of()).head[-1].weight
    assert torch.equal(kept, heads[best])
    assert not torch.equal(kept, heads[-1])


def test_few_labels_train_as_many_steps():
    assert Settings().length(epoch_steps=20) == (50, 1)
    assert Settings().length(epoch_steps=2) == (500, 10)
    assert Settings(epochs=3).length(epoch_steps=2) == (3, 1)
    assert Settings(max_steps=8).length(epoch_steps=2) == (500, 4)
    assert Settings(max_steps=8).length(epoch_steps=20) == (50, 1)


def test_without_a_held_out_part_the_last_step_counts(data):
    (trial,) = finetune(data, pretrained=model_of(), settings=replace(QUICK, val_ratio=0, max_steps=5)).details[
        "trials"
    ]
    assert (trial.num_train, trial.num_val, trial.num_steps, trial.val_scores) == (48, 0, 5, None)
    (trial,) = finetune(data, pretrained=model_of(), settings=replace(QUICK, max_steps=2)).details["trials"]
    assert (trial.num_steps, trial.best_epoch) == (2, 0)  # validated although no epoch was finished
    assert trial.val_scores is not None


def test_checkpointed_activations_give_the_same_scores(data, monkeypatch):
    calls, plain = [], activations.checkpoint
    monkeypatch.setattr(activations, "checkpoint", lambda *given, **named: calls.append(1) or plain(*given, **named))
    found = []
    for settings in (QUICK, replace(QUICK, checkpoint_activations=True)):
        (trial,) = finetune(data, pretrained=model_of(dropout=0.2), settings=settings).details["trials"]
        found.append((trial.scores, trial.val_scores))
        assert len(calls) == (2 * trial.num_steps if settings.checkpoint_activations else 0)
    assert found[0] == found[1]
    with pytest.raises(ValueError, match="must be false for Pointwise, which has no repeated layers, but is true"):
        tuned(replace(QUICK, checkpoint_activations=True), model=model_of(Pointwise))


def test_a_frozen_encoder_stays_as_it_is_and_drops_nothing(data):
    source = model_of(dropout=0.5)
    model = tuned(replace(QUICK, freeze=True), model=source).train()
    assert not any(part.training for part in model.encoder.modules())
    assert model.head.training
    labels, test = read_labels(data, source.tokenizer)
    before = model.head[-1].weight.clone()
    train(model, data, *labels.hold_out(0.25, 0), test)
    for name, tensor in source.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], tensor), name
    assert not torch.equal(before, model.head[-1].weight)


def test_a_teacher_is_trained_but_what_is_fixed_by_design_is_not(data):
    model = model_of(cls=Taught, target=EMATeacher())
    assert not any(p.requires_grad for p in model.embedder.encoder.parameters())
    flags = {name: p.requires_grad for name, p in trainable_embedder(model).encoder.named_parameters()}
    assert flags == {name: name != "pos_embed" for name in flags}
    result = finetune(data, pretrained=model, settings=replace(QUICK, epochs=8))
    assert result.rows[0].cells[PRETRAINED].mean > 0.8


def test_augmentation_is_the_data_modules_own(data):
    seen = []

    def augment(sample):
        seen.append(float(torch.rand(())))
        return sample

    augmented = Data(*data.given, augment=augment)
    finetune(augmented, pretrained=model_of(), settings=replace(QUICK, augment=False))
    assert not seen
    finetune(augmented, pretrained=model_of(), settings=replace(QUICK, epochs=1))
    finetune(augmented, pretrained=model_of(), settings=replace(QUICK, epochs=1))
    assert len(seen) == 2 * 36  # training samples alone, each once
    assert seen[:36] == seen[36:]
    assert len(set(seen)) == 36
    with pytest.raises(ValueError, match="no augmentation of its own"):
        finetune(data, pretrained=model_of(), settings=replace(QUICK, augment=True))


# Labels.


def packed(made):
    """Ragged samples in a row, one label per token."""
    batch = {key: torch.cat([one[key] for one in made]) for key in ("x", "label")}
    lengths = torch.tensor([len(one["x"]) for one in made])
    offsets = nn.functional.pad(lengths.cumsum(0), (1, 0))
    return batch | {"offsets": offsets, "index": torch.tensor([one["index"] for one in made if "index" in one])}


def padded(made):
    """The same, filled up; padding has labels that must never count."""
    longest = max(len(one["x"]) for one in made)
    batch = {key: pad_sequence([one[key] for one in made], batch_first=True) for key in ("x", "label")}
    valid = torch.stack([torch.arange(longest) < len(one["x"]) for one in made])
    return batch | {"valid": valid, "index": torch.tensor([one["index"] for one in made if "index" in one])}


def ragged(num, seed):
    rng = torch.Generator().manual_seed(seed)
    made = []
    for i in range(num):
        label = torch.randint(0, 3, (4 + i % 3,), generator=rng)
        x = torch.randn(len(label), 4, generator=rng) + 3 * torch.eye(3, 4)[label]
        made.append({"x": x, "label": label.where(torch.arange(len(label)) > 0, IGNORED)})  # the first has none
    return made


def test_labels_per_token_padded_and_packed_alike(tmp_path):
    results = {}
    for name, collate in (("padded", padded), ("packed", packed)):
        data = Data(ragged(24, 0), ragged(12, 1), collate)
        folder = tmp_path / name
        results[name] = finetune(
            data, pretrained=model_of(Pointwise), settings=replace(QUICK, epochs=25), folder=folder
        )
        (trial,) = results[name].details["trials"]
        assert trial.num_train + trial.num_val == sum(len(one["x"]) - 1 for one in data.given[0])
        assert trial.num_test == sum(len(one["x"]) - 1 for one in data.given[1])
        rows = list(csv.DictReader((folder / "finetune" / "predictions.csv").open()))
        for row in rows:
            assert int(row["label"]) == data.given[1][int(row["index"])]["label"][int(row["place"])]
        known = [row for row in rows if int(row["label"]) != IGNORED]
        right = np.mean([row["label"] == row["prediction"] for row in known])
        assert right == pytest.approx(results[name].rows[0].cells[PRETRAINED].mean, abs=1e-6)
        assert results[name].details["task"] == {"kind": CLASSIFICATION, "per_token": True}
    assert results["padded"].rows[0].cells[PRETRAINED].mean > 0.85
    for one, other in zip(
        results["padded"].details["trials"][0].curve, results["packed"].details["trials"][0].curve, strict=True
    ):
        assert one == pytest.approx(other, rel=1e-3)


def test_few_labels_per_token_blank_the_others():
    (one,) = ragged(1, 0)
    made = [{"x": torch.randn(40, 4), "label": torch.arange(40) % 3}]
    data = Data(made, [one], packed)
    result = finetune(
        data, pretrained=model_of(Pointwise), settings=replace(QUICK, val_ratio=0.5), labels_per_class=(4,)
    )
    (trial,) = result.details["trials"]
    assert (trial.num_train, trial.num_val) == (6, 6)
    place = np.arange(40)
    labelled = Labelled(made, Task(CLASSIFICATION, True), made[0]["label"], np.zeros(40, dtype=np.int64), place, place)
    drawn = labelled.draw(2, 0)
    label = drawn.samples()[0]["label"]
    assert (label != IGNORED).sum() == 6
    assert torch.equal(label[drawn.place], made[0]["label"][drawn.place])


def flat(values):
    values = torch.tensor(values)
    where = np.arange(len(values))
    return Labelled([{}] * len(values), Task(CLASSIFICATION), values, where, np.zeros_like(where), where)


def test_draws_are_exact_nested_and_keyed():
    labelled = flat([0] * 20 + [1] * 9 + [2] * 5)
    few, more = (labelled.draw(n, 3) for n in (2, 5))
    assert few.value.bincount().tolist() == [2, 2, 2]
    assert more.value.bincount().tolist() == [5, 5, 5]
    assert set(few.sample) < set(more.sample)
    assert set(few.sample) == set(labelled.draw(2, 3).sample)
    assert set(few.sample) != set(labelled.draw(2, 4).sample)
    with pytest.raises(ValueError, match=r"in \[1, 5\], the labels of class 2, but is 6"):
        labelled.draw(6, 0)


def test_shares_of_labels_are_stratified_and_nested():
    labelled = flat([0] * 200 + [1] * 90 + [2] * 5)
    few, more, most = (labelled.draw(share, 3) for share in (0.01, 0.1, 0.5))
    assert few.value.bincount().tolist() == [2, 1, 1]  # at least one of each
    assert more.value.bincount().tolist() == [20, 9, 1]
    assert set(few.sample) < set(more.sample) < set(most.sample)
    assert set(few.sample) == set(labelled.draw(0.01, 3).sample) != set(labelled.draw(0.01, 4).sample)
    assert len(labelled.draw(1.0, 0)) == 295
    with pytest.raises(ValueError, match=r"`label_fractions` must be in \(0, 1\], but one is 1.5"):
        labelled.draw(1.5, 0)


def test_a_sweep_of_shares_has_a_row_for_each(data, tmp_path):
    result = finetune(data, pretrained=model_of(), settings=QUICK, labels_per_class=[0.5, None], folder=tmp_path)
    labels = [row.label() for row in result.rows]
    assert "accuracy, 0.5 of labels" in labels and "accuracy, all labels" in labels
    few, every = (next(one for one in result.details["trials"] if one.labels_per_class == n) for n in (0.5, None))
    assert few.num_train + few.num_val == pytest.approx((every.num_train + every.num_val) / 2, abs=3)
    assert (tmp_path / few.checkpoint).name == "pretrained-0.5-of-all-seed0.ckpt"


def test_without_negative_labels_there_is_no_roc_curve():
    label = torch.ones(4, 2).long()
    assert tuple(MultiLabel(2).scores(torch.zeros(4, 2), label)) == ("mAP", "micro F1", "macro F1")


def test_holding_out_keeps_shares_of_classes_and_one_of_each():
    train, val = flat([0] * 20 + [1] * 10 + [2] * 2 + [3]).hold_out(0.2, 0)
    assert train.value.bincount().tolist() == [16, 8, 1, 1]
    assert val.value.bincount().tolist() == [4, 2, 1]
    assert not set(train.sample) & set(val.sample)
    assert flat([0, 1]).hold_out(0.0)[1] is None
    with pytest.raises(ValueError, match="`val_ratio` must be 0 for 2 labels"):
        flat([0, 1]).hold_out(0.2)
    tokens = replace(flat([0, 1] * 10), task=Task(CLASSIFICATION, True), sample=np.repeat(np.arange(5), 4))
    train, val = tokens.hold_out(0.2, 0)
    assert len(val) == 4
    assert not set(train.sample) & set(val.sample), "tokens of one sample stay together"


def test_regression_is_in_the_units_of_the_labels(tmp_path):
    def label(kind, x):
        return (1000 + 50 * x.mean(0)[:2]).double()

    data = Data(samples(60, label=label), samples(30, seed=1, label=label))
    settings = replace(QUICK, epochs=25, loss="l1", patience=0, lr=0.1, mixup=0.1)
    result = finetune(data, pretrained=model_of(Pointwise), settings=settings, folder=tmp_path)
    rows = list(csv.DictReader((tmp_path / "finetune" / "predictions.csv").open()))
    y, answer = ([[float(row[f"{name}_{c}"]) for c in range(2)] for row in rows] for name in ("label", "prediction"))
    scores = result.details["trials"][0].scores
    assert scores["R2"] == pytest.approx(r2_score(y, answer), abs=1e-3)
    assert scores["MAE"] == pytest.approx(mean_absolute_error(y, answer), rel=1e-3)
    assert scores["R2"] > 0.8
    assert [row.measure.less_is_better for row in result.rows] == [False, True, True, False] * 3
    assert [row.name for row in result.rows[4:9]] == [*(f"{name} of label_0" for name in OF_NUMBERS), "R2 of label_1"]
    loaded = load(tmp_path / "finetune" / "pretrained-seed0.ckpt", model_of(Pointwise))
    np.testing.assert_allclose(loaded.predict(default_collate(data.given[1])).numpy(), answer, rtol=1e-4)


def test_regression_by_hand():
    label = torch.tensor([1.0, 3.0, float("nan")])
    objective = objective_of(Task(REGRESSION), label, Settings())
    assert (objective.mean.item(), objective.std.item()) == (2, 1)
    outputs = torch.tensor([[0.0], [0.0], [7.0]])
    assert objective.loss(outputs, *objective.target(label)) == 1  # ((-1)² + 1²) / 2, the unknown left out
    assert objective.answer(outputs).tolist() == [2, 2, 9]
    assert objective.scores(outputs, label) == {"R2": 0, "MAE": 1, "RMSE": 1, "Spearman": 0}
    assert Regression(torch.zeros(1), torch.ones(1), "l1").losses(outputs, outputs + 3).tolist() == [[3]] * 3


class Named(Data):
    """Class ids, and the words that they stand for."""

    def __init__(self, classes, label=lambda kind, x: kind):
        super().__init__(samples(label=label), samples(30, seed=1, label=label))
        self.words = classes

    @property
    def classes(self):
        return self.words


def test_regression_on_classes_that_are_numbers_takes_those_numbers(tmp_path, capsys):
    words = ["-7.25", "0.05", "5.95"]
    settings = replace(QUICK, task=REGRESSION, epochs=2, val_ratio=0)
    data = Named(words)
    train_labels, _ = read_labels(data, Rows(), REGRESSION)
    assert train_labels.value.tolist() == [float(words[i % 3]) for i in range(48)]
    result = finetune(data, pretrained=build(0), settings=settings, folder=tmp_path)
    assert "Task: regression, from -7.25 to 5.95." in capsys.readouterr().out

    floats = Data(*(samples(num, seed, lambda kind, x: float(words[kind])) for num, seed in ((48, 0), (30, 1))))
    assert (
        finetune(floats, pretrained=build(0), settings=settings).details["trials"][0].scores
        == result.details["trials"][0].scores
    )
    rows = list(csv.DictReader((tmp_path / "finetune" / "predictions.csv").open()))
    assert [row["label"] for row in rows[:3]] == words
    tuned = load(tmp_path / "finetune" / "pretrained-seed0.ckpt", build(0))
    assert tuned.objective.given(torch.tensor([2, 0, IGNORED])).tolist()[:2] == [5.95, -7.25]


def test_regression_on_classes_that_are_words_is_refused():
    with pytest.raises(ValueError, match=r"needs labels that are numbers, but one is `cat`; nearest: 'classification'"):
        read_labels(Named(["1", "2.5", "cat"]), Rows(), REGRESSION)
    train_labels, _ = read_labels(Data(samples(), samples(30)), Rows(), REGRESSION)  # ids are all there is
    assert train_labels.value.unique().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"Class ids must be in \[0, 1\], one for each word, but lie in \[0, 2\]"):
        read_labels(Named(["1", "2"]), Rows(), REGRESSION)


def test_measured_numbers_are_no_classes(capsys):
    def label(kind, x):
        return round(float(x[0, 0]) * 1000) % 500  # hardly any two alike

    data = Named([str(i / 10) for i in range(500)], label)
    train_labels, test_labels = read_labels(data, Rows())
    assert train_labels.task.kind == test_labels.task.kind == REGRESSION
    assert train_labels.value[0] == label(0, samples(1)[0]["x"]) / 10
    with pytest.raises(ValueError, match=r"different numbers, such as 0.1; nearest: 'regression'"):
        read_labels(data, Rows(), CLASSIFICATION)
    ratings = Named(["0.5", "1.0", "1.5"])  # a few numbers, each of many samples, may be either
    assert read_labels(ratings, Rows())[0].task.kind == CLASSIFICATION
    finetune(ratings, pretrained=build(0), settings=QUICK)
    told = capsys.readouterr().out
    assert "Task: classification, 3 classes: 0.5, 1.0, 1.5. They are numbers, too: `task` 'regression'" in told


@pytest.mark.parametrize(
    ("label", "kind", "message"),
    [
        (
            lambda kind, x: kind + 0.9,
            CLASSIFICATION,
            r"whole numbers from 0 on, but lie in \[0.9, 2.9\]; nearest: 'reg",
        ),
        (lambda kind, x: [1] * (kind + 1), None, r"`label` must have one shape in all samples, but has \(1,\), \(2,\)"),
        (lambda kind, x: [kind, kind], None, "`label` must be a number or a tensor in each sample"),
        (lambda kind, x: torch.tensor([kind, kind]), MULTI_LABEL, "must be 0 or 1, but lie in"),
        (lambda kind, x: float("inf"), None, "Labels must be finite, or NaN where there is none"),
        (lambda kind, x: "cat", None, "`label` must be a number or a tensor in each sample"),
    ],
)
def test_labels_that_do_not_suit_the_task_are_refused(label, kind, message):
    with pytest.raises(ValueError, match=message):
        read_labels(Data(samples(label=label), samples(30, label=label)), Rows(), kind)


def test_words_of_classes_are_kept_with_a_fine_tuned_model(tmp_path):
    finetune(Named(["cat", "dog", "owl", "yak"]), pretrained=build(0), settings=QUICK, folder=tmp_path)
    tuned = load(tmp_path / "finetune" / "pretrained-seed0.ckpt", build(0))
    assert tuned.objective.classes == ("cat", "dog", "owl")  # those that the head answers with


def test_multi_label_is_average_precision(tmp_path):
    def label(kind, x):
        return torch.tensor([kind == 0, kind != 2, False]).long()

    data = Data(samples(label=label), samples(30, seed=1, label=label))
    result = finetune(data, pretrained=model_of(), settings=QUICK, folder=tmp_path)
    rows = list(csv.DictReader((tmp_path / "finetune" / "predictions.csv").open()))
    y, answer = (
        np.array([[float(row[f"{n}_{c}"]) for c in range(2)] for row in rows]) for n in ("label", "prediction")
    )
    assert result.details["task"]["kind"] == MULTI_LABEL
    assert result.rows[0].cells[PRETRAINED].mean == pytest.approx(
        average_precision_score(y, answer, average="macro"), abs=1e-3
    )

    rng = torch.Generator().manual_seed(0)
    outputs, label = torch.randn(50, 3, generator=rng), torch.randint(0, 2, (50, 3), generator=rng)
    label[:10, 1] = IGNORED
    parts = [average_precision_score(label[own, c], outputs[own, c]) for c in range(3) for own in [label[:, c] >= 0]]
    assert MultiLabel(3).scores(outputs, label)["mAP"] == pytest.approx(np.mean(parts), abs=1e-6)
    target, known = MultiLabel(3).target(label)
    by_hand = nn.functional.binary_cross_entropy_with_logits(outputs[label >= 0], label[label >= 0].float())
    assert MultiLabel(3).loss(outputs, target, known) == pytest.approx(by_hand.item(), rel=1e-6)


def test_classification_by_hand():
    objective = Classification(3, label_smoothing=0.1)
    label = torch.tensor([0, 2, IGNORED])
    outputs = torch.tensor([[2.0, 0, 0], [0, 0, 0], [9, 9, 9]])
    expected = nn.functional.cross_entropy(outputs[:2], label[:2], label_smoothing=0.1)
    assert objective.loss(outputs, *objective.target(label)).item() == pytest.approx(expected.item())
    assert objective.loss(outputs, *objective.target(torch.full((3,), IGNORED))) == 0
    assert objective.scores(outputs, label)["accuracy"] == 0.5


def _classes(rng, num):
    label = torch.randint(0, num, (60,), generator=rng)
    label[label == num - 1] = 0  # nobody is of the last class
    outputs = torch.randn(60, num, generator=rng) + 2 * nn.functional.one_hot(label, num)
    answer, shares = outputs.argmax(-1), outputs.softmax(-1)
    expected = {
        "accuracy": accuracy_score(label, answer),
        "balanced accuracy": recall_score(label, answer, labels=label.unique(), average="macro"),
        "macro F1": f1_score(label, answer, average="macro"),
    }
    if num > 5:
        expected["top-5 accuracy"] = top_k_accuracy_score(label, shares, k=5, labels=range(num))
    return Classification(num), outputs, label, expected


def _several(rng):
    label = torch.randint(0, 2, (60, 4), generator=rng)
    label[:, 2] = 0  # nobody is of it
    outputs = torch.randn(60, 4, generator=rng) + label
    answer, there = outputs > 0, [0, 1, 3]
    expected = {
        "mAP": average_precision_score(label[:, there], outputs[:, there], average="macro"),
        "AUROC": roc_auc_score(label[:, there], outputs[:, there], average="macro"),
        "micro F1": f1_score(label, answer, average="micro"),
        "macro F1": f1_score(label[:, there], answer[:, there], average="macro"),
    }
    return MultiLabel(4), outputs, label, expected


def _numbers(rng, unknown=False):
    label = torch.randn(60, 2, generator=rng)
    outputs = label + torch.randn(60, 2, generator=rng)
    label[:20, 1] = float("nan") if unknown else label[:20, 1]
    each = []
    for y, answer in ((label[:, 0], outputs[:, 0]), (label[20 * unknown :, 1], outputs[20 * unknown :, 1])):
        error = mean_squared_error(y, answer) ** 0.5
        each.append([r2_score(y, answer), mean_absolute_error(y, answer), error, spearmanr(y, answer).statistic])
    expected = dict(zip(OF_NUMBERS, np.mean(each, 0), strict=True))
    for c, own in enumerate(each):
        expected |= {f"{name} of label_{c}": number for name, number in zip(OF_NUMBERS, own, strict=True)}
    return Regression(torch.zeros(2), torch.ones(2), flat=False), outputs, label, expected


@pytest.mark.parametrize(
    "made",
    [lambda rng: _classes(rng, 4), lambda rng: _classes(rng, 9), _several, _numbers, lambda rng: _numbers(rng, True)],
)
def test_scores_equal_those_of_scikit_learn(made):
    objective, outputs, label, expected = made(torch.Generator().manual_seed(0))
    found = objective.scores(outputs, label)
    assert found == pytest.approx(expected, abs=1e-5)
    assert tuple(found) == objective.names


def test_a_number_that_is_the_same_in_all_labels_has_errors_alone():
    label = torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    found = Regression(torch.zeros(2), torch.ones(2), flat=False).scores(label + 1, label)
    assert found["Spearman"] == found["Spearman of label_0"] == pytest.approx(1, abs=1e-4)
    assert "R2 of label_1" not in found and found["MAE of label_1"] == 1
    data = Data(
        samples(label=lambda kind, x: torch.tensor([float(kind), 5.0])),
        samples(30, label=lambda kind, x: torch.tensor([float(kind), 5.0])),
    )
    rows = [row.name for row in finetune(data, pretrained=model_of(), settings=QUICK).rows]
    assert "R2 of label_0" in rows and "R2 of label_1" not in rows and "MAE of label_1" in rows


@pytest.mark.parametrize(
    ("monitor", "chooses", "falls"),
    [(None, "accuracy", False), ("macro_f1", "macro F1", False), ("Loss", "loss", True)],
)
def test_what_the_best_epoch_is_chosen_by(monitor, chooses, falls):
    label = torch.tensor([0, 1, 1])
    objective = objective_of(Task(CLASSIFICATION), label, Settings(monitor=monitor))
    assert (objective.chooses, objective.falls) == (chooses, falls)
    with pytest.raises(ValueError, match=r"`monitor` must be one of .*`loss`, but is 'macrof1'; nearest: `macro_f1`"):
        objective_of(Task(CLASSIFICATION), label, Settings(monitor="macrof1"))
    assert objective_of(Task(REGRESSION), label.double(), Settings(monitor="RMSE")).falls


def test_the_epoch_of_the_least_error_is_kept(data, monkeypatch):
    planned = iter([3.0, 1.0, 2.0])
    score = FineTuning.score

    def scripted(self, answers):
        return score(self, answers) | ({"MAE": next(planned)} if self.trainer.state.fn == "fit" else {})

    monkeypatch.setattr(FineTuning, "score", scripted)
    settings = replace(QUICK, task="regression", monitor="mae")
    (trial,) = finetune(data, pretrained=model_of(), settings=settings).details["trials"]
    assert trial.best_epoch == 1 and trial.val_scores["MAE"] == 1


def test_the_kind_of_task_may_be_chosen(data):
    result = finetune(data, pretrained=model_of(), settings=replace(QUICK, task="regression"))
    assert set(result.details["trials"][0].scores) == {*OF_NUMBERS, "loss"}
    floats = Data(samples(label=lambda kind, x: float(kind)), samples(30, label=lambda kind, x: float(kind)))
    settings = replace(QUICK, task="classification", epochs=8)
    assert finetune(floats, pretrained=model_of(), settings=settings).rows[0].cells[PRETRAINED].mean > 0.8
    with pytest.raises(ValueError, match="'multi-label' needs one row of classes per label"):
        finetune(data, pretrained=model_of(), settings=replace(QUICK, task="multi-label"))


# Mixing and stochastic depth.


@pytest.mark.parametrize("mixing", [Mixing(mixup=1.0), Mixing(cutmix=1.0), Mixing(0.5, 0.5)])
def test_labels_are_mixed_as_the_values_are(mixing):
    target = torch.eye(4)
    values = target[:, None].expand(4, 24, 4).clone()  # each token is its sample's label
    tokens = Tokens(values, Grid((4, 6)))
    known = torch.tensor([True, True, True, False])
    for key in range(20):
        mixed, labels, still = mixing(tokens, target, known, key)
        torch.testing.assert_close(mixed.values.mean(1), labels)
        assert labels.sum(1).tolist() == pytest.approx([1] * 4)
        assert (still & (labels[:, 3] > 1e-6)).sum() == 0, "nothing known of what an unknown one is mixed into"
        again = mixing(tokens, target, known, key)
        assert torch.equal(again[0].values, mixed.values) and torch.equal(again[1], labels)
    assert torch.equal(values, tokens.values)


def test_a_block_of_places_by_hand():
    def block(shape, share, *centres):
        draws = iter(centres)
        return _block(shape, share, SimpleNamespace(randrange=lambda side: next(draws))).view(shape).int().tolist()

    # a quarter of 4 x 4 is 2 x 2: from one before its centre on
    assert block((4, 4), 0.75, 2, 1) == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert block((4, 4), 0.75, 0, 3) == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]  # cut off
    assert block((2, 2, 2), 1.0, 0, 0, 0) == [[[0, 0], [0, 0]]] * 2
    shares = [_block((16, 16), 0.5, random.Random(i)).float().mean().item() for i in range(200)]
    assert 0.3 < np.mean(shares) < 0.5  # half, less what is cut off


def test_what_cannot_be_mixed_is_refused():
    per_sample, values = Task(CLASSIFICATION), torch.zeros(2, 6, 4)
    grid = Tokens(values, Grid((2, 3)))
    for mixing in (Mixing(1.0), Mixing(0.0, 1.0)):
        mixing.check(grid, per_sample)
    for tokens, task, why in (
        (grid, Task(CLASSIFICATION, True), "labels per token"),
        (replace(grid, valid=torch.ones(2, 6, dtype=torch.bool)), per_sample, "several lengths"),
        (Tokens(values[0], Set(), offsets=torch.tensor([0, 6])), per_sample, "several lengths"),
        (Tokens(torch.zeros(2, 6, dtype=torch.long), Sequence()), per_sample, "ids"),
        (replace(grid, positions=values), per_sample, "elsewhere"),
    ):
        with pytest.raises(ValueError, match=f"`mixup` must be 0, but is 0.8: it does not work on .*{why}"):
            Mixing(0.8).check(tokens, task)
    Mixing(0.8).check(grid, Task(REGRESSION))
    with pytest.raises(ValueError, match=r"`cutmix` must be 0, but is 1: .* regression"):
        Mixing(0, 1).check(grid, Task(REGRESSION))
    with pytest.raises(ValueError, match="on a Sequence, only on a Grid"):
        Mixing(0, 1).check(Tokens(values, Sequence()), per_sample)


def test_stochastic_depth_rises_from_block_to_block():
    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop_path1, self.drop_path2 = nn.Identity(), DropPath(0.9)

    model = nn.Sequential(Foreign(), Foreign(), Foreign())
    set_drop_path(model, 0.2)
    ratios = [[one.drop_path1.ratio, one.drop_path2.ratio] for one in model]
    assert ratios == [pytest.approx([each, each]) for each in (0, 0.1, 0.2)]
    own = Transformer(8, depth=3, num_heads=2)
    set_drop_path(own, 0.2)
    assert [block.drop_path_ratio for block in own.blocks] == pytest.approx([0, 0.1, 0.2])
    set_drop_path(own, 0)
    assert {block.drop_path_ratio for block in own.blocks} == {0}
    with pytest.raises(ValueError, match="`drop_path` must be 0 for Pointwise"):
        tuned(replace(QUICK, drop_path=0.1), model=model_of(Pointwise))

    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(10_000, 2, 3)).flatten(1)
    assert ((dropped == 0).all(1) | (dropped == 1 / 0.75).all(1)).all(), "whole samples"
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    assert DropPath(0.25).eval()(torch.ones(4, 2)).eq(1).all()


# Files and mistakes.


class Bomb:
    went_off = False

    def __reduce__(self):
        return setattr, (Bomb, "went_off", True)


def test_a_checkpoint_is_whole_and_runs_no_code(tmp_path):
    model = tuned(replace(QUICK, head="mlp", pool="mean+max")).eval()
    path = tmp_path / "a" / "model.ckpt"
    save(model, path, step=3)
    assert [one.name for one in path.parent.iterdir()] == ["model.ckpt"]
    loaded = load(path, model_of(seed=3))
    batch = default_collate(samples(5))
    assert torch.equal(loaded(batch), model(batch))
    with pytest.raises(UserError, match="must be a checkpoint of `unmask fit`, but is one of `unmask finetune`"):
        read_checkpoint(path, "state_dict", "optimizer_states")
    assert (loaded.settings, loaded.task, loaded.seed) == (model.settings, model.task, model.seed)
    with pytest.raises(UserError, match="holds no config; `model` must be given"):
        load(path)
    with pytest.raises(UserError, match="do not fit the model"):
        load(path, model_of(Pointwise))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="is cut off"):
        load(path)
    torch.save({"state_dict": {}, "seed": 0, "global_step": 0}, path)
    with pytest.raises(UserError, match="must be a checkpoint of `unmask finetune`"):
        load(path)
    torch.save({"state_dict": {}, "seed": 0, "global_step": 0, "finetune": {"settings": {"epoch": 3}}}, path)
    with pytest.raises(UserError, match="says of itself"):
        load(path)
    torch.save({"state_dict": {}, "seed": 0, "global_step": 0, "finetune": Bomb()}, path)
    with pytest.raises(UserError):
        load(path)
    assert not Bomb.went_off


def test_nothing_half_is_left_after_an_error(tmp_path, data):
    with pytest.raises(ValueError, match="class token"):
        finetune(data, pretrained=model_of(), settings=replace(QUICK, pool="cls"), folder=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_training_that_diverges_is_refused(tmp_path, data, monkeypatch):
    with pytest.raises(ValueError, match="outputs must be finite, but are not: lower `lr`"):
        finetune(data, pretrained=model_of(), settings=replace(QUICK, lr=1e38), folder=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    # but not one whose best epoch came before
    losses = FineTuning.training_step

    def late(self, batch, batch_idx):
        return losses(self, batch, batch_idx) * (float("nan") if self.current_epoch > 1 else 1)

    monkeypatch.setattr(FineTuning, "training_step", late)
    (trial,) = finetune(data, pretrained=model_of(), settings=replace(QUICK, epochs=5), folder=tmp_path).details[
        "trials"
    ]
    assert trial.best_epoch < 2
    assert trial.num_epochs == 3
    assert trial.curve[-1]["val/loss"] is None
    assert json.loads((tmp_path / "finetune.json").read_text())["trials"][0]["scores"] == trial.scores


def test_mistakes_name_the_rule(data):
    model = model_of()
    with pytest.raises(ValueError, match="same weights under any seed"):
        finetune(data, pretrained=model, scratch=lambda seed: model_of(seed=1))
    with pytest.raises(ValueError, match="`pretrained` or `scratch`"):
        finetune(data)
    bare = [{"x": one["x"]} for one in samples(4)]
    with pytest.raises(ValueError, match="must have a `label` in every sample"):
        finetune(Data(bare, bare), pretrained=model)
    alike = samples(8, label=lambda kind, x: 1)
    with pytest.raises(ValueError, match="at least 2 classes"):
        finetune(Data(alike, alike), pretrained=model)
    same = samples(8, label=lambda kind, x: 1.5)
    with pytest.raises(ValueError, match="R2 cannot be measured on the test labels"):
        finetune(Data(samples(8, label=lambda kind, x: x.mean()), same), pretrained=model)
    numbers = Data(samples(label=lambda kind, x: x.mean()), samples(label=lambda kind, x: x.mean()))
    with pytest.raises(ValueError, match="`labels_per_class` needs classification"):
        finetune(numbers, pretrained=model, labels_per_class=(3,))
    per_token = Data(ragged(6, 0), ragged(6, 1), packed)
    with pytest.raises(ValueError, match="`pool` must be 'mean' where labels are per token"):
        finetune(per_token, pretrained=model_of(Pointwise), settings=replace(QUICK, pool="max"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, but is 0"),
        ({"max_steps": 0}, "`max_steps` must be at least 1, but is 0"),
        ({"lr": 0.0}, "`lr` must be above 0, but is 0"),
        ({"lr": float("nan")}, "`lr` must be above 0, but is nan"),
        ({"layer_decay": 1.5}, r"`layer_decay` must be in \(0, 1\], but is 1.5"),
        ({"drop_path": 1.0}, r"`drop_path` must be in \[0, 1\), but is 1"),
        ({"mixup": -1.0}, "`mixup` must be at least 0, but is -1"),
        ({"pool": "man"}, "`pool` must be one of .*, but is 'man'; nearest: `mean`, `max`"),
        ({"task": "regresion"}, "nearest: `regression`"),
        ({"monitor": "mAP", "val_ratio": 0}, "must be left out with `val_ratio` 0, but is 'mAP'"),
        ({"freeze": True, "drop_path": 0.1}, "`drop_path` must be 0 with `freeze`"),
        ({"freeze": True, "checkpoint_activations": True}, "`checkpoint_activations` must be false with `freeze`"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give a run folder, or `--config` with `--from_scratch`"),
        (["run", "--config", "x"], "and not both"),
        (["--config", "x"], "`--config` needs `--from_scratch`"),
        (["run", "--from_scratch", "--no_scratch"], "cannot both be given"),
        (["run", "--epochs", "many"], "`--epochs` must be a whole number, but is `many`"),
        (["run", "--mixup", "some"], "`--mixup` must be a number, but is `some`"),
        (["run", "--head", "liner"], "`--head` must be one of linear, mlp, but is 'liner'; nearest: `linear`"),
        (["run", "--seeds", ","], "`--seeds` must be numbers with commas between"),
        (["run", "--epoch", "3"], "takes no `--epoch`; nearest: `--epochs`"),
        (["nowhere"], "There is no run `nowhere`"),
        (["--config", "nothing.yaml", "--from_scratch"], "There is no file `nothing.yaml`"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


# Classes of unequal size.


def test_rare_classes_weigh_more_by_hand():
    label = torch.tensor([0, 0, 0, 2])
    objective = objective_of(Task(CLASSIFICATION), label, Settings(class_weights="balanced", label_smoothing=0))
    assert objective.weight.tolist() == pytest.approx([4 / (3 * 2), 2.0, 2.0])  # n / (count x classes that are there)
    outputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    target, _ = objective.target(label)
    expected = torch.nn.CrossEntropyLoss(weight=objective.weight, reduction="none")(outputs, label)
    torch.testing.assert_close(objective.losses(outputs, target), expected)
    assert objective.weight[label].mean().item() == pytest.approx(1)
    assert "weight" not in objective.state_dict()

    several = torch.tensor([[1, 0], [0, 0], [0, 1], [0, 1]])
    objective = objective_of(Task(MULTI_LABEL), several, Settings(class_weights="balanced"))
    assert objective.weight.tolist() == [3.0, 1.0]


def test_focal_loss_by_hand():
    """The formula of section 3.2: `-(1 - p_t) ** gamma * log(p_t)`."""
    rng = torch.Generator().manual_seed(0)
    outputs, several = torch.randn(5, 3, generator=rng), (torch.rand(5, 3, generator=rng) > 0.5).float()
    focal = objective_of(Task(MULTI_LABEL), several.long(), Settings(focal_gamma=2))
    share = torch.where(several == 1, outputs.sigmoid(), 1 - outputs.sigmoid())
    expected = -((1 - share) ** 2) * share.log()
    torch.testing.assert_close(focal.losses(outputs, several), expected)

    label = torch.tensor([0, 1, 2, 1, 0])
    focal = objective_of(Task(CLASSIFICATION), label, Settings(focal_gamma=2, label_smoothing=0))
    share = outputs.softmax(-1)[torch.arange(5), label]
    torch.testing.assert_close(focal.losses(outputs, focal.target(label)[0]), -((1 - share) ** 2) * share.log())
    plain = objective_of(Task(CLASSIFICATION), label, Settings())
    almost = Classification(3, 0.1, gamma=1e-9)
    target, _ = plain.target(label)
    torch.testing.assert_close(almost.losses(outputs, target), plain.losses(outputs, target))


def test_balanced_sampling_shows_each_class_as_often():
    few = [sample for i, sample in enumerate(samples(400)) if i % 3 < 2 and (i % 3 == 0 or i % 30 == 1)]
    label = torch.tensor([sample["label"] for sample in few])
    assert label.bincount()[0] > 5 * label.bincount()[1]
    sampler = BalancedSampler(few, 1, 0, seed=3, drop_last=False).of(label)
    drawn = [index for epoch in range(20) for _, _, index in (sampler.set_epoch(epoch), sampler)[1]]
    share = label[drawn].float().mean()
    assert abs(share - 0.5) < 4 * 0.5 / len(drawn) ** 0.5  # four standard errors
    sampler.set_epoch(0)
    again = list(sampler)
    sampler.start = 5
    assert list(sampler) == again[5:]  # a resumed epoch


def test_an_imbalanced_set_is_learnt_with_every_option(tmp_path):
    few = [sample for i, sample in enumerate(samples(90)) if i % 3 or i % 9 == 0]
    settings = replace(QUICK, epochs=12, class_weights="balanced", sampling="balanced", focal_gamma=1)
    result = finetune(Data(few, samples(30, seed=1)), pretrained=model_of(), settings=settings)
    assert result.rows[0].cells[PRETRAINED].mean > 0.6


@pytest.mark.parametrize(
    ("settings", "label", "task", "said"),
    [
        ({"class_weights": "balanced"}, [0.5, 1.5], REGRESSION, "`class_weights` is of classes and must be left out"),
        ({"focal_gamma": 2}, [0.5, 1.5], REGRESSION, "`focal_gamma` is of classes and must be left out"),
        ({"sampling": "balanced"}, [[0, 1], [1, 0]], MULTI_LABEL, "`sampling` must be 'uniform' for multi-label"),
    ],
)
def test_options_of_classes_are_refused_elsewhere(settings, label, task, said):
    with pytest.raises(ValueError, match=said):
        objective_of(Task(task), torch.tensor(label), Settings(**settings))
