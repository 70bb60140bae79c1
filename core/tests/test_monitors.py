"""Monitors: measures by hand, rules on known matrices, and callbacks that watch, warn once and leave no trace."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader

from unmask import Latent, MaskedModel, Optimization, Sequence, Tokens, seeds
from unmask.callbacks import CollapseMonitor, OnlineProbe
from unmask.data import MaskedDataModule, Splits
from unmask.losses import CrossEntropyLoss, MSELoss
from unmask.masks.random import RandomMask
from unmask.parts import Corruption, Encoder, Target, Tokenizer
from unmask.predictors import LinearPredictor, TransformerPredictor
from unmask.runs.records import MetricsFile
from unmask.structures import Mask, Prediction
from unmask.targets import EMATeacher, ValueTarget
from unmask.tools.health import measures as health
from unmask.tools.health.examine import check_up
from unmask.tools.health.measures import FLAT, GONE, SAME, Spread, Stretch
from unmask.training.guard import Diverged

# Measures


def test_effective_rank_by_hand():
    """Singular values 3 and 1: shares 3/4 and 1/4, entropy 0.5623."""
    assert health.effective_rank(torch.tensor([[3.0, 0.0], [0.0, 1.0]])) == pytest.approx(1.7548, abs=1e-4)
    assert health.effective_rank(torch.eye(7) * 1e-3) == pytest.approx(7, rel=1e-4)
    assert health.effective_rank(torch.ones(50, 20)) == pytest.approx(1, abs=1e-3)
    assert health.effective_rank(torch.zeros(5, 3)) == 0
    assert math.isnan(health.effective_rank(torch.tensor([[1.0, float("nan")]])))


def test_feature_std_by_hand():
    """Two opposite directions along one of four axes: deviations 1, 0, 0, 0, so 1/4 times sqrt(4)."""
    codes = torch.tensor([[5.0, 0, 0, 0], [-0.1, 0, 0, 0]])
    assert health.feature_std(codes) == pytest.approx(0.5)
    assert health.feature_std(codes * 1e4) == pytest.approx(0.5)
    assert health.feature_std(torch.ones(6, 4)) == pytest.approx(0, abs=1e-12)
    many = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert health.feature_std(many) == pytest.approx(1, abs=0.02)


def test_perplexity_by_hand():
    assert health.perplexity(torch.tensor([0, 1, 2, 3]), 8) == pytest.approx(4)
    assert health.perplexity(torch.tensor([5, 5, 5]), 8) == pytest.approx(1)
    assert health.perplexity(torch.tensor([0, 0, 0, 1]), 2) == pytest.approx(1.7548, abs=1e-4)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        (torch.full((64, 32), 0.7), SAME),
        (torch.zeros(64, 32), SAME),
        (gaussian(32) + 1e-3 * gaussian(64, 32), SAME),  # noise around one vector has many directions
        (torch.nn.functional.layer_norm(gaussian(32) + 1e-3 * gaussian(64, 32), (32,)), SAME),
        (gaussian(64, 1) * gaussian(32), FLAT),
        (gaussian(64, 2) @ gaussian(2, 32) + 1e-4 * gaussian(64, 32, seed=1), FLAT),
        (gaussian(64, 32, seed=1), None),
        (1e-3 * gaussian(64, 32, seed=1), None),  # small, but as different as ever
        (gaussian(10, 32)[torch.arange(64) % 10] + 0.01 * gaussian(64, 32, seed=1), None),  # ten tight clusters
        (gaussian(64, 8) @ gaussian(8, 32), None),
    ],
)
def test_what_counts_as_collapse_beside_random_codes(codes, verdict):
    assert health.collapse(Spread.of(codes), Spread.of(gaussian(64, 32, seed=2))) == verdict


def test_narrow_codes_are_judged_by_their_start():
    flat = gaussian(64, 2) @ gaussian(2, 32)  # data of two dimensions, before training and after
    assert health.collapse(Spread.of(flat @ gaussian(32, 32)), Spread.of(flat)) is None
    alike = 10 * gaussian(32) + 0.1 * gaussian(64, 32)  # an encoder whose codes have much in common
    assert health.collapse(Spread.of(alike), Spread.of(10 * gaussian(32) + 0.2 * gaussian(64, 32))) is None
    assert health.collapse(Spread.of(torch.ones(7, 32)), Spread.of(gaussian(7, 32))) is None, "too few to judge"
    assert health.collapse(None, Spread.of(flat)) is None


def test_a_target_may_vanish_though_its_directions_stay():
    codes = gaussian(64, 32)
    assert health.collapse(Spread.of(codes * 1e-3), Spread.of(codes)) is None
    assert health.target_collapse(Spread.of(codes * 1e-3), Spread.of(codes)) == GONE
    assert health.target_collapse(Spread.of(codes * 0.5), Spread.of(codes)) is None
    assert health.moves(Spread.of(codes * 0.5), Spread.of(codes))
    assert not health.moves(Spread.of(codes), Spread.of(codes.clone()))
    assert not health.moves(None, None)


def test_loss_of_a_constant_answer_by_hand():
    """Two samples, targets 0 and 2 at place 3: the mean 1 is off by 1; each other's value by 2: (1 + 4) / 2."""
    mask = Mask(torch.tensor([[False, False, False, True]] * 2), num_hidden=1)
    target = torch.tensor([[[0.0]], [[2.0]]])
    answers = Prediction(torch.zeros(2, 1, 1), mask.asked)
    assert health.constant_loss(MSELoss(), answers, target, num_places=4) == pytest.approx(2.5)
    # Places that mean nothing in common share one mean, here the same.
    assert health.constant_loss(MSELoss(), answers, target, num_places=None) == pytest.approx(2.5)
    ids = torch.tensor([[0], [1]])
    scores = Prediction(torch.zeros(2, 1, 2), mask.asked)
    assert health.constant_loss(CrossEntropyLoss(), scores, ids, None) == pytest.approx(math.log(2), abs=1e-3)


def test_loss_of_a_constant_answer_is_the_variance_of_much_data():
    """Targets of deviation 1 about another mean at each place; padding is left out."""
    valid = torch.ones(200, 6, dtype=torch.bool)
    valid[::2, 4:] = False
    mask = Mask(torch.ones(200, 6, dtype=torch.bool) & valid, valid=valid)
    target = 5 * torch.arange(6.0)[None, :, None] + gaussian(200, 6, 3)
    target = torch.where(valid[..., None], target, 1e6)
    answers = Prediction(torch.zeros(200, 6, 3), mask.asked)
    assert health.constant_loss(MSELoss(), answers, target, num_places=6) == pytest.approx(1, abs=0.05)
    assert health.constant_loss(MSELoss(), answers, target, num_places=None) > 50


def course(losses, window, every=20):
    """What the losses of single steps look like to the rule."""
    stretches = []
    for end in range(every, len(losses) + 1, every):
        part = np.array(losses[end - every : end])
        stretches.append(Stretch(end, every, float(part.mean()), float(part.var())))
    return health.trend(stretches, window)


def test_a_stuck_loss_and_losses_that_are_not():
    noise = 0.02 * np.random.default_rng(0).standard_normal(1000)
    flat, falling = 1 + noise, 1 - 0.0005 * np.arange(1000) + noise
    assert health.stuck(course(flat, 500), None)
    assert health.stuck(course(flat, 500), 0.5), "still at its start"
    assert not health.stuck(course(falling, 500), 0.0)
    dropped = np.concatenate([np.full(20, 3.0), np.ones(980)]) + noise
    assert health.stuck(course(dropped, 500), 0.01), "fallen to the mean answer, and no further"
    assert not health.stuck(course(dropped, 500), 0.2), "converged"
    assert not health.stuck(course(dropped, 500), None), "a learned target has no constant answer to compare with"
    assert health.stuck(course(-np.ones(1000), 500), None), "losses may be negative"
    assert not health.stuck(course(flat[:400], 500), 0.0), "the window is not over"


# A model to watch


class Rows(Tokenizer):
    """Dense rows, padded ones where there is a length, packed ones on demand; ids when they are integers."""

    def __init__(self, packed=False):
        super().__init__()
        self.packed = packed

    def forward(self, batch):
        x = batch["x"]
        if "length" in batch:
            valid = torch.arange(x.shape[1], device=x.device) < batch["length"][:, None]
            if self.packed:
                offsets = torch.nn.functional.pad(valid.sum(1).cumsum(0), (1, 0))
                return Tokens(x[valid], Sequence(), offsets=offsets)
            return Tokens(x, Sequence(), valid=valid)
        return Tokens(x, Sequence())


class Each(Encoder):
    """Each token by itself; hidden ones are replaced, or dropped."""

    width, num_layers = 16, 1

    def __init__(self, dropout=0.1):
        super().__init__()
        self.enter = nn.Linear(4, 16)
        self.mask_token = nn.Parameter(torch.zeros(4))
        self.rest = nn.Sequential(nn.Dropout(dropout), nn.GELU(), nn.Linear(16, 16), nn.LayerNorm(16))

    def forward(self, tokens, mask=None, layer=None):
        values, seen = tokens.values, mask.seen if mask is not None else None
        if seen is not None:
            values = seen.gather(values)
        elif mask is not None:
            values = torch.where(mask.hidden[..., None], self.mask_token, values)
        return Latent(self.rest(self.enter(values)), seen)


class Ids(Target):
    """The largest feature of a token."""

    def forward(self, tokens, mask, given=None):
        return mask.asked.gather(tokens.values.argmax(-1)[..., None]).squeeze(-1)


class Online(Target):
    """The online encoder's own codes, with gradient: what collapses."""

    def start(self, model):
        self.__dict__["encoder"] = model.encoder

    def forward(self, tokens, mask, given=None):
        with torch.enable_grad():
            return mask.asked.gather(self.__dict__["encoder"](tokens).values)


def model(kind="values", packed=False, lr=1e-2, dropout=0.1, reads=None):
    """``reads``: whether the predictor reads visible places, from which hidden ones can be told; by default for
    values only. Otherwise, with this encoder, nothing can be learnt about them."""
    torch.manual_seed(0)
    target, width, loss = {
        "values": (ValueTarget(), 4, MSELoss()),
        "teacher": (EMATeacher(momentum=0.99), 16, MSELoss()),
        "ids": (Ids(), 4, CrossEntropyLoss()),
        "online": (Online(), 16, MSELoss()),
    }[kind]
    dropped = not packed and (kind == "values" if reads is None else reads)
    return MaskedModel(
        tokenizer=Rows(packed),
        mask=RandomMask(0.5),
        encoder=Each(dropout),
        predictor=TransformerPredictor(16, width, width=16, depth=1, num_heads=2)
        if dropped
        else LinearPredictor(16, width),
        target=target,
        loss=loss,
        corruption=Corruption(drop=1) if dropped else Corruption(token=1),
        optim=Optimization(base_lr=lr, scale_lr=False),
    )


def samples(num=64, ragged=False, label=True):
    x = gaussian(num, 1, 4) + 0.3 * gaussian(num, 6, 4, seed=1)  # the tokens of a row are alike
    rows = [{"x": row} for row in x]
    for i, row in enumerate(rows):
        if ragged:
            row["length"] = 3 + i % 4
        if label:
            row["label"] = int(row["x"].mean() > 0)
    return rows


class Data(MaskedDataModule):
    def __init__(self, rows, probes=None):
        super().__init__(batch_size=8, num_workers=0)
        self.rows, self.probes = rows, probes

    def load(self):
        return Splits(self.rows, self.rows[::2], *(self.probes or ()))


def fit(folder, callbacks, made=None, rows=None, val=True, ckpt=None, data=None, **options):
    made = made or model()
    given = {"max_epochs": 3, "log_every_n_steps": 1} | options
    trainer = L.Trainer(
        accelerator="cpu", devices=1, default_root_dir=folder, callbacks=callbacks, logger=MetricsFile(Path(folder)),
        enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False,
        **({} if val else {"limit_val_batches": 0}), **given,
    )  # fmt: skip
    torch.manual_seed(1)
    trainer.fit(made, datamodule=data or Data(rows or samples()), ckpt_path=ckpt)
    return trainer


def logged(folder, prefix="health/"):
    """By step, the numbers of that prefix."""
    with Path(folder, "metrics.csv").open() as file:
        rows = [(int(row["step"]), {k: float(v) for k, v in row.items() if k.startswith(prefix) and v})
                for row in csv.DictReader(file)]  # fmt: skip
    return [(step, numbers) for step, numbers in rows if numbers]


def said(caught):
    return [str(one.message) for one in caught if str(one.message).startswith(("Step", "`Collapse", "`Online"))]


@pytest.fixture
def caught():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


# The monitor


@pytest.mark.parametrize("val", [True, False])
@pytest.mark.parametrize("kind", ["values", "teacher"])
def test_watched_training_is_bit_equal(tmp_path, kind, val):
    plain, watched = model(kind), model(kind)
    fit(tmp_path / "plain", [], plain, val=val, max_epochs=5)
    state = torch.get_rng_state()
    fit(tmp_path / "watched", [CollapseMonitor(num_samples=8), OnlineProbe()], watched, val=val, max_epochs=5)
    assert torch.equal(state, torch.get_rng_state())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    assert len(logged(tmp_path / "watched")) >= 3


def test_a_model_is_as_it_was_after_a_check_up():
    made = model("teacher").train()
    made.encoder.rest[0].eval()
    before, state = {name: part.training for name, part in made.named_modules()}, torch.get_rng_state()
    check_up(made, {"x": gaussian(8, 6, 4)})
    assert before == {name: part.training for name, part in made.named_modules()}
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in made.parameters())


def test_numbers_of_a_check_up_are_those_of_its_parts():
    made = model("teacher", dropout=0.5)
    x = gaussian(12, 6, 4)
    found = check_up(made, {"x": x})
    made.eval()
    with torch.no_grad():
        codes = made.encoder(Tokens(x, Sequence())).values
        target = made.target(Tokens(x, Sequence()), Mask(torch.ones(12, 6, dtype=torch.bool)))
        assert found.numbers["effective_rank"] == pytest.approx(health.effective_rank(codes.mean(1)), rel=1e-5)
        assert found.numbers["feature_std"] == pytest.approx(health.feature_std(codes.mean(1)), rel=1e-5)
        assert found.numbers["token_rank"] == pytest.approx(health.effective_rank(codes.flatten(0, 1)), rel=1e-5)
        assert found.numbers["target_std"] == pytest.approx(float(target.mean(1).std(0, correction=0).mean()), rel=1e-5)
        # A linear predictor answers anywhere: the loss at visible places, by hand.
        step = made.step({"x": x}, seeds.mix("health"))
        answers = made.predictor.head(step.latent.values)
        errors = (answers - target).square().mean(-1)
        assert found.numbers["loss_hidden"] == pytest.approx(float(errors[step.mask.hidden].mean()), rel=1e-5)
        assert found.numbers["loss_visible"] == pytest.approx(float(errors[~step.mask.hidden].mean()), rel=1e-5)


@pytest.mark.parametrize(("ragged", "packed"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("kind", ["values", "teacher", "ids"])
def test_every_storage_form_and_kind_of_target(tmp_path, caught, kind, ragged, packed):
    fit(tmp_path, [CollapseMonitor()], model(kind, packed), samples(ragged=ragged), max_epochs=1)
    assert said(caught) == []
    (first, before), (last, after) = logged(tmp_path)
    assert (first, last) == (0, 7)
    expected = {"effective_rank", "centered_rank", "feature_std", "token_rank", "token_std", "loss_hidden",
                "loss_visible", "gain"}  # fmt: skip
    own = (
        {"target_perplexity", "predicted_perplexity", "codebook_use"}
        if kind == "ids"
        else {"target_rank", "target_std"}
    )
    assert {name.removeprefix("health/") for name in before} == expected | own
    assert all(math.isfinite(value) for value in (before | after).values())


def test_packed_and_padded_rows_look_the_same(tmp_path):
    rows = samples(16, ragged=True)
    batch = torch.utils.data.default_collate(rows)
    padded, packed = (check_up(model("teacher", packed), batch).numbers for packed in (False, True))
    assert padded == pytest.approx(packed, rel=1e-4)


@pytest.mark.parametrize("kind", ["values", "ids"])
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true", "64-true"])
def test_every_precision_is_watched(tmp_path, caught, precision, kind):
    fit(tmp_path, [CollapseMonitor(), OnlineProbe()], model(kind), precision=precision, max_epochs=1)
    assert len(logged(tmp_path)) == 2
    assert len(logged(tmp_path, "probe/")) == 1
    assert said(caught) == []


def test_regression_labels_in_16_bits_are_told(tmp_path, caught):
    rows = [row | {"label": row["x"].mean()} for row in samples()]
    fit(tmp_path, [OnlineProbe()], rows=rows, precision="bf16-true", max_epochs=1)
    assert said(caught) == [
        "`OnlineProbe` is switched off: it needs one class id per sample or token, but labels are float32 (64,)."
    ]


def test_fast_dev_run_writes_nothing(tmp_path, caught):
    fit(tmp_path / "dev", [CollapseMonitor(), OnlineProbe()], fast_dev_run=True)
    assert said(caught) == []
    assert not (tmp_path / "dev").exists() or not list((tmp_path / "dev").iterdir())


def test_when_it_looks(tmp_path):
    """At first when the steps done have doubled, then at ends of epochs (of 8 steps), and at the end of the run."""
    fit(tmp_path / "epochs", [CollapseMonitor(num_samples=8)], max_epochs=11)
    assert [step + 1 for step, _ in logged(tmp_path / "epochs")] == [1, 20, 40, 80, 88]
    rows = samples(1000)
    fit(tmp_path / "long", [CollapseMonitor(num_samples=8, every_n_steps=30)], rows=rows, max_epochs=1, val=False)
    assert [step + 1 for step, _ in logged(tmp_path / "long")] == [1, 20, 40, 70, 100, 125]
    for every, steps in ((1, [1, 20, 40, 80, 160, 264, 320]), (15, [1, 20, 40, 80, 160, 320])):
        fit(tmp_path / str(every), [CollapseMonitor(num_samples=8, every_n_epochs=every)], max_epochs=40, val=False)
        assert [step + 1 for step, _ in logged(tmp_path / str(every))] == steps


def test_a_collapsing_run_is_told_once_in_words(tmp_path, caught):
    fit(tmp_path, [CollapseMonitor()], model("online", lr=2e-2), max_epochs=20)
    (told,) = said(caught)
    assert "codes of different samples" in told
    assert "before training" in told
    assert "no gradient through the target" in told
    assert "\n" not in told
    kept = (tmp_path / "health.txt").read_text()
    assert kept.lower() == told.lower() + "\n"
    assert int(told.split()[1].rstrip(":")) <= 80, "within the first epochs"


@pytest.mark.parametrize("kind", ["teacher", *(pytest.param(one, marks=pytest.mark.slow) for one in ("values", "ids"))])
def test_a_healthy_run_is_left_alone(tmp_path, caught, kind):
    fit(tmp_path, [CollapseMonitor(window=50)], model(kind, lr=5e-3, reads=True), max_epochs=20)
    assert said(caught) == []
    assert not (tmp_path / "health.txt").exists()


def test_a_stuck_loss_is_told_once(tmp_path, caught):
    made = model("values", lr=1e-12)
    fit(tmp_path, [CollapseMonitor(window=40)], made, max_epochs=8)
    (told,) = said(caught)
    assert "has not fallen for 40 steps" in told
    assert "learning rate" in told


def test_a_run_that_cannot_learn_is_told_that_a_constant_answers_as_well(tmp_path, caught):
    fit(tmp_path, [CollapseMonitor(window=50)], model("ids", lr=5e-3, reads=False), max_epochs=20)
    (told,) = said(caught)
    assert "of a constant answer" in told


def test_a_short_run_is_not_called_stuck(tmp_path, caught):
    fit(tmp_path, [CollapseMonitor()], model("values", lr=1e-12), max_epochs=12)
    assert said(caught) == []


class Breaks(MaskedModel):
    """NaN from some step on."""

    at = 5

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.global_step >= self.at else loss


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    made = model()
    made.__class__ = Breaks
    with pytest.raises(Diverged, match=r"Step 6: the loss is not finite.*Its batch: samples"):
        fit(tmp_path, [CollapseMonitor()], made, max_epochs=8)


def test_accumulated_batches_count_at_their_own_size(tmp_path):
    monitor = CollapseMonitor()
    trainer = fit(tmp_path, [monitor], max_epochs=1, accumulate_grad_batches=4)
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    (stretch,) = monitor._stretches
    assert trainer.global_step == stretch.step == 2
    assert stretch.num_losses == 8
    assert stretch.mean == pytest.approx(np.mean(losses), rel=0.2)  # two of the eight are logged


class Unwilling(Each):
    def forward(self, tokens, mask=None, layer=None):
        if mask is None:
            raise RuntimeError("needs a mask")
        return super().forward(tokens, mask, layer)


def test_a_failing_check_up_is_told_once_and_losses_are_still_watched(tmp_path, caught):
    made = model(lr=1e-12)
    made.encoder.__class__ = Unwilling
    fit(tmp_path, [CollapseMonitor(window=40)], made, max_epochs=8)
    failed, stuck = said(caught)
    assert "needs a mask" in failed
    assert "has not fallen" in stuck


class Kill(L.Callback):
    """Saves after a step, then stops the run the hard way."""

    class Killed(Exception):  # noqa: N818
        pass

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise self.Killed


@pytest.mark.parametrize("step", [13, 24])
def test_a_resumed_run_judges_by_its_own_beginning(tmp_path, step):
    """In the middle of an epoch and at the end of one: the same reference, losses and numbers as in one go."""
    same = samples(8) * 8  # so that all batches of an epoch hold the same rows
    whole, half, rest = (CollapseMonitor(num_samples=8) for _ in range(3))
    fit(tmp_path / "whole", [whole], model(), same, max_epochs=7)
    with pytest.raises(Kill.Killed):
        fit(tmp_path / "half", [half, Kill(step, tmp_path / "half.ckpt")], model(), same, max_epochs=7)
    assert torch.load(tmp_path / "half.ckpt", weights_only=True)["callbacks"]["CollapseMonitor"]["start"]
    fit(tmp_path / "rest", [rest], model(), same, max_epochs=7, ckpt=tmp_path / "half.ckpt")
    assert rest.state_dict() == whole.state_dict()
    assert logged(tmp_path / "rest") == [row for row in logged(tmp_path / "whole") if row[0] >= step]


def test_a_monitor_used_again_starts_afresh(tmp_path):
    monitor = CollapseMonitor()
    fit(tmp_path / "first", [monitor], model("values"), max_epochs=1)
    fit(tmp_path / "second", [monitor], model("teacher"), max_epochs=1)
    assert [step for step, _ in logged(tmp_path / "second")] == [0, 7]


@pytest.mark.parametrize("name", ["num_samples", "every_n_epochs", "every_n_steps", "window"])
def test_counts_are_checked(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, but is 0"):
        CollapseMonitor(**{name: 0})


# The online probe


def test_online_accuracies_are_those_of_scikit_learn(tmp_path):
    rows = samples(120)
    made = model("values", dropout=0.5)
    trainer = fit(tmp_path, [OnlineProbe()], made, data=Data(rows[:80], (rows[:80], rows[80:])), max_epochs=2)
    seen = trainer.callback_metrics
    assert [step for step, _ in logged(tmp_path, "probe/")] == [9, 19]
    assert {"probe/knn", "probe/linear"} <= trainer.progress_bar_metrics.keys()

    made.eval()
    with torch.no_grad():
        codes = made.encoder(Tokens(torch.stack([row["x"] for row in rows]), Sequence())).values.mean(1).numpy()
    labels = np.array([row["label"] for row in rows])
    codes = (codes - codes[:80].mean(0)) / math.sqrt(codes[:80].var(0).mean())
    linear = LogisticRegression(max_iter=1000).fit(codes[:80], labels[:80]).score(codes[80:], labels[80:])
    assert float(seen["probe/linear"]) == pytest.approx(linear, abs=0.03)
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    cosine = unit[80:] @ unit[:80].T
    votes = []
    for row in cosine:  # DINO's rule, by hand
        nearest = row.argsort()[-20:]
        weights = np.exp(row[nearest] / 0.07)
        votes.append(int(weights[labels[nearest] == 1].sum() > weights[labels[nearest] == 0].sum()))
    assert float(seen["probe/knn"]) == pytest.approx(np.mean(np.array(votes) == labels[80:]))
    assert linear > 0.8


def test_probes_each_n_epochs_and_at_the_end(tmp_path):
    fit(tmp_path, [OnlineProbe(every_n_epochs=2, probes=("knn",), num_train=20)], max_epochs=5)
    rows = logged(tmp_path, "probe/")
    assert [step for step, _ in rows] == [15, 31, 39]
    assert all(numbers.keys() == {"probe/knn"} for _, numbers in rows)


def test_data_without_labels_is_told_once(tmp_path, caught):
    fit(tmp_path, [OnlineProbe()], rows=samples(label=False))
    (told,) = said(caught)
    assert told == "`OnlineProbe` is switched off: the data has no labels."
    assert logged(tmp_path, "probe/") == []


def test_labels_that_are_no_classes_are_told(tmp_path, caught):
    rows = [row | {"label": float(i)} for i, row in enumerate(samples())]
    fit(tmp_path, [OnlineProbe()], rows=rows)
    (told,) = said(caught)
    assert "one class id per sample or token" in told


def test_labels_per_token_of_padded_rows(tmp_path, caught):
    rows = [row | {"label": (row["x"].mean(-1) > 0).long()} for row in samples(ragged=True)]
    fit(tmp_path, [OnlineProbe()], model("teacher"), rows, max_epochs=2)
    assert said(caught) == []
    assert logged(tmp_path, "probe/")[-1][1]["probe/linear"] > 0.8


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"every_n_epochs": 0}, "`every_n_epochs` must be at least 1, but is 0"),
        ({"num_train": 1}, "`num_train` must be at least 2, but is 1"),
        ({"probes": ("lineal",)}, "nearest: `linear`"),
        ({"probes": ()}, "`probes` must be some of"),
    ],
)
def test_arguments_of_the_probe_are_checked(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        OnlineProbe(**options)


def test_other_models_and_data_are_refused(tmp_path):
    for monitor in (CollapseMonitor(), OnlineProbe()):
        with pytest.raises(ValueError, match="needs a MaskedModel, but the model is a LightningModule"):
            monitor.setup(L.Trainer(logger=False), L.LightningModule(), "fit")
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[OnlineProbe()],
                        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    with pytest.raises(ValueError, match="needs a MaskedDataModule with probe sets, but the data is loaders"):
        trainer.fit(model(), DataLoader(samples(), batch_size=8))
