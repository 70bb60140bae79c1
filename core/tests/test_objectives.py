"""Objectives: where each asks, what it may know, what it weighs, and under which name it is logged."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unmask.draws import Draws
from unmask.losses import L1Loss, MSELoss
from unmask.masks import MultiBlockMask, RandomMask
from unmask.model import MaskedModel
from unmask.objectives import Objective, asking
from unmask.optim import Optimization
from unmask.parts import Corruption, Encoder, Predictor, Target, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.schedules import Linear, Progress
from unmask.step import Given, Step
from unmask.structures import Grid, Latent, Mask, Prediction, Sequence, Tokens
from unmask.targets import ValueTarget
from unmask.terms import Uniformity

LENGTHS = [8, 5, 2]
HIDDEN = torch.tensor([[1, 0, 1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]]).bool()
VALID = torch.arange(8) < torch.tensor(LENGTHS)[:, None]


class Rows(Tokenizer):
    """Rows of numbers: dense, padded or packed."""

    def __init__(self, form: str = "dense") -> None:
        super().__init__()
        self.form = form

    def forward(self, batch: Any) -> Tokens:
        x = batch["x"]
        if self.form == "dense":
            return Tokens(x, Sequence())
        valid = VALID[: len(x)]
        if self.form == "padded":
            return Tokens(x, Sequence(), valid=valid)
        return Tokens(x[valid], Sequence(), offsets=nn.functional.pad(valid.sum(1).cumsum(0), (1, 0)))


class Codes(Encoder):
    """A code of every place, and a stem's features, which know of hidden values."""

    width, num_layers = 6, 1

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(4))
        self.layer = nn.Linear(4, 6)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        values = tokens.values
        if mask is not None:
            values = torch.where(mask.hidden[..., None], self.token, values)
        return Latent(self.layer(values), features=tokens.values)


class Spy(Predictor):
    """A linear answer that keeps what it was given."""

    def __init__(self, target_width: int = 4) -> None:
        super().__init__()
        self.head = nn.Linear(6, target_width)
        self.given: list[tuple[Latent, Tokens, Mask]] = []

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        self.given.append((latent, places, mask))
        return Prediction(self.head(mask.asked.gather(latent.values)), mask.asked)


class Double(Target):
    """Twice the values."""

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return 2 * mask.asked.gather(tokens.values)


def model(form: str = "dense", objectives: dict[str, Objective] | None = None, **parts: Any) -> MaskedModel:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "tokenizer": Rows(form), "mask": RandomMask(0.5), "encoder": Codes(), "predictor": LinearPredictor(6, 4),
        "target": ValueTarget(), "loss": MSELoss(), "corruption": Corruption(token=1),
        "optim": Optimization(base_lr=1e-2, scale_lr=False),
    }  # fmt: skip
    return MaskedModel(**(given | parts), objectives=objectives)


def batch(num: int = 3) -> dict[str, Tensor]:
    return {"x": torch.randn(num, 8, 4, generator=torch.Generator().manual_seed(5))}


def chosen(mask: Mask) -> Tensor:
    """Where a mask asks, as booleans read off its indices."""
    asked = torch.zeros_like(mask.hidden, dtype=torch.long)
    index, valid = mask.asked.index, mask.asked.valid
    source = torch.ones_like(index) if valid is None else valid.long()
    return asked.scatter_add(-1, index, source).bool()


@pytest.mark.parametrize("form", ["dense", "padded", "packed"])
@pytest.mark.parametrize("ask", ["hidden", "visible", "all"])
def test_an_objective_asks_at_exactly_its_places(form: str, ask: str) -> None:
    made = model(form, {"more": Objective(ask)})
    step = made.step(batch(), 3)
    hidden, mask = step.mask.hidden, step.objectives["more"].mask
    real = torch.ones_like(hidden) if step.tokens.valid is None else step.tokens.valid
    expected = {"hidden": hidden, "visible": ~hidden & real, "all": real}[ask]
    assert torch.equal(chosen(mask), expected)
    assert torch.equal(chosen(step.mask), hidden), "the model's own asks where it did"
    counts = expected.sum(-1)
    assert mask.num_predict is None or (counts == mask.num_predict).all()

    # Answers, targets and the loss are of these places in their order.
    answer, places = step.objectives["more"], mask.asked
    values = made.predictor.head(step.latent.values)
    torch.testing.assert_close(answer.prediction.values, places.gather(values))
    assert torch.equal(answer.target, places.gather(step.tokens.values))
    errors = (values - step.tokens.values).square().mean(-1)[expected]
    torch.testing.assert_close(answer.loss.total, errors.mean())
    torch.testing.assert_close(step.terms["more"], errors.mean())


@pytest.mark.parametrize("valid", [None, VALID])
def test_one_answer_per_sample_is_asked_at_its_first_place(valid: Tensor | None) -> None:
    mask = asking(Mask(HIDDEN, valid=valid), "sample")
    assert mask.asked.index.tolist() == [[0], [0], [0]]
    assert mask.asked.valid is None
    later = torch.arange(8) >= torch.tensor([[3], [0], [7]])
    assert asking(Mask(HIDDEN & later, valid=later), "sample").asked.index.tolist() == [[3], [0], [7]]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99])
def test_a_share_of_the_hidden_places_is_drawn_anew_for_each_sample(share: float, known: bool) -> None:
    hidden = torch.stack([torch.randperm(20, generator=torch.Generator().manual_seed(i)) < 10 for i in range(600)])
    mask = Mask(hidden, num_hidden=10 if known else None, draws=Draws.of(1, torch.arange(600)))
    found = asking(mask, share, "some")
    count = max(round(10 * share), 1)
    asked = chosen(found)
    assert not (asked & ~hidden).any()
    assert set(asked.sum(1).tolist()) == {count}
    assert found.num_predict == (count if known else None)
    assert torch.equal(chosen(asking(mask, share, "some")), asked)
    other = chosen(asking(mask, share, "other"))
    if count < 10:
        assert not torch.equal(other, asked), "an objective of another name asks elsewhere"
    # Each hidden place is as likely: by its rank among the sample's hidden ones.
    rank = asked[hidden].view(600, 10).sum(0).double()
    expected = 600 * count / 10
    if count < 10:
        spread = expected * (1 - count / 10)
        assert ((rank - expected) ** 2 / spread).sum() * 9 / 10 < 27.9  # 1 in 1,000 with 9 degrees of freedom
    part = replace(mask, hidden=hidden[100:110], draws=Draws.of(1, torch.arange(100, 110)))
    assert torch.equal(chosen(asking(part, share, "some")), asked[100:110]), "whatever else is in the batch"


def test_shares_of_padded_samples_are_of_their_own_places() -> None:
    mask = Mask(HIDDEN, valid=VALID, draws=Draws.of(0, torch.arange(3)))
    asked = chosen(asking(mask, 0.5, "some"))
    assert asked.sum(1).tolist() == [2, 1, 1]
    assert not (asked & ~HIDDEN).any()


def test_groups_of_asked_places_give_way() -> None:
    tokens = Tokens(torch.zeros(4, 36, 1), Grid((6, 6)))
    mask = MultiBlockMask()(tokens, None, Draws.of(0, torch.arange(4)))
    assert mask.predict is not None and mask.predict.ndim == 3
    assert asking(mask, "hidden") is mask
    for ask, expected in {"visible": ~mask.hidden, "all": torch.ones_like(mask.hidden)}.items():
        assert torch.equal(chosen(asking(mask, ask)), expected)


def test_what_packed_tokens_cannot_be_asked_is_refused() -> None:
    packed = Mask(HIDDEN[VALID])
    with pytest.raises(ValueError, match="`ask` must not be 'sample' for packed tokens"):
        asking(packed, "sample")
    with pytest.raises(
        ValueError, match=r"`ask` must be one of hidden, first, visible, all.* for packed tokens, but is 0.5"
    ):
        asking(packed, 0.5)


def test_a_joint_mask_is_asked_in_each_part() -> None:
    joint = Mask.join({"a": Mask(HIDDEN), "b": Mask(~HIDDEN)})
    found = asking(joint, "visible")
    assert torch.equal(chosen(found.part("a")), ~HIDDEN)
    assert torch.equal(chosen(found.part("b")), HIDDEN)


def test_one_part_alone_is_asked() -> None:
    joint = Mask.join({"a": Mask(HIDDEN), "b": Mask(~HIDDEN)})
    found = asking(joint, "visible", only="b")
    assert [found.part(name).asks for name in "ab"] == [False, True]
    assert torch.equal(chosen(found.part("b")), HIDDEN)
    assert not chosen(found.part("a")).any()
    with pytest.raises(ValueError, match="`part` must be one of the tokens' parts, a, b, but is 'c'"):
        asking(joint, "visible", only="c")


def test_the_first_hidden_place_of_each_sample() -> None:
    first = [[0], [1], [1]]
    assert asking(Mask(HIDDEN), "first").asked.index.tolist() == first
    padded = asking(Mask(HIDDEN, valid=VALID), "first")
    assert padded.asked.index.tolist() == first and padded.num_predict == 1
    assert not asking(Mask(torch.zeros(2, 3, dtype=torch.bool), num_hidden=0), "first").asks
    with pytest.raises(ValueError, match="`ask` must not be 'first' for packed tokens"):
        asking(Mask(HIDDEN[0]), "first")


def test_without_a_weight_the_loss_is_bit_equal() -> None:
    more = {"off": Objective("visible", weight=0.0), "own": Objective("all", Spy(), Double(), L1Loss(), weight=0.0)}
    plain, watched = model(), model(objectives=more)
    first, second = plain.step(batch(), 3), watched.step(batch(), 3)
    assert torch.equal(first.loss.total, second.loss.total)
    assert torch.equal(first.loss.per_token, second.loss.per_token)
    assert second.terms["off"] > 0 and second.terms["own"] > 0
    first.loss.total.backward()
    second.loss.total.backward()
    for (name, one), (_, other) in zip(
        plain.encoder.named_parameters(), watched.encoder.named_parameters(), strict=True
    ):
        assert torch.equal(one.grad, other.grad), name


def test_the_total_is_the_weighted_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MaskedModel, "progress", Progress(step=3, total_steps=4))
    more = {
        "seen": Objective("visible", weight=0.5),
        "own": Objective("all", Spy(), Double(), L1Loss(), weight=Linear(start=1.0, end=0.0)),
    }
    made = model(objectives=more, terms={"even": Uniformity(weight=2.0)})
    step = made.step(batch(), 3)
    own = made.loss(step.prediction, step.target).total
    expected = own + 0.5 * step.terms["seen"] + 0.25 * step.terms["own"] + 2 * step.terms["even"]
    torch.testing.assert_close(step.loss.total, expected)
    assert [*step.terms] == ["seen", "own", "even"]
    assert not any(value.requires_grad for value in step.terms.values())
    step.loss.total.backward()
    assert made.objectives.own.predictor.head.weight.grad.abs().sum() > 0


def test_what_an_objective_lacks_is_the_models_own() -> None:
    made = model(objectives={"twice": Objective(target=Double()), "away": Objective(loss=L1Loss())})
    step = made.step(batch(), 3)
    twice, away = step.objectives["twice"], step.objectives["away"]
    for one in (twice, away):
        assert torch.equal(one.prediction.values, step.prediction.values)
    assert torch.equal(twice.target, 2 * step.target)
    assert torch.equal(away.target, step.target)
    torch.testing.assert_close(away.loss.total, (step.prediction.values - step.target).abs().mean())


@pytest.mark.parametrize("form", ["dense", "padded", "packed"])
def test_a_predictor_gets_codes_and_places_and_nothing_of_the_stem(form: str) -> None:
    made = model(form, {"own": Objective("all", Spy())}, predictor=Spy())
    step = made.step(batch(), 3)
    assert step.latent.features is not None, "the step keeps them, for terms"
    for spy in (made.predictor, made.objectives.own.predictor):
        ((latent, places, _),) = spy.given
        assert latent.features is None
        assert places.values is None
        assert latent.values is step.latent.values


def test_an_objective_of_its_own_parts_needs_none_of_the_models() -> None:
    made = model(
        objectives={"only": Objective("all", Spy(), Double(), MSELoss())},
        predictor=None, target=None, loss=None, terms={"even": Uniformity(weight=1.0)},
    )  # fmt: skip
    step = made.step(batch(), 3)
    assert step.prediction is None
    torch.testing.assert_close(step.loss.total, step.terms["only"] + step.terms["even"])


@pytest.mark.parametrize("name", ["loss", "lr", "keys", "two words", ""])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"An objective must have a name of its own, .* but one is '{name}'"):
        model(objectives={name: Objective()})


def test_a_term_and_an_objective_share_no_name() -> None:
    with pytest.raises(ValueError, match="must not have the same name, but both are 'same'"):
        model(objectives={"same": Objective()}, terms={"same": Uniformity()})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ask": "seen"}, "`ask` must be one of hidden, first, visible, all, sample or a share .* but is 'seen'"),
        ({"ask": 1.0}, r"`ask` must be in \(0, 1\), but is 1"),
        ({"ask": 0.0}, r"`ask` must be in \(0, 1\), but is 0"),
        ({"weight": -0.5}, "`weight` must be at least 0, but is -0.5"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(**options)


def test_models_share_no_objective() -> None:
    given = Objective("all", Spy())
    one, other = model(objectives={"own": given}), model(objectives={"own": given})
    assert one.objectives.own is not other.objectives.own
    assert one.objectives.own.predictor is not given.predictor
    assert "objectives.own.predictor.head.weight" in one.state_dict()


class Counted(Double):
    """Twice the values; counts the events of its life."""

    updates = 0

    def __init__(self) -> None:
        super().__init__()
        self.life: list[str] = []

    def start(self, model: Any) -> None:
        self.life.append("start")

    def begin(self, model: Any) -> None:
        self.life.append(f"begin at step {model.trainer.global_step} with {model.seed}")

    def observe(self, step: Step, model: Any) -> None:
        assert torch.is_tensor(step.objectives["own"].loss.total)
        self.life.append("observe")

    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        self.updates += 1
        self.life.append("update")
        return {"updates": float(self.updates)}


def test_a_fit_logs_each_under_its_name_and_trains_its_parts(tmp_path: Path) -> None:
    made = model(objectives={"seen": Objective("visible"), "own": Objective("all", Spy(), Counted(), weight=0.5)})
    before = made.objectives.own.predictor.head.weight.clone()
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, default_root_dir=tmp_path, log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        logger=L.pytorch.loggers.CSVLogger(tmp_path, name="", version=""),
    )  # fmt: skip
    rows = DataLoader([{"x": row} for row in batch(12)["x"]], batch_size=4)  # type: ignore[arg-type]
    torch.manual_seed(1)
    trainer.fit(made, rows, rows)
    numbers = trainer.callback_metrics
    for stage in ("train", "val"):
        assert {f"{stage}/loss", f"{stage}/seen", f"{stage}/own"} <= set(numbers)
    assert not torch.equal(made.objectives.own.predictor.head.weight, before)
    assert numbers["train/own_updates"] == 3
    assert made.objectives.own.target.life == ["start", "begin at step 0 with 1", *["observe", "update"] * 3]
    with (tmp_path / "metrics.csv").open() as file:
        logged = [float(row["train/seen"]) for row in csv.DictReader(file) if row.get("train/seen")]
    assert len(logged) == 3
