"""Losses against torch's functions, and InfoNCE by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unmask.losses import (
    BinaryCrossEntropyLoss,
    CosineLoss,
    CrossEntropyLoss,
    FocalL1Loss,
    InfoNCELoss,
    L1Loss,
    MSELoss,
    ScaledCosineLoss,
    SmoothL1Loss,
)
from unmask.parts import Loss, LossValue
from unmask.structures import Places, Prediction

PREDICTION = torch.tensor([[[1.0, 2], [0, -1]], [[3, 3], [1, 0.5]]])  # [B, M, T]
TARGET = torch.tensor([[[1.0, 0], [0.5, -1]], [[0, 3], [1, 2]]])
VALID = torch.tensor([[True, True], [True, False]])

EXPECTED = {  # per place, by hand from the differences (0, 2), (-.5, 0), (3, 0), (0, -1.5)
    "mse": [[2, 0.125], [4.5, 1.125]],
    "l1": [[1, 0.25], [1.5, 0.75]],
    "smooth": [[0.75, 0.0625], [1.25, 0.5]],
    "cosine": [[1 - 1 / 5**0.5, 1 - 1 / 1.25**0.5], [1 - 1 / 2**0.5, 1 - 2 / (1.25**0.5 * 5**0.5)]],
}
LOSSES: list[tuple[Loss, str]] = [
    (MSELoss(), "mse"),
    (L1Loss(), "l1"),
    (SmoothL1Loss(), "smooth"),
    (CosineLoss(), "cosine"),
]


def value(loss: Loss, prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor | None = None) -> LossValue:
    index = torch.zeros(prediction.shape[:-1], dtype=torch.long)
    return loss(Prediction(prediction, Places(index, valid)), target)


@pytest.mark.parametrize(("loss", "name"), LOSSES)
def test_per_token_and_total_by_hand(loss: Loss, name: str) -> None:
    total, per_token = value(loss, PREDICTION, TARGET)
    assert per_token.tolist() == pytest.approx(np.array(EXPECTED[name]), abs=1e-6)
    assert total.item() == pytest.approx(np.mean(EXPECTED[name]), abs=1e-6)


@pytest.mark.parametrize(("loss", "name"), LOSSES)
def test_filled_rows_do_not_count(loss: Loss, name: str) -> None:
    prediction = PREDICTION.clone().requires_grad_()
    total, per_token = value(loss, prediction, TARGET, VALID)
    (a, b), (c, _) = EXPECTED[name]
    assert total.item() == pytest.approx((a + b + c) / 3, abs=1e-6)
    assert per_token[1, 1] == 0
    assert not per_token.requires_grad
    total.backward()
    assert prediction.grad is not None
    assert prediction.grad[1, 1].tolist() == [0, 0]
    assert prediction.grad[1, 0].abs().sum() > 0


def test_a_batch_without_any_asked_place_costs_nothing() -> None:
    assert value(MSELoss(), PREDICTION, TARGET, torch.zeros_like(VALID)).total == 0


@pytest.mark.parametrize(
    ("loss", "reference"),
    [(MSELoss(), F.mse_loss), (L1Loss(), F.l1_loss), (SmoothL1Loss(), F.smooth_l1_loss)],
)
def test_regression_equals_torch_with_gradients(loss: Loss, reference) -> None:
    torch.manual_seed(0)
    target = torch.randn(2, 3, 4, 5)  # in groups
    ours, theirs = (torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    ours.requires_grad_()
    theirs.requires_grad_()
    total, per_token = value(loss, ours, target)
    expected = reference(theirs, target)
    torch.testing.assert_close(total, expected)
    assert per_token.shape == (2, 3, 4)
    total.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_smooth_l1_turns_into_a_line_at_beta() -> None:
    prediction, target = torch.tensor([[[1.0], [2.0], [5.0]]]), torch.zeros(1, 3, 1)
    assert value(SmoothL1Loss(2.0), prediction, target).per_token.tolist() == [[0.25, 1, 4]]


def test_low_precision_answers_are_compared_in_full_precision() -> None:
    for loss, _ in LOSSES:
        assert value(loss, PREDICTION.bfloat16(), TARGET.bfloat16()).total.dtype == torch.float32


def test_cosine_at_equal_opposite_and_right_angles() -> None:
    prediction = torch.tensor([[[2.0, 0], [-3, 0], [0, 1]]])
    target = torch.tensor([[[1.0, 0]] * 3])
    assert value(CosineLoss(), prediction, target).per_token.tolist() == [[0, 2, 1]]
    assert value(ScaledCosineLoss(3), prediction, target).per_token.tolist() == [[0, 8, 1]]


@pytest.mark.parametrize("gamma", [1, 1.5, 2, 3])
def test_scaled_cosine_has_finite_gradients_at_zero_and_at_the_target(gamma: float) -> None:
    torch.manual_seed(0)
    target = torch.randn(1, 300, 7)
    prediction = target * torch.rand(1, 300, 1).add(0.5)  # the same directions: rounding on both sides of 0
    prediction[0, 0] = 0
    target[0, 1] = 0
    prediction[0, 2] = target[0, 2] = 0
    prediction.requires_grad_()
    total, per_token = value(ScaledCosineLoss(gamma), prediction, target)
    total.backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert per_token[0, :3].tolist() == [1, 1, 1]
    assert per_token[0, 3:].min() >= 0
    assert per_token[0, 3:].max() < 1e-5


def test_scaled_cosine_is_a_power_of_the_cosine_loss() -> None:
    _, per_token = value(ScaledCosineLoss(1.5), PREDICTION, TARGET)
    torch.testing.assert_close(per_token, torch.tensor(EXPECTED["cosine"]) ** 1.5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_hand(smoothing: float) -> None:
    scores = torch.tensor([[[0.0, math.log(3)], [0, 0]], [[math.log(7), 0], [0, 0]]])  # chances 1/4, 3/4, ...
    target = torch.tensor([[1, 0], [0, 1]])
    chances = np.array([[[0.25, 0.75], [0.5, 0.5]], [[7 / 8, 1 / 8], [0.5, 0.5]]])
    ideal = np.eye(2)[target.numpy()] * (1 - smoothing) + smoothing / 2
    expected = -(ideal * np.log(chances)).sum(-1)
    total, per_token = value(CrossEntropyLoss(smoothing), scores, target)
    assert per_token.numpy() == pytest.approx(expected, abs=1e-6)
    assert total.item() == pytest.approx(expected.mean(), abs=1e-6)
    filled = value(CrossEntropyLoss(smoothing), scores, target, VALID)
    assert filled.total.item() == pytest.approx(expected.ravel()[:3].mean(), abs=1e-6)


def test_cross_entropy_in_groups() -> None:
    scores, target = torch.randn(2, 3, 4, 5), torch.randint(5, (2, 3, 4))
    total, per_token = value(CrossEntropyLoss(), scores, target)
    assert per_token.shape == (2, 3, 4)
    torch.testing.assert_close(total, F.cross_entropy(scores.movedim(-1, 1), target))


def info_nce_by_hand(
    prediction: np.ndarray, target: np.ndarray, owner: np.ndarray, real: np.ndarray, temperature: float
) -> np.ndarray:
    """Loops over ``[Q, T]`` rows; the candidates of a row are the real rows of the same owner."""
    out = np.zeros(len(prediction))
    for q in np.flatnonzero(real):

        def similarity(k: int, q: int = q) -> float:
            norms = np.linalg.norm(prediction[q]) * np.linalg.norm(target[k])
            return math.exp(prediction[q] @ target[k] / norms / temperature)

        candidates = [k for k in np.flatnonzero(real) if owner[k] == owner[q]]
        out[q] = -math.log(similarity(q) / sum(similarity(k) for k in candidates))
    return out


@pytest.mark.parametrize("negatives", ["sample", "batch"])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4)])
def test_info_nce_by_hand(negatives: str, ragged: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(*shape, 5, requires_grad=True), torch.randn(*shape, 5)
    valid = torch.rand(shape) < 0.6 if ragged else None
    if valid is not None:
        valid[..., 0] = True
    total, per_token = value(InfoNCELoss(0.2, negatives), prediction, target, valid)

    real = np.ones(shape, bool) if valid is None else valid.numpy()
    owner = np.broadcast_to(np.arange(3).reshape(3, *[1] * (len(shape) - 1)), shape).ravel()
    owner = owner if negatives == "sample" else np.zeros_like(owner)
    expected = info_nce_by_hand(
        prediction.detach().numpy().reshape(-1, 5), target.numpy().reshape(-1, 5), owner, real.ravel(), 0.2
    )
    assert per_token.numpy().ravel() == pytest.approx(expected, abs=1e-5)
    assert total.item() == pytest.approx(expected.sum() / real.sum(), abs=1e-5)

    total.backward()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    if valid is not None:
        assert (prediction.grad[~valid] == 0).all()
    assert (prediction.grad[torch.from_numpy(real)].abs().sum(-1) > 0).sum() > 1


def test_info_nce_does_not_look_at_filled_rows() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    changed = torch.where(valid[..., None], target, torch.zeros(()))  # zeros have no direction
    for negatives in ("sample", "batch"):
        loss = InfoNCELoss(0.1, negatives)
        assert torch.equal(value(loss, prediction, target, valid).total, value(loss, prediction, changed, valid).total)


@pytest.mark.parametrize("negatives", ["sample", "batch"])
def test_info_nce_of_a_sample_with_no_asked_place_is_finite(negatives: str) -> None:
    torch.manual_seed(0)
    prediction = torch.randn(2, 3, 5, requires_grad=True)
    valid = torch.tensor([[True] * 3, [False] * 3])
    total, per_token = value(InfoNCELoss(0.1, negatives), prediction, torch.randn(2, 3, 5), valid)
    total.backward()
    assert per_token[1].tolist() == [0, 0, 0]
    assert total.item() == pytest.approx(per_token[0].mean().item())
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[1] == 0).all()


def test_info_nce_with_nothing_to_tell_apart() -> None:
    same = torch.ones(2, 4, 3)
    assert value(InfoNCELoss(), same, same).total.item() == pytest.approx(math.log(4))
    assert value(InfoNCELoss(negatives="batch"), same, same).total.item() == pytest.approx(math.log(8))


def test_binary_cross_entropy_is_torchs_of_ids_and_of_several_classes() -> None:
    scores = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0, 3], [1, 1], [2, 0]])
    hot = F.one_hot(ids, 4).float()
    hot_or_more = hot.clone()
    hot_or_more[0, 0, 2] = 1
    for target, right in ((ids, hot), (hot_or_more, hot_or_more)):
        found = value(BinaryCrossEntropyLoss(), scores, target)
        torch.testing.assert_close(found.total, F.binary_cross_entropy_with_logits(scores, right))
        assert found.per_token.shape == (3, 2)


def test_focal_l1_by_hand() -> None:
    prediction, target = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[1.0, 0.5]]])
    distances = np.array([2.0, 0.5])
    expected = (distances * (2 / (1 + np.exp(-0.2 * distances)) - 1)).mean()
    assert value(FocalL1Loss(), prediction, target).total.item() == pytest.approx(expected, rel=1e-5)
    assert value(FocalL1Loss(gamma=0), prediction, target).total.item() == pytest.approx(1.25)
    with pytest.raises(ValueError, match="`alpha` must be at least 0, but is -1"):
        FocalL1Loss(-1)


def test_info_nce_of_scalar_products_is_torchs_cross_entropy():
    prediction, target = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    loss = value(InfoNCELoss(1.0, similarity="dot"), prediction, target).total
    expected = F.cross_entropy((prediction @ target.mT).flatten(0, 1), torch.arange(5).repeat(3))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmoothL1Loss(0), "`beta` must be above 0, but is 0"),
        (lambda: ScaledCosineLoss(0.5), "`gamma` must be at least 1, but is 0.5"),
        (lambda: CrossEntropyLoss(1.0), r"`label_smoothing` must be in \[0, 1\), but is 1.0"),
        (lambda: InfoNCELoss(0), "`temperature` must be above 0, but is 0"),
        (lambda: InfoNCELoss(similarity="l2"), "`similarity` must be 'cosine' or 'dot', but is 'l2'"),
        (lambda: InfoNCELoss(negatives="all"), "`negatives` must be 'sample' or 'batch', but is 'all'"),
    ],
)
def test_errors(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
