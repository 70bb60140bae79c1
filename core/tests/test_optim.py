"""Optimisation: groups, layer-wise decay and the learning rate by hand, then inside a real trainer."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from unmask.losses import MSELoss
from unmask.masks.random import RandomMask
from unmask.model import MaskedModel
from unmask.optim import Optimization, keeps_its_options, parameter_groups
from unmask.parts import Corruption, Encoder, Tokenizer
from unmask.predictors import LinearPredictor
from unmask.schedules import Linear
from unmask.structures import Latent, Mask, Sequence, Tokens
from unmask.targets import EMATeacher


class Vectors(Tokenizer):
    def forward(self, batch: Any) -> Tokens:
        return Tokens(batch, Sequence())


class Tiny(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.width = 8
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.layer = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        values = tokens.values
        if mask is not None:
            values = torch.where(mask.hidden[..., None], self.mask_token, values)
        return Latent(self.norm(self.layer(values)))


def tiny_model(optim: Optimization, momentum: float | Linear = 0.5) -> MaskedModel:
    torch.manual_seed(0)
    return MaskedModel(
        tokenizer=Vectors(),
        mask=RandomMask(0.5),
        encoder=Tiny(),
        predictor=LinearPredictor(8, 8),
        target=EMATeacher(momentum),
        loss=MSELoss(),
        corruption=Corruption(token=1),
        optim=optim,
    )


class Watch(L.Callback):
    """Notes what is true when an optimiser step begins and after the batch that ended one."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.used: list[list[tuple[float, float]]] = []
        self.encoders: list[dict[str, Tensor]] = []
        self.teachers: list[dict[str, Tensor]] = []

    def on_before_optimizer_step(self, trainer, model, optimizer) -> None:
        self.used.append([(group["lr"], group["weight_decay"]) for group in optimizer.param_groups])

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx) -> None:
        self.logged.append({key: float(value) for key, value in trainer.callback_metrics.items()})
        self.encoders.append(copy.deepcopy(model.encoder.state_dict()))
        self.teachers.append(copy.deepcopy(model.target.teacher.state_dict()))


def fit(model: MaskedModel, watch: Watch, data: Any = None, **options: Any) -> L.Trainer:
    if data is None:
        data = DataLoader(torch.randn(24, 6, 4), batch_size=4, collate_fn=default_collate)  # 6 batches
    options = {"max_epochs": 2} | options
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
        **options,
    )
    trainer.fit(model, data)
    return trainer


class FakeTrunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.patch_embed = nn.ModuleDict({"proj": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})
        self.token_embed = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList(nn.ModuleDict({"norm1": nn.LayerNorm(4), "fc": nn.Linear(4, 4)}) for _ in range(3))
        self.norm = nn.LayerNorm(4)


class FakeModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"vit": FakeTrunk()})
        self.head = nn.Linear(4, 4)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def settings(model: nn.Module, layer_decay: float = 1.0) -> dict[str, tuple[float, float]]:
    """(lr, weight decay) of every parameter by name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in parameter_groups(model, 1.0, 0.1, layer_decay):
        assert group["decays"] == (group["weight_decay"] > 0)
        for parameter in group["params"]:
            assert names[parameter] not in found
            found[names[parameter]] = (group["lr"], group["weight_decay"])
    return found


def test_weights_decay_and_norms_biases_positions_and_tokens_do_not() -> None:
    model = FakeModel()
    decaying = {name for name, (_, decay) in settings(model).items() if decay}
    assert decaying == {
        "encoder.vit.patch_embed.proj.weight",
        "encoder.vit.token_embed.weight",
        "encoder.vit.blocks.0.fc.weight",
        "encoder.vit.blocks.1.fc.weight",
        "encoder.vit.blocks.2.fc.weight",
        "head.weight",
    }
    everything = {name for name, _ in model.named_parameters() if not name.startswith("frozen")}
    assert settings(model).keys() == everything
    assert len(parameter_groups(model, 1.0, 0.1)) == 2


@pytest.mark.parametrize(
    ("name", "decays"),
    [
        ("register_tokens", False),
        ("dist_token", False),
        ("position_embeddings", False),
        ("relative_position_bias_table", False),
        ("logit_scale", False),
        ("tokens", True),
        ("unmask_tokenizer", True),
        ("composition", True),
    ],
)
def test_names_that_do_not_decay(name: str, decays: bool) -> None:
    model = nn.Module()
    model.register_parameter(name, nn.Parameter(torch.zeros(2, 2)))
    assert bool(settings(model)[name][1]) == decays


def test_layer_decay_by_hand() -> None:
    rates = {name: lr for name, (lr, _) in settings(FakeModel(), layer_decay=0.5).items()}
    vit = "encoder.vit."
    expected = {"head.weight": 1, "mask_token": 1, vit + "norm.weight": 1}
    expected |= {vit + "blocks.2.fc.weight": 1 / 2, vit + "blocks.2.norm1.bias": 1 / 2}
    expected |= {vit + "blocks.1.fc.bias": 1 / 4, vit + "blocks.0.fc.weight": 1 / 8}
    expected |= {vit + name: 1 / 16 for name in ("cls_token", "pos_embed", "patch_embed.proj.weight")}
    expected |= {vit + name: 1 / 16 for name in ("patch_embed.norm.weight", "token_embed.weight")}
    assert {name: rates[name] for name in expected} == expected


def test_factor_by_hand() -> None:
    factor = Optimization(base_lr=1e-3).factor
    assert [factor(step, 4, 12) for step in (0, 1, 4)] == [0, 0.25, 1]
    assert factor(6, 4, 12) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factor(8, 4, 12) == pytest.approx(0.5)
    assert factor(12, 4, 12) == pytest.approx(0, abs=1e-12)
    assert factor(99, 4, 12) == pytest.approx(0, abs=1e-12)
    assert factor(0, 0, 12) == 1


def test_factor_ends_at_min_lr() -> None:
    factor = Optimization(base_lr=1e-3, min_lr=1e-4).factor
    assert factor(8, 4, 12) == pytest.approx(0.1 + 0.9 / 2)
    assert factor(12, 4, 12) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_lr": 0}, "`base_lr` must be above 0, but is 0"),
        ({"base_lr": 1e-3, "min_lr": 1e-2}, r"`min_lr` must be in \[0, base_lr = 0.001\], but is 0.01"),
        ({"weight_decay": -0.1}, "`weight_decay` must be at least 0, but is -0.1"),
        ({"warmup_epochs": -1}, "Warm-up must be at least 0, but is -1"),
        ({"warmup_steps": -2}, "Warm-up must be at least 0, but is -2"),
        ({"layer_decay": 1.2}, r"`layer_decay` must be in \(0, 1\], but is 1.2"),
    ],
)
def test_errors(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Optimization(**arguments)


def test_the_learning_rate_of_a_run_is_the_formula() -> None:
    watch = Watch()
    fit(
        tiny_model(Optimization(base_lr=0.32, min_lr=0.032, warmup_epochs=1)),
        watch,
        accumulate_grad_batches=2,
    )
    top = 0.32 * 4 * 2 / 256  # batches of 4, two at a time: 3 steps an epoch, 6 in all
    factors = [0, 1 / 3, 2 / 3, 1, *(0.1 + 0.9 * (1 + math.cos(math.pi * k / 3)) / 2 for k in (1, 2))]
    assert [lr for ((lr, _), *_) in watch.used] == pytest.approx([top * factor for factor in factors])
    assert [row["train/lr"] for row in watch.logged[1::2]] == pytest.approx([top * f for f in factors])


def test_the_last_batch_of_an_epoch_may_end_a_step_early() -> None:
    watch = Watch()
    data = DataLoader(torch.randn(20, 6, 4), batch_size=4)  # 5 batches, two at a time: 3 steps
    fit(tiny_model(Optimization(base_lr=1, scale_lr=False, warmup_epochs=2)), watch, data,
        max_epochs=3, accumulate_grad_batches=2)  # fmt: skip
    rates = [lr for ((lr, _), *_) in watch.used]
    assert len(rates) == 9
    assert rates[:7] == pytest.approx([k / 6 for k in range(7)])


def test_an_unscaled_learning_rate_is_used_as_it_is() -> None:
    watch = Watch()
    fit(tiny_model(Optimization(base_lr=1e-3, scale_lr=False, warmup_steps=2)), watch)
    assert [lr for ((lr, _), *_) in watch.used][:3] == pytest.approx([0, 5e-4, 1e-3])


def test_the_weight_decay_schedule_moves_decaying_groups_only() -> None:
    watch = Watch()
    fit(tiny_model(Optimization(weight_decay=Linear(0.0, 0.4))), watch, accumulate_grad_batches=2)
    decays = sorted(zip(*[[decay for _, decay in groups] for groups in watch.used], strict=True))
    assert len(decays) == 2
    assert decays[0] == (0.0,) * 6
    assert decays[1] == pytest.approx([0.4 * k / 6 for k in range(6)])


def test_the_teacher_moves_once_per_optimiser_step() -> None:
    model, watch = tiny_model(Optimization(base_lr=1.0), Linear(0.4, 1.0)), Watch()
    start = copy.deepcopy(model.target.teacher.state_dict())
    fit(model, watch, accumulate_grad_batches=2)
    previous = start
    for batch, (encoder, teacher) in enumerate(zip(watch.encoders, watch.teachers, strict=True)):
        step, ended = divmod(batch, 2)
        for name, value in teacher.items():
            if not ended:
                assert torch.equal(value, previous[name])
                continue
            momentum = 0.4 + 0.6 * step / 6
            expected = momentum * previous[name] + (1 - momentum) * encoder[name]
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
        if ended:
            assert watch.logged[batch]["train/momentum"] == pytest.approx(0.4 + 0.6 * step / 6)
        previous = teacher
    assert not torch.equal(previous["layer.weight"], start["layer.weight"])


def test_a_run_counted_in_steps_alone_knows_the_length_of_its_data() -> None:
    watch = Watch()
    fit(tiny_model(Optimization(base_lr=0.32, warmup_epochs=1)), watch, max_steps=12, max_epochs=None)
    assert [lr for ((lr, _), *_) in watch.used] == pytest.approx(
        [0.005 * min(k / 6, (1 + math.cos(math.pi * (k - 6) / 6)) / 2 if k > 6 else 1) for k in range(12)]
    )


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield torch.randn(6, 4)


def test_data_of_unknown_length_need_a_number_of_steps() -> None:
    data = DataLoader(Stream(), batch_size=4)
    with pytest.raises(ValueError, match=r"`trainer.max_steps` must be set"):
        fit(tiny_model(Optimization()), Watch(), data)
    with pytest.raises(ValueError, match=r"`optim.warmup_steps` must be given"):
        fit(tiny_model(Optimization(warmup_epochs=1)), Watch(), data, max_steps=3, max_epochs=-1)
    watch = Watch()
    model = tiny_model(Optimization(base_lr=1e-2, scale_lr=False, warmup_steps=1))
    fit(model, watch, data, max_steps=3, max_epochs=-1)
    assert [lr for ((lr, _), *_) in watch.used] == pytest.approx([0, 1e-2, 5e-3])


def test_without_a_batch_size_the_rate_cannot_be_scaled() -> None:
    rows = torch.randn(8, 6, 4)
    data = DataLoader(rows, batch_sampler=[[0, 1], [2, 3]])
    with pytest.raises(ValueError, match=r"`optim.scale_lr` must be False"):
        fit(tiny_model(Optimization()), Watch(), data)


def test_a_warm_up_longer_than_the_run_is_shortened_and_said(capsys):
    optim = Optimization(warmup_steps=10_000)
    assert optim.warmup_within(100, 10_000) == 10
    assert "must be below 100" in capsys.readouterr().out
    assert optim.warmup_within(10_001, 10_000) == 10_000
    assert optim.warmup_within(5, 0) == 0
    assert not capsys.readouterr().out


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_fused_step_equals_the_plain_one_and_may_be_clipped(precision, monkeypatch):
    """One kernel for all parameters: the same numbers but for rounding."""
    ends = []
    for kinds in (("cpu",), ()):
        monkeypatch.setattr("unmask.optim.FUSED", kinds)
        model = tiny_model(Optimization(base_lr=0.1, scale_lr=False))
        data = DataLoader(torch.randn(16, 6, 4, generator=torch.Generator().manual_seed(0)), batch_size=4)
        trainer = L.Trainer(
            max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, gradient_clip_val=0.5, precision=precision,
        )  # fmt: skip
        L.seed_everything(0)
        trainer.fit(model, data)
        assert bool(trainer.optimizers[0].param_groups[0]["fused"]) == bool(kinds)
        ends.append(torch.cat([p.detach().flatten() for p in model.encoder.parameters()]))
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("odd", [3, None, torch.ones(5), torch.ones(2, 3, dtype=torch.long), torch.tensor(1.0)])
@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq", "step"])
def test_moments_of_another_kind_are_refused_by_name(name, odd):
    if name == "step" and isinstance(odd, torch.Tensor) and odd.ndim == 0:
        return  # that is what a step looks like
    weight = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.AdamW([weight])
    keeps_its_options(optimizer)
    weight.sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["state"][0][name] = odd
    with pytest.raises(ValueError, match=f"its optimiser's `{name}` is "):
        optimizer.load_state_dict(state)
