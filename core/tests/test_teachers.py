"""Teachers: which features, of what they are shown; and stages, at whose end the student becomes the teacher."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unmask import MaskedModel, Objective, Optimization, Progress
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.parts import Encoder, Tokenizer
from unmask.predictors import LinearPredictor, TransformerPredictor
from unmask.step import Given, Shown
from unmask.structures import Latent, Mask, Sequence, Tokens
from unmask.targets import EMATeacher, FrozenTeacher, StagedTeacher
from unmask.targets.staged_teacher import renew

HIDDEN = torch.tensor([[True, False, True, False, False], [False, True, False, False, True]])
MASK = Mask(HIDDEN, num_hidden=2)


class Stack(Encoder):
    """Each layer mixes the places it sees through their mean."""

    def __init__(self, depth: int = 3, width: int = 6) -> None:
        super().__init__()
        self.width, self.num_layers = width, depth
        self.enter = nn.Linear(4, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norm = nn.BatchNorm1d(width)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        seen = None if mask is None else mask.seen
        x = self.enter(tokens.values if seen is None else seen.gather(tokens.values))
        for block in self.blocks[: self.depth(layer)]:
            x = x + torch.tanh(block(x + x.mean(1, keepdim=True)))
        return Latent(x if layer is not None else self.norm(x.mT).mT, seen, x.mean(1, keepdim=True) * 2)


class Rows(Tokenizer):
    def __init__(self, scale: float = 1.0, places: int = 5) -> None:
        super().__init__()
        self.scale, self.places = scale, places

    def forward(self, batch: Any) -> Tokens:
        return Tokens(batch["x"][:, : self.places] * self.scale, Sequence())


class Model(NamedTuple):
    encoder: Encoder


@pytest.fixture
def encoder() -> Stack:
    torch.manual_seed(0)
    made = Stack().eval()
    with torch.no_grad():
        made.norm.running_mean.uniform_()
    return made


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1)), Sequence())


def at(layer: int | None, encoder: Stack, tokens: Tokens, places: Tensor = HIDDEN) -> Tensor:
    with torch.no_grad():
        return encoder(tokens, None, layer).values[places].view(2, -1, encoder.width)


def test_the_mean_of_the_top_layers_by_hand(encoder: Stack, tokens: Tokens) -> None:
    expected = F.layer_norm(
        (F.layer_norm(at(2, encoder, tokens), [6]) + F.layer_norm(at(3, encoder, tokens), [6])) / 2, [6]
    )
    torch.testing.assert_close(FrozenTeacher(encoder, top=2)(tokens, MASK), expected)
    ema = EMATeacher(top=2)
    ema.start(Model(encoder))
    torch.testing.assert_close(ema(tokens, MASK), expected)


def test_layers_stand_side_by_side_each_normed_by_itself(encoder: Stack, tokens: Tokens) -> None:
    found = FrozenTeacher(encoder, layer=[1, 3], normalize="length")(tokens, MASK)
    expected = torch.cat([F.normalize(at(n, encoder, tokens), dim=-1) for n in (1, 3)], -1)
    torch.testing.assert_close(found, expected)


def test_the_last_layer_is_normed_unless_it_is_named(encoder: Stack, tokens: Tokens) -> None:
    assert torch.equal(FrozenTeacher(encoder, normalize="none")(tokens, MASK), at(None, encoder, tokens))
    assert torch.equal(FrozenTeacher(encoder, layer=3, normalize="none")(tokens, MASK), at(3, encoder, tokens))


def test_each_code_over_its_own_deviation_by_hand(encoder: Stack, tokens: Tokens) -> None:
    codes = at(3, encoder, tokens)[0, 1]
    by_hand = (codes - codes.sum() / 6) / ((codes - codes.mean()).square().sum() / 5 + 1e-6).sqrt()
    torch.testing.assert_close(FrozenTeacher(encoder, 3, "deviation")(tokens, MASK)[0, 1], by_hand)


@pytest.mark.parametrize(("sees", "places"), [("visible", ~HIDDEN), ("hidden", HIDDEN)])
def test_a_teacher_may_see_a_part_alone(encoder: Stack, tokens: Tokens, sees: Any, places: Tensor) -> None:
    asked = Mask(HIDDEN, predict=places, num_hidden=2, num_predict=int(places[0].sum()))
    teacher = FrozenTeacher(encoder, 2, "none", sees=sees)
    seen = Tokens(tokens.values[places].view(2, -1, 4), Sequence())
    with torch.no_grad():
        expected = encoder(seen, None, 2).values
    torch.testing.assert_close(teacher(tokens, asked), expected)
    other = Mask(HIDDEN, predict=~places, num_hidden=2, num_predict=5 - int(places[0].sum()))
    with pytest.raises(ValueError, match=f"`ask` must be '{sees}' for a teacher that sees {sees} places alone"):
        teacher(tokens, other)


def test_a_teacher_may_cut_the_batch_for_itself(encoder: Stack) -> None:
    batch = {"x": torch.randn(2, 5, 4)}
    tokens = Rows()(batch)
    given = Given(batch, Shown(tokens, MASK))
    found = FrozenTeacher(encoder, tokenizer=Rows(scale=3.0))(tokens, MASK, given)
    scaled = Tokens(3 * tokens.values, Sequence())
    torch.testing.assert_close(found, F.layer_norm(at(None, encoder, scaled), [6]))
    with pytest.raises(ValueError, match="must give 5 tokens, as the student's does, but gives 4"):
        FrozenTeacher(encoder, tokenizer=Rows(places=4))(tokens, MASK, given)


def test_one_feature_for_each_sample(encoder: Stack, tokens: Tokens) -> None:
    first = torch.zeros(2, 5, dtype=torch.bool).index_fill(1, torch.tensor([0]), True)
    once = Mask(HIDDEN, predict=first, num_predict=1)
    mean, cls = (FrozenTeacher(encoder, 3, "none", pool=how)(tokens, once) for how in ("mean", "cls"))
    assert mean.shape == (2, 1, 6)
    torch.testing.assert_close(cls, 2 * mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 4}, r"`layer` must be in \[1, 3\]"),
        ({"layer": []}, "`layer` must name at least one layer"),
        ({"layer": [1, 9]}, r"`layer` must be in \[1, 3\], the encoder's layers, but is 9"),
        ({"top": 4}, r"`top` must be in \[1, 3\], the teacher's layers, but is 4; nearest: 3"),
        ({"top": 0}, "`top` must be at least 1, but is 0"),
        ({"top": 1, "layer": 2}, "`layer` must be left out when `top` is given, but is 2"),
        ({"normalize": "batch"}, "`normalize` must be one of layer, deviation, length, none, but is 'batch'"),
        ({"sees": "none"}, "`sees` must be one of all, visible, hidden, but is 'none'"),
        ({"pool": "sum"}, "`pool` must be one of None, mean, max, cls, but is 'sum'"),
    ],
)
def test_what_no_teacher_can_do_is_refused(encoder: Stack, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenTeacher(encoder, **options)
    with pytest.raises(ValueError, match=message):
        EMATeacher(**options).start(Model(encoder))


def small(**parts: Any) -> MaskedModel:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "tokenizer": Rows(),
        "mask": RandomMask(0.5),
        "encoder": Stack(),
        "predictor": TransformerPredictor(6, 6, width=8, depth=1, num_heads=2),
        "target": StagedTeacher(num_stages=3),
        "loss": MSELoss(),
        "optim": Optimization(base_lr=1e-2, scale_lr=False),
    }
    return MaskedModel(**(given | parts))


def test_at_the_end_of_a_stage_the_student_becomes_the_teacher_and_begins_anew() -> None:
    model = small()
    model.seed = 7
    assert torch.equal(model.target.teacher.enter.weight, model.encoder.enter.weight), "as random as the student"
    with torch.no_grad():
        model.encoder.enter.weight.add_(1.0)  # which trains
    first = copy.deepcopy(model.target.teacher.state_dict())
    for step in range(3):  # of 12: a stage has 4 steps
        assert model.target.update(model, Progress(step=step, total_steps=12)) == {"stage": 0.0}
    assert all(torch.equal(tensor, first[name]) for name, tensor in model.target.teacher.state_dict().items())

    student, decoder = copy.deepcopy(model.encoder.state_dict()), copy.deepcopy(model.predictor.state_dict())
    weights = [id(parameter) for parameter in model.parameters()]
    assert model.target.update(model, Progress(step=3, total_steps=12)) == {"stage": 1.0}
    assert all(torch.equal(tensor, student[name]) for name, tensor in model.target.teacher.state_dict().items())
    assert [id(parameter) for parameter in model.parameters()] == weights, "an optimiser keeps them"
    assert not torch.equal(model.encoder.enter.weight, student["enter.weight"])
    assert not torch.equal(model.predictor.embed.weight, decoder["embed.weight"])

    fresh = copy.deepcopy(model.encoder.state_dict())
    model.target.update(model, Progress(step=4, total_steps=12))
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in model.encoder.state_dict().items()), "once a stage"
    model.target.update(model, Progress(step=8, total_steps=12))  # step 7 was left out
    assert not torch.equal(model.encoder.enter.weight, fresh["enter.weight"])
    last = copy.deepcopy(model.encoder.state_dict())
    model.target.update(model, Progress(step=11, total_steps=12))
    assert all(torch.equal(tensor, last[name]) for name, tensor in model.encoder.state_dict().items()), "what is kept"


def test_new_weights_are_those_of_a_new_model_and_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    expected = Stack()
    made = [Stack(), Stack(), Stack()]
    state = torch.random.get_rng_state()
    for one, seed in zip(made, (5, 5, 6), strict=True):
        renew(iter([one]), seed)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(made[0].enter.weight, expected.enter.weight)
    assert torch.equal(made[1].enter.weight, expected.enter.weight)
    assert not torch.equal(made[2].enter.weight, expected.enter.weight)


def fit(model: MaskedModel, ckpt: Path | None = None, save_at: tuple[int, Path] | None = None) -> L.Trainer:
    class Saves(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if save_at is not None and trainer.global_step == save_at[0]:
                trainer.save_checkpoint(save_at[1])

    torch.manual_seed(3)
    # All three batches of an epoch hold the same rows, so the order that a plain loader restarts in is no matter.
    rows = [{"x": x} for x in torch.randn(4, 5, 4, generator=torch.Generator().manual_seed(2))] * 3
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_steps=12, logger=False, enable_checkpointing=False, callbacks=[Saves()],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(rows, batch_size=4), ckpt_path=ckpt)  # type: ignore[arg-type]
    return trainer


@pytest.mark.parametrize("step", [3, 4, 5])
def test_a_run_resumed_at_the_end_of_a_stage_equals_one_never_stopped(tmp_path: Path, step: int) -> None:
    whole = small()
    trainer = fit(whole, save_at=(step, tmp_path / "some.ckpt"))
    assert int(whole.target.stage) == 2
    moments = next(iter(trainer.optimizers[0].state.values()))
    assert moments["step"] == 12, "the optimiser went on"
    torch.manual_seed(99)
    resumed = small(encoder=Stack())
    fit(resumed, ckpt=tmp_path / "some.ckpt")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_a_frozen_teacher_is_left_out_of_checkpoints_and_compared_when_one_is_loaded() -> None:
    def taught(seed: int) -> MaskedModel:
        torch.manual_seed(seed)
        return small(target=FrozenTeacher(Stack()))

    model, other = taught(1), taught(1)
    state = model.state_dict()
    assert [name for name in state if name.startswith("target.")] == ["target.teacher.fingerprint"]
    with torch.no_grad():
        other.encoder.enter.weight.zero_()
    assert not any(other.load_state_dict(copy.deepcopy(state)))
    assert torch.equal(other.encoder.enter.weight, model.encoder.enter.weight)
    with pytest.raises(RuntimeError, match=r"`target\.teacher` must have the weights that the checkpoint was trained"):
        taught(2).load_state_dict(state)
    del state["target.teacher.fingerprint"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"target\.teacher\.fingerprint"'):
        other.load_state_dict(state)


def test_an_objective_may_read_an_inner_layer() -> None:
    """Its codes come from the one pass; a layer that is not there is refused when the model is made."""
    torch.manual_seed(0)
    teacher = Stack(width=8).eval()
    inner = Objective("visible", LinearPredictor(6, 8), FrozenTeacher(teacher, 3, sees="visible"), MSELoss(), layer=2)
    model = small(target=EMATeacher(), objectives={"inner": inner}).eval()
    batch = {"x": torch.randn(4, 5, 4)}
    step = model.step(batch, 0)
    codes = model.encoder(step.tokens, step.mask, 2).values
    assert torch.equal(step.latent.layer(2).values, codes)
    expected = F.layer_norm(teacher(step.tokens, step.mask, 3).values, [8])
    head = model.objectives["inner"].predictor.head
    torch.testing.assert_close(step.terms["inner"], (head(codes) - expected).square().mean())
    with pytest.raises(ValueError, match=r"`layer` must be in \[1, 3\], the encoder's layers, but is 4"):
        small(target=EMATeacher(), objectives={"inner": Objective("visible", layer=4)})
