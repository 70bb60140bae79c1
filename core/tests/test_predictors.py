"""Predictors: shapes, and what must not influence what."""

from __future__ import annotations

import pytest
import torch

from unmask.nn import sincos
from unmask.parts import Corruption
from unmask.predictors import LinearPredictor, TransformerPredictor
from unmask.structures import TOKEN, Grid, Latent, Layout, Mask, Places, Sequence, Set, Tokens
from unmask.testing.contract import shown_as

SAME = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def predictor() -> TransformerPredictor:
    torch.manual_seed(0)
    return TransformerPredictor(6, 3, width=16, depth=2, num_heads=2).eval()


def places(num_tokens: int, layout: Layout | None = None) -> Tokens:
    return Tokens(None, layout or Sequence())


def latent_of(mask: Mask, prefix: int = 0) -> Latent:
    """Random codes of what the encoder sees; the same for a place, whatever else is seen."""
    rows = torch.Generator().manual_seed(3)
    codes = torch.randn(*mask.hidden.shape, 6, generator=rows)
    extra = torch.randn(len(mask.hidden), prefix, 6, generator=rows) if prefix else None
    return Latent(codes if mask.seen is None else mask.seen.gather(codes), mask.seen, extra)


def hide(*rows: str) -> torch.Tensor:
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


DENSE = Mask(hide("xx..x.", ".xx.x."))
RAGGED = Mask(hide("xx..x.", ".x...."), valid=hide("xxxxxx", "xxxx.."))
GROUPS = Mask(
    hide("xxx...", "xxx..."),
    predict=torch.stack([hide("xx....", ".xx..."), hide("xx....", "x.x...")]),
)


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize(("mask", "shape"), [(DENSE, (2, 3)), (RAGGED, (2, 3)), (GROUPS, (2, 2, 2))])
def test_shapes(predictor: TransformerPredictor, mask: Mask, shape: tuple[int, ...], prefix: int) -> None:
    prediction = predictor(latent_of(mask, prefix), places(6), mask)
    assert prediction.values.shape == (*shape, 3)
    assert prediction.asked is mask.asked


def test_on_a_grid(predictor: TransformerPredictor) -> None:
    assert predictor(latent_of(DENSE), places(6, Grid((2, 3))), DENSE).values.shape == (2, 3, 3)
    with pytest.raises(ValueError, match="need a Sequence or Grid layout"):
        predictor(latent_of(DENSE), places(6, Set()), DENSE)


def test_answers_are_those_of_a_plain_trunk(predictor: TransformerPredictor) -> None:
    """Codes and mask tokens put back in their places by loops, and one pass over all six."""
    latent = latent_of(DENSE)
    table = sincos(Sequence(), 6, 16)
    got = predictor(latent, places(6), DENSE).values
    for b, hidden in enumerate(DENSE.hidden.tolist()):
        codes, rows = iter(latent.values[b]), []
        for n in range(6):
            rows.append((predictor.mask_token[0, 0] if hidden[n] else predictor.embed(next(codes))) + table[n])
        answers = predictor.head(predictor.trunk(torch.stack(rows)[None]))[0]
        torch.testing.assert_close(got[b], answers[DENSE.hidden[b]], **SAME)


def test_groups_do_not_influence_each_other(predictor: TransformerPredictor) -> None:
    assert GROUPS.predict is not None
    changed = GROUPS.predict.clone()
    changed[:, 1] = hide("x.x...", ".xx...")
    other = Mask(GROUPS.hidden, predict=changed)
    first = predictor(latent_of(GROUPS), places(6), GROUPS).values
    second = predictor(latent_of(other), places(6), other).values
    torch.testing.assert_close(first[:, 0], second[:, 0], **SAME)
    assert not torch.allclose(first[:, 1], second[:, 1], atol=1e-4)


def test_a_group_answers_as_if_it_were_alone(predictor: TransformerPredictor) -> None:
    assert GROUPS.predict is not None
    for prefix in (0, 2):
        together = predictor(latent_of(GROUPS, prefix), places(6), GROUPS).values
        for group in range(2):
            alone = Mask(GROUPS.hidden, predict=GROUPS.predict[:, group])
            answer = predictor(latent_of(alone, prefix), places(6), alone).values
            torch.testing.assert_close(together[:, group], answer, **SAME)


def test_ragged_groups_answer_as_if_they_were_alone(predictor: TransformerPredictor) -> None:
    predict = torch.stack([hide("xx....", ".x...."), hide("xxx...", "..x...")])
    mask = Mask(GROUPS.hidden, predict=predict, valid=hide("xxxxxx", "xxxxx."))
    values = predictor(latent_of(mask, 1), places(6), mask).values
    assert values.shape == (2, 2, 3, 3)
    for b in range(2):
        for group in range(2):
            num_real = 6 - b
            alone = Mask(mask.hidden[b : b + 1, :num_real], predict=predict[b : b + 1, group, :num_real])
            codes = latent_of(mask, 1)
            count = num_real - 3
            latent = Latent(codes.values[b : b + 1, :count], alone.seen, codes.prefix[b : b + 1])
            answer = predictor(latent, places(num_real), alone).values[0]
            torch.testing.assert_close(values[b, group, : len(answer)], answer, **SAME)


@pytest.mark.parametrize("shown", [False, True])
def test_padding_does_not_influence(predictor: TransformerPredictor, shown: bool) -> None:
    show = torch.full((2, 6), TOKEN, dtype=torch.int8) if shown else None
    mask = Mask(hide("xx..x.", ".xx..."), valid=RAGGED.valid, show=show)  # 3 and 2 visible, 3 and 2 asked
    latent = latent_of(mask)
    real = mask.valid if mask.seen is None else mask.seen.valid
    assert real is not None
    noisy = Latent(torch.where(real[..., None], latent.values, 40.0), latent.seen)
    assert mask.asked.valid is not None
    first = predictor(latent, places(6), mask).values[mask.asked.valid]
    second = predictor(noisy, places(6), mask).values[mask.asked.valid]
    assert torch.equal(first, second)


def test_a_short_sample_answers_as_if_it_were_alone(predictor: TransformerPredictor) -> None:
    latent = latent_of(RAGGED, prefix=1)
    together = predictor(latent, places(6), RAGGED).values
    alone = Mask(hide(".x.."))
    codes = Latent(latent.values[1:, :3], alone.seen, latent.prefix[1:])
    torch.testing.assert_close(together[1:, :1], predictor(codes, places(4), alone).values, **SAME)


@pytest.mark.parametrize("mask", [DENSE, GROUPS])
def test_the_order_of_the_codes_does_not_matter(predictor: TransformerPredictor, mask: Mask) -> None:
    latent = latent_of(mask)
    assert latent.seen is not None
    order = torch.tensor([2, 0, 1])
    mixed = Latent(latent.values[:, order], Places(latent.seen.index[:, order]))
    first = predictor(latent, places(6), mask).values
    torch.testing.assert_close(predictor(mixed, places(6), mask).values, first, **SAME)
    moved = Latent(latent.values[:, order], latent.seen)
    assert not torch.allclose(predictor(moved, places(6), mask).values, first, atol=1e-4)


def test_samples_do_not_influence_each_other(predictor: TransformerPredictor) -> None:
    latent = latent_of(GROUPS, prefix=1)
    assert latent.prefix is not None
    values, prefix = latent.values.clone(), latent.prefix.clone()
    values[1] += 1
    prefix[1] -= 1
    first = predictor(latent, places(6), GROUPS).values
    second = predictor(Latent(values, latent.seen, prefix), places(6), GROUPS).values
    torch.testing.assert_close(first[0], second[0], rtol=0, atol=0)
    assert (first[1] != second[1]).any(-1).all()


def test_the_prefix_takes_part_only_when_told_to(predictor: TransformerPredictor) -> None:
    with_prefix, without = latent_of(DENSE, prefix=2), latent_of(DENSE)
    first = predictor(with_prefix, places(6), DENSE).values
    second = predictor(without, places(6), DENSE).values
    assert not torch.allclose(first, second, atol=1e-4)
    predictor.use_prefix = False
    assert torch.equal(predictor(with_prefix, places(6), DENSE).values, second)


def test_gradients_reach_every_parameter_and_code(predictor: TransformerPredictor) -> None:
    latent = latent_of(DENSE)
    latent.values.requires_grad_()
    predictor(latent, places(6), DENSE).values.square().sum().backward()
    assert latent.values.grad is not None
    assert (latent.values.grad.abs().sum(-1) > 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in predictor.parameters())


def test_linear_by_hand() -> None:
    predictor = LinearPredictor(6, 2)
    mask = Mask(DENSE.hidden, show=torch.full((2, 6), TOKEN, dtype=torch.int8))
    latent = latent_of(mask)
    prediction = predictor(latent, places(6), mask)
    assert prediction.values.shape == (2, 3, 2)
    expected = latent.values[1, 4] @ predictor.head.weight.T + predictor.head.bias
    torch.testing.assert_close(prediction.values[1, 2], expected)


def test_linear_needs_a_code_everywhere() -> None:
    with pytest.raises(ValueError, match="`corruption` drops the hidden ones"):
        LinearPredictor(6, 2)(latent_of(DENSE), places(6), DENSE)


def test_linear_needs_as_many_codes_as_places() -> None:
    hidden = torch.zeros(1, 16, dtype=torch.bool)
    hidden[0, :8] = True
    mask = shown_as(Corruption(token=1), Mask(hidden))
    with pytest.raises(ValueError, match="each of the 16 places, but the encoder makes 4 coarser ones"):
        LinearPredictor(8, 3)(Latent(torch.zeros(1, 4, 8)), Tokens(None, Sequence()), mask)


@pytest.mark.parametrize("drop", [True, False])
def test_a_model_of_half_precision_stays_in_it(drop: bool) -> None:
    hidden = torch.zeros(2, 8, dtype=torch.bool)
    hidden[:, :4] = True
    mask = shown_as(Corruption(drop=1) if drop else Corruption(token=1), Mask(hidden))
    predictor = TransformerPredictor(8, 4, width=8, depth=1, num_heads=2).bfloat16()
    codes = torch.randn(2, 4 if drop else 8, 8, dtype=torch.bfloat16)
    prediction = predictor(Latent(codes, mask.seen), Tokens(None, Sequence()), mask)
    assert prediction.values.dtype == torch.bfloat16


def test_packed_tokens_are_refused_plainly() -> None:
    packed = Tokens(None, Sequence(), offsets=torch.tensor([0, 2, 4]))
    mask = Mask(torch.tensor([True, False, True, False]))
    with pytest.raises(ValueError, match="works on dense tokens"):
        TransformerPredictor(8, 4, width=8, depth=1, num_heads=2)(Latent(torch.zeros(2, 8), mask.visible), packed, mask)
