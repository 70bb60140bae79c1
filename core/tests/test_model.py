"""The step inside a real trainer: what its random numbers depend on, learning, and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unmask.losses import MSELoss
from unmask.masks.random import RandomMask
from unmask.model import MaskedModel, Step
from unmask.optim import Optimization
from unmask.parts import Corruption, Encoder, Tokenizer
from unmask.predictors import LinearPredictor, TransformerPredictor
from unmask.schedules import Linear
from unmask.structures import Latent, Mask, Sequence, Tokens
from unmask.targets import EMATeacher, ValueTarget


class Vectors(Tokenizer):
    def forward(self, batch: Any) -> Tokens:
        return Tokens(batch["values"], Sequence())


class Mixer(Encoder):
    """Mixes the places it sees through their mean; hidden ones are dropped or replaced."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = 16
        self.mask_token = nn.Parameter(torch.zeros(4))
        self.enter = nn.Linear(4, 16)
        self.mlp = nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Dropout(dropout), nn.Linear(32, 16))

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        values, seen = tokens.values, None
        if mask is not None and mask.seen is not None:
            values, seen = mask.seen.gather(values), mask.seen
        elif mask is not None:
            values = torch.where(mask.hidden[..., None], self.mask_token, values)
        codes = self.enter(values)  # [B, K, D]
        mean = codes.mean(1, keepdim=True).expand_as(codes)
        return Latent(self.mlp(torch.cat([codes, mean], dim=-1)), seen)


class Recorder(MaskedModel):
    """Keeps the masks and losses of each stage."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.kept: dict[str, list[tuple[int, Tensor, float]]] = {"train": [], "validate": [], "test": []}

    def step(self, batch: Any, generator: torch.Generator | None = None) -> Step:
        step = super().step(batch, generator)
        stage = "train" if self.training else "test" if self.trainer.testing else "validate"
        self.kept[stage].append((self.current_epoch, step.mask.hidden, step.loss.total.item()))
        return step

    def masks(self, stage: str = "train") -> list[list[list[bool]]]:
        return [hidden.tolist() for _, hidden, _ in self.kept[stage]]


def toy_rows(num_rows: int = 32) -> Tensor:
    """All 6 places of a row are the same vector: what is hidden can be told from what is not."""
    return torch.randn(num_rows, 1, 4, generator=torch.Generator().manual_seed(9)).repeat(1, 6, 1)


def make(dropout: float = 0.0, teacher: bool = False, replaced: bool = True, **optim: Any) -> Recorder:
    torch.manual_seed(0)
    target_width = 16 if teacher else 4
    return Recorder(
        tokenizer=Vectors(),
        mask=RandomMask(0.5),
        encoder=Mixer(dropout),
        predictor=LinearPredictor(16, target_width)
        if replaced
        else TransformerPredictor(16, target_width, width=16, depth=1, num_heads=2),
        target=EMATeacher(Linear(0.5, 1.0)) if teacher else ValueTarget(),
        loss=MSELoss(),
        corruption=Corruption(token=1) if replaced else Corruption(drop=1),
        optim=Optimization(base_lr=1e-2, scale_lr=False, **optim),
    )


def loader(rows: Tensor, batch_size: int = 8) -> DataLoader:
    return DataLoader([{"values": row} for row in rows], batch_size=batch_size)  # type: ignore[arg-type]


def trainer(**options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    defaults = {"enable_model_summary": False, "max_epochs": 2, "num_sanity_val_steps": 1}
    return L.Trainer(accelerator="cpu", devices=1, **(quiet | defaults | options))


def fit(model: MaskedModel, seed: int, rows: Tensor | None = None, ckpt: str | None = None, **options: Any):
    torch.manual_seed(seed)
    rows = toy_rows() if rows is None else rows
    run = trainer(**options)
    run.fit(model, loader(rows), loader(toy_rows(16)), ckpt_path=ckpt)
    return run


@pytest.mark.parametrize("replaced", [True, False])
def test_a_learnable_problem_is_learnt(replaced: bool) -> None:
    model = make(replaced=replaced, weight_decay=0.0)
    run = fit(model, seed=1, max_epochs=40)
    validated = [loss for _, _, loss in model.kept["validate"]]
    assert validated[-1] < 0.2 * validated[0]
    assert run.callback_metrics["train/loss"] < 0.2 * model.kept["train"][0][2]
    assert run.callback_metrics["val/loss"] == pytest.approx(sum(validated[-2:]) / 2, rel=1e-5)


def test_training_masks_depend_on_seed_epoch_and_batch_alone() -> None:
    first, again, other = make(), make(dropout=0.5), make()
    fit(first, seed=1)
    fit(again, seed=1, rows=torch.randn(32, 6, 4), limit_val_batches=0)
    fit(other, seed=2)
    assert first.masks() == again.masks()
    assert first.masks() != other.masks()
    assert len({str(mask) for mask in first.masks()}) == 8, "every batch of every epoch has masks of its own"


def test_validation_and_test_masks_are_those_of_every_run() -> None:
    first, other = make(), make()
    fit(first, seed=1)
    fit(other, seed=2)
    assert first.masks("validate") == other.masks("validate")
    sanity, epochs = first.masks("validate")[0], first.masks("validate")[1:]
    assert sanity == epochs[0] == epochs[2]
    assert epochs[:2] == epochs[2:]
    assert epochs[0] != epochs[1]
    trainer().test(first, loader(toy_rows(16)), verbose=False)
    trainer().test(other, loader(toy_rows(16)), verbose=False)
    assert first.masks("test") == other.masks("test")


def test_half_of_the_places_is_hidden_and_the_step_hands_all_of_it_on() -> None:
    made = make().step({"values": toy_rows(4)}, 0)
    assert made.mask.hidden.sum(1).tolist() == [3] * 4
    assert made.prediction.values.shape == made.target.shape == (4, 3, 4)
    assert not made.target.requires_grad
    expected = (made.prediction.values - made.target).square().mean()
    torch.testing.assert_close(made.loss.total, expected)


def test_predict_gives_one_vector_per_sample() -> None:
    model = make()
    out = trainer().predict(model, loader(toy_rows(16)))
    assert out is not None
    expected = model.encoder(Tokens(toy_rows(16)[8:], Sequence())).values.mean(1)
    torch.testing.assert_close(out[1], expected)


def test_models_do_not_share_the_parts_given_as_defaults() -> None:
    target, mask, loss = EMATeacher(), RandomMask(0.5), MSELoss()

    class Method(MaskedModel):
        def __init__(self, encoder: Encoder, target: EMATeacher = target, mask: RandomMask = mask) -> None:
            super().__init__(
                tokenizer=Vectors(),
                mask=mask,
                encoder=encoder,
                predictor=LinearPredictor(16, 16),
                target=target,
                loss=loss,
            )

    first, second = Method(Mixer()), Method(Mixer())
    assert first.target is not second.target
    assert first.target.teacher is not second.target.teacher
    assert first.mask is not second.mask
    assert first.loss is not second.loss
    assert not hasattr(target, "teacher"), "the default itself stays untouched"
    for model in (first, second):
        for mine, theirs in zip(model.encoder.parameters(), model.target.teacher.parameters(), strict=True):
            assert torch.equal(mine, theirs)
            assert mine.data_ptr() != theirs.data_ptr()


def test_without_a_trainer_progress_is_zero() -> None:
    progress = make().progress
    assert (progress.step, progress.epoch, progress.total_steps, progress.total_epochs) == (0, 0, 0, 0)


def test_scheduled_ratios_move_in_training_and_stay_in_validation() -> None:
    model = make()
    model.mask = RandomMask(Linear(0.2, 0.8, by="epoch", over=2))
    fit(model, seed=1, max_epochs=3)
    counts = [int(hidden.sum(1)[0]) for _, hidden, _ in model.kept["train"]]
    assert counts == [2] * 4 + [3] * 4 + [5] * 4  # 6 - floor(6 (1 - ratio)), ratio 0.2, 0.5, 0.8
    assert {int(hidden.sum(1)[0]) for _, hidden, _ in model.kept["validate"]} == {2}


class Kill(L.Callback):
    """Saves after optimiser step ``step``, then stops the run the hard way."""

    class Killed(Exception):  # noqa: N818
        pass

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise self.Killed


def killed_at(step: int, path: Path, seed: int, rows: Tensor, **parts: Any) -> Recorder:
    model = make(**parts)
    with pytest.raises(Kill.Killed):
        fit(model, seed, rows, callbacks=[Kill(step, path)], max_epochs=3)
    return model


# All four batches of an epoch hold the same rows, so the order that a plain loader restarts in is no matter.
SAME_BATCHES = toy_rows(8).repeat(4, 1, 1)


@pytest.mark.parametrize("step", [4, 6])
@pytest.mark.parametrize(("teacher", "replaced"), [(False, True), (True, True), (True, False)])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, step: int, teacher: bool, replaced: bool) -> None:
    """At the end of an epoch (4 steps) and in the middle of one, with dropout in the encoder."""
    parts: dict[str, Any] = {"dropout": 0.3, "teacher": teacher, "replaced": replaced, "warmup_steps": 2}
    parts["weight_decay"] = Linear(0.0, 0.3)
    whole = make(**parts)
    fit(whole, 5, SAME_BATCHES, max_epochs=3)

    half = killed_at(step, tmp_path / "half.ckpt", 5, SAME_BATCHES, **parts)
    rest = make(**parts)
    fit(rest, 77, SAME_BATCHES, ckpt=str(tmp_path / "half.ckpt"), max_epochs=3)

    assert half.masks() + rest.masks() == whole.masks()
    assert [k[2] for k in half.kept["train"] + rest.kept["train"]] == [k[2] for k in whole.kept["train"]]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_dropout_matters_to_that_comparison() -> None:
    with_dropout, without = make(dropout=0.3), make()
    fit(with_dropout, 5, SAME_BATCHES, max_epochs=1)
    fit(without, 5, SAME_BATCHES, max_epochs=1)
    assert with_dropout.masks() == without.masks()
    assert with_dropout.kept["train"][0][2] != without.kept["train"][0][2]


def test_the_checkpoint_is_plain_and_brings_its_seed_back(tmp_path: Path) -> None:
    path = tmp_path / "half.ckpt"
    killed_at(4, path, 5, SAME_BATCHES, teacher=True)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["seed"] == 5
    assert any(name.startswith("target.teacher.") for name in checkpoint["state_dict"])
    rest = make(teacher=True)
    fit(rest, 77, SAME_BATCHES, ckpt=str(path), max_epochs=3)
    assert rest.seed == 5
