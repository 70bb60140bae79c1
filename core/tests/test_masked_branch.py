"""The masked pass of fine-tuning, and codes that are rebuilt: limits, numbers by hand, what is shown, and runs."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from unmask import Draws, Encoder, Grid, Latent, MaskedDataModule, MaskedModel, Sequence, Tokenizer, Tokens
from unmask.data import Splits
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask.tools.features.labels import CLASSIFICATION, REGRESSION, Task
from unmask.tools.finetune import FineTuning, Settings, finetune, load
from unmask.tools.finetune.masked_branch import MaskedBranch
from unmask.tools.finetune.objective import Classification, MultiLabel, Regression
from unmask.tools.finetune.rebuilder import Rebuilder


class Rows(Tokenizer):
    def forward(self, batch):
        return Tokens(batch["x"], Grid((2, 4)))


class Dropping(Encoder):
    """Each token by itself; what is hidden is dropped."""

    num_layers, width = 1, 8

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 8))
        self.num_seen = []

    def forward(self, tokens, mask=None, layer=None):
        seen = None if mask is None else mask.seen
        values = tokens.values if seen is None else seen.gather(tokens.values)
        self.num_seen.append(values.shape[1])
        return Latent(self.layers(values), seen)


def model():
    torch.manual_seed(0)
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Dropping(), predictor=LinearPredictor(8, 4),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


def samples(num, seed, per_token=False):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(num, 8, 4, generator=rng)
    if per_token:
        return [{"x": one, "label": (one[:, 0] > 0).long()} for one in x]
    return [{"x": one + 2 * torch.eye(3, 4)[i % 3], "label": i % 3} for i, one in enumerate(x)]


class Data(MaskedDataModule):
    def __init__(self, per_token=False):
        super().__init__(batch_size=16, num_workers=0)
        self.per_token = per_token

    def load(self):
        both = samples(48, 0, self.per_token), samples(30, 1, self.per_token)
        return Splits(*both, *both)


def loss_of(settings, per_token=False, objective=None):
    """The loss of a training step and its gradient, by the names of weights; and the encoder."""
    batch = default_collate(samples(12, 3, per_token)) | {"index": torch.arange(12)}
    tuning = FineTuning(model(), objective or Classification(3), Task(CLASSIFICATION, per_token), settings)
    with torch.no_grad():
        tuning.head[-1].weight.normal_(generator=torch.Generator().manual_seed(5))
    loss = tuning.training_step(batch, 0)
    loss.backward()
    return loss.detach(), {name: one.grad for name, one in tuning.named_parameters()}, tuning.encoder


@pytest.mark.parametrize(
    "options", [{"masked_branch": "prediction"}, {"masked_branch": "labels", "masked_agreement": 0.0}]
)
def test_without_weight_it_is_plain_fine_tuning_bit_for_bit(options):
    plain, gradients, _ = loss_of(Settings())
    loss, own, _ = loss_of(Settings(masked_weight=0.0, **options))
    assert torch.equal(loss, plain)
    for name, gradient in gradients.items():
        assert torch.equal(own[name], gradient)
    assert not torch.equal(loss_of(Settings(**options))[0], plain)


def test_two_whole_passes_double_the_gradient():
    plain, gradients, _ = loss_of(Settings())
    loss, own, _ = loss_of(Settings(masked_branch="labels", masked_ratio=0.0, masked_agreement=0.0))
    torch.testing.assert_close(loss, 2 * plain)
    for name, gradient in gradients.items():
        torch.testing.assert_close(own[name], 2 * gradient)


def test_no_gradient_reaches_the_prediction_that_is_learnt_from():
    whole, masked = (torch.randn(6, 3, requires_grad=True) for _ in range(2))
    objective = Classification(3)
    target, known = objective.target(torch.tensor([0, 1, 2, 0, -100, 1]))
    MaskedBranch("prediction", weight=3.0).total(objective, whole, masked, target, known)[0].backward()
    alone = whole.detach().clone().requires_grad_()
    (objective.loss(alone, target, known) / 4).backward()
    torch.testing.assert_close(whole.grad, alone.grad)
    assert masked.grad[:4].any()
    assert not masked.grad[4].any()  # unknown labels count in neither


def test_with_an_agreement_both_passes_have_a_gradient():
    whole, masked = (torch.randn(6, 3, requires_grad=True) for _ in range(2))
    objective = MultiLabel(3)
    target, known = objective.target(torch.randint(2, (6, 3)))
    total, parts = MaskedBranch("labels", weight=0.0, agreement=1.0).total(objective, whole, masked, target, known)
    (total - objective.loss(whole, target, known)).backward()
    torch.testing.assert_close(whole.grad.abs() > 0, masked.grad.abs() > 0)
    assert whole.grad.all()
    expected = np.mean((1 / (1 + np.exp(-whole.detach().numpy())) - 1 / (1 + np.exp(-masked.detach().numpy()))) ** 2)
    assert parts["agreement"].item() == pytest.approx(expected, rel=1e-5)


def test_the_losses_by_hand():
    whole, masked = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    share = np.exp([2, 0]) / np.exp([2, 0]).sum()
    logs = np.array([0.0, 1.0]) - np.log(1 + np.e)
    objective = Classification(2, label_smoothing=0.1)  # which no prediction is smoothed by
    target, known = objective.target(torch.tensor([0]))
    own = objective.loss(whole, target, known).item()
    total, _ = MaskedBranch("prediction", weight=0.5).total(objective, whole, masked, target, known)
    assert total.item() == pytest.approx((own - 0.5 * (share * logs).sum()) / 1.5, rel=1e-5)
    numbers = Regression(torch.zeros(2), torch.full((2,), 3.0), flat=False)
    target, known = numbers.target(torch.tensor([[3.0, 6.0]]))  # 1 and 2 deviations
    total, _ = MaskedBranch("prediction").total(numbers, whole, masked, target, known)
    assert total.item() == pytest.approx(0.5 * (1 + 4) / 2 + 0.5 * (4 + 1) / 2, rel=1e-6)


def test_half_of_the_tokens_are_dropped_or_zeros():
    *_, encoder = loss_of(Settings(masked_branch="prediction"))
    assert encoder.num_seen == [8, 4]
    tokens = Tokens(torch.rand(3, 8, 4) + 1, Sequence())
    draws = Draws.of(0, torch.arange(3))
    same, mask = MaskedBranch("labels").hide(tokens, draws)
    assert same is tokens
    assert mask.hidden.sum(1).tolist() == [4, 4, 4]
    shown, none = MaskedBranch("labels", shown="zero").hide(tokens, Draws.of(0, torch.arange(3)))
    assert none is None
    assert torch.equal((shown.values == 0).all(-1), mask.hidden)
    assert torch.equal(shown.values[~mask.hidden], tokens.values[~mask.hidden])


def test_what_is_hidden_is_keyed_by_sample():
    tokens = Tokens(torch.rand(4, 8, 4), Sequence())
    index = torch.tensor([7, 3, 9, 1])
    hidden = MaskedBranch("labels").hide(tokens, Draws.of(5, index))[1].hidden
    again = MaskedBranch("labels").hide(copy.copy(tokens), Draws.of(5, index.flip(0)))[1].hidden
    assert torch.equal(hidden, again.flip(0))


@pytest.mark.parametrize(
    ("per_token", "options"),
    [(False, {"masked_branch": "prediction"}), (True, {"masked_branch": "labels", "masked_as": "zero"})],
)
def test_a_run_with_it_learns(per_token, options):
    settings = Settings(epochs=30, batch_size=16, lr=0.3, val_ratio=0.25, **options)
    result = finetune(Data(per_token), pretrained=model(), settings=settings)
    assert result.rows[0].cells["pretrained"].mean > 0.8
    assert "A second pass with 50% of the tokens hidden" in result.text()


def test_what_does_not_fit_is_refused():
    for options, words in {
        ("masked_branch", "predictions"): "`masked_branch` must be one of none, prediction, labels",
        ("masked_ratio", 1.0): r"`masked_ratio` must be in \[0, 1\), but is 1",
        ("masked_weight", -1.0): "`masked_weight` must be at least 0, but is -1",
        ("masked_agreement", 1.0): "`masked_agreement` is of `masked_branch` 'labels'",
    }.items():
        with pytest.raises(ValueError, match=words):
            Settings(**dict([options]))
    tokens = Tokens(torch.rand(2, 8, 4), Sequence())
    with pytest.raises(ValueError, match="`masked_as` must be 'zero' for labels per token"):
        MaskedBranch("labels").check(tokens, Task(CLASSIFICATION, True))
    with pytest.raises(ValueError, match="`masked_as` must be 'drop' for tokens that are ids"):
        MaskedBranch("labels", shown="zero").check(Tokens(torch.ones(2, 8).long(), Sequence()), Task(REGRESSION))


# Codes that are rebuilt.


def tuned(settings):
    tuning = FineTuning(model(), Classification(2), Task(CLASSIFICATION, True), settings)
    with torch.no_grad():
        tuning.head[-1].weight.normal_(generator=torch.Generator().manual_seed(5))
    return tuning


def rebuilt_loss_of(tuning):
    """Of a training step, its parts by name, and its gradient."""
    batch = default_collate(samples(12, 3, per_token=True)) | {"index": torch.arange(12)}
    parts = {}
    tuning.log_dict = lambda numbers, **_: parts.update(numbers)
    loss = tuning.training_step(batch, 0)
    loss.backward()
    return loss.detach(), parts, {name: one.grad for name, one in tuning.named_parameters()}


def identity(rebuilder):
    """Both branches of the block add nothing."""
    for layer in (rebuilder.block.attn.proj, rebuilder.block.mlp.fc2):
        torch.nn.init.zeros_(layer.weight)


def test_without_weight_nothing_is_rebuilt_bit_for_bit():
    plain, none, gradients = rebuilt_loss_of(tuned(Settings()))
    tuning = tuned(Settings(rebuild_weight=0.0, rebuild_ratio=0.9))
    loss, parts, own = rebuilt_loss_of(tuning)
    assert torch.equal(loss, plain)
    assert own.keys() == gradients.keys()
    assert all(torch.equal(own[name], gradients[name]) for name in gradients)
    assert none == parts == {}
    assert not torch.equal(rebuilt_loss_of(tuned(Settings(rebuild_weight=1.0)))[0], plain)


def test_it_adds_to_the_plain_loss_and_no_more():
    plain = rebuilt_loss_of(tuned(Settings()))[0]
    loss, parts, gradients = rebuilt_loss_of(tuned(Settings(rebuild_weight=0.5)))
    torch.testing.assert_close(loss, plain + 0.5 * parts["train/rebuilt"])
    assert all(gradient is not None and gradient.any() for gradient in gradients.values())


def test_nothing_hidden_and_a_block_that_adds_nothing_double_the_loss():
    plain, _, gradients = rebuilt_loss_of(tuned(Settings()))
    tuning = tuned(Settings(rebuild_weight=1.0, rebuild_ratio=0.0))
    identity(tuning.rebuilder)
    loss, _, own = rebuilt_loss_of(tuning)
    torch.testing.assert_close(loss, 2 * plain)
    for name, gradient in gradients.items():
        torch.testing.assert_close(own[name], 2 * gradient)


def test_hidden_codes_are_one_token_and_keyed_by_sample():
    rebuilder = Rebuilder(8, 0.5)
    identity(rebuilder)
    codes, tokens = torch.randn(3, 8, 8), Tokens(torch.zeros(3, 8, 4), Grid((2, 4)))
    shown = rebuilder(Latent(codes), tokens, Draws.of(0, torch.tensor([4, 2, 9]))).values
    hidden = (shown == rebuilder.token).all(-1)
    assert hidden.sum(1).tolist() == [4, 4, 4]
    assert torch.equal(shown[~hidden], codes[~hidden])
    again = rebuilder(Latent(codes), tokens, Draws.of(0, torch.tensor([9, 2, 4]))).values
    assert torch.equal((again == rebuilder.token).all(-1), hidden.flip(0))
    # A hidden code reaches nothing that is rebuilt; a visible one does.
    whole = Rebuilder(8, 0.5)
    other = torch.where(hidden[..., None], torch.randn(3, 8, 8), codes)
    one, two, three = (
        whole(Latent(x), tokens, Draws.of(0, torch.tensor([4, 2, 9]))).values for x in (codes, other, codes + 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_padding_is_not_read_to_rebuild():
    rebuilder = Rebuilder(8, 0.0)
    valid = torch.arange(8) < torch.tensor([[8], [5]])
    codes = torch.randn(2, 8, 8)
    other = torch.where(valid[..., None], codes, torch.full_like(codes, 9.0))
    tokens = Tokens(torch.zeros(2, 8, 4), Sequence(), valid=valid)
    first, second = (rebuilder(Latent(x), tokens, Draws.of(0, torch.arange(2))).values for x in (codes, other))
    torch.testing.assert_close(first[valid], second[valid])


def test_a_run_learns_and_keeps_nothing_of_it(tmp_path):
    settings = Settings(epochs=20, batch_size=16, lr=0.3, val_ratio=0.25, rebuild_weight=0.5)
    result = finetune(Data(per_token=True), pretrained=model(), settings=settings, folder=tmp_path)
    assert result.rows[0].cells["pretrained"].mean > 0.8
    assert "A loss by codes, 50% of them hidden and rebuilt, of weight 0.5." in result.text()
    (file,) = (tmp_path / "finetune").glob("*.ckpt")
    kept = load(file, model())
    assert kept.rebuilder is None
    assert not any("rebuilder" in name for name in torch.load(file, weights_only=True)["state_dict"])
    assert "rebuilder" not in {name for name, _ in kept.named_modules()}


def test_what_cannot_be_rebuilt_is_refused():
    for options, words in (
        ({"rebuild_weight": -1.0}, "`rebuild_weight` must be at least 0, but is -1"),
        ({"rebuild_ratio": 1.0}, r"`rebuild_ratio` must be in \[0, 1\), but is 1"),
        ({"rebuild_weight": 1.0, "freeze": True}, "`rebuild_weight` must be 0 with `freeze`"),
    ):
        with pytest.raises(ValueError, match=words):
            Settings(**options)
    with pytest.raises(ValueError, match="`rebuild_weight` must be 0 for labels of samples"):
        Rebuilder.check(Rows()(default_collate(samples(2, 0))), Task(CLASSIFICATION))
