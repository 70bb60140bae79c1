"""Hand-offs: places, masks, corruption and pooling against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from unmask.parts import Corruption
from unmask.structures import DROPPED, KEPT, RANDOM, TOKEN, Latent, Mask, Places, Sequence, Set, Tokens
from unmask.testing.contract import shown_as


def bools(*rows: str) -> torch.Tensor:
    """``x`` is True: bools("x.", ".x")."""
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


VALUES = torch.arange(24.0).view(2, 4, 3)  # sample b, token n, value v: 12 b + 3 n + v


def test_places_of_dense_rows_are_ascending_and_without_filling() -> None:
    places = Places.of(bools("x..x", ".xx."))
    assert places.index.tolist() == [[0, 3], [1, 2]]
    assert places.valid is None


@pytest.mark.parametrize("chosen", [bools("x..x", ".xx."), bools("xxxx", "xxxx"), bools("...x", "x...")])
def test_places_with_a_known_count_equal_those_without(chosen: torch.Tensor) -> None:
    count = int(chosen[0].sum())
    assert Places.of(chosen, count).index.tolist() == Places.of(chosen).index.tolist()


def test_places_of_ragged_rows_are_filled_with_zero() -> None:
    places = Places.of(bools("x.xx", ".x..", "...."))
    assert places.index.tolist() == [[0, 2, 3], [1, 0, 0], [0, 0, 0]]
    assert places.valid is not None
    assert places.valid.tolist() == [[True] * 3, [True, False, False], [False] * 3]


def test_places_of_groups() -> None:
    chosen = torch.stack([bools("xx..", ".xx."), bools("..xx", "x..x")])  # [B = 2, G = 2, N = 4]
    places = Places.of(chosen)
    assert places.index.tolist() == [[[0, 1], [1, 2]], [[2, 3], [0, 3]]]
    picked = places.gather(VALUES)
    assert picked.shape == (2, 2, 2, 3)
    assert picked[1, 0].tolist() == [[18, 19, 20], [21, 22, 23]]
    assert picked[0, 1].tolist() == [[3, 4, 5], [6, 7, 8]]


def test_places_of_ragged_groups() -> None:
    places = Places.of(torch.stack([bools("xx..", ".x.."), bools("..xx", "x..x")]))
    assert places.index.tolist() == [[[0, 1], [1, 0]], [[2, 3], [0, 3]]]
    assert places.valid is not None
    assert places.valid.tolist() == [[[True, True], [True, False]], [[True, True], [True, True]]]


def test_places_of_packed_tokens() -> None:
    places = Places.of(torch.tensor([True, False, True, True]))
    packed = torch.arange(8.0).view(4, 2)
    assert places.index.tolist() == [0, 2, 3]
    assert places.gather(packed).tolist() == [[0, 1], [4, 5], [6, 7]]
    out = places.scatter(torch.tensor([[-1.0, -1], [-2, -2], [-3, -3]]), packed)
    assert out.tolist() == [[-1, -1], [2, 3], [-2, -2], [-3, -3]]
    assert packed[0].tolist() == [0, 1], "scatter makes a copy"


def test_gather_of_vectors_ids_and_matrices() -> None:
    places = Places.of(bools("x..x", ".xx."))
    assert places.gather(VALUES).tolist() == [[[0, 1, 2], [9, 10, 11]], [[15, 16, 17], [18, 19, 20]]]
    ids = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]])
    assert places.gather(ids).tolist() == [[5, 8], [2, 3]]
    matrices = torch.arange(48).view(2, 4, 3, 2)
    assert places.gather(matrices)[1, 0].tolist() == matrices[1, 1].tolist()


def test_gradients_reach_only_the_gathered_places() -> None:
    values = VALUES.clone().requires_grad_()
    Places.of(bools("x..x", ".xx.")).gather(values).sum().backward()
    assert values.grad is not None
    assert values.grad[..., 0].tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]]


def test_gradients_add_up_where_groups_overlap() -> None:
    values = VALUES.clone().requires_grad_()
    Places.of(torch.stack([bools("xx..", ".xx."), bools("..xx", "x..x")])).gather(values).sum().backward()
    assert values.grad is not None
    assert values.grad[..., 0].tolist() == [[1, 2, 1, 0], [1, 0, 1, 2]]


def test_scatter_writes_ragged_rows_without_touching_place_zero() -> None:
    places = Places.of(bools("x.xx", ".x.."))
    new = -torch.arange(1.0, 7).view(2, 3, 1).expand(2, 3, 3)  # [B, K, D]: -1..-3 and -4..-6
    out = places.scatter(new, VALUES)
    assert out[0, :, 0].tolist() == [-1, 3, -2, -3]
    assert out[1, :, 0].tolist() == [12, -4, 18, 21]
    assert out.shape == VALUES.shape


def test_scatter_undoes_gather_and_passes_gradients_to_both() -> None:
    places = Places.of(bools("x..x", ".xx."))
    assert torch.equal(places.scatter(places.gather(VALUES), VALUES), VALUES)
    new, into = torch.zeros(2, 2, 3, requires_grad=True), VALUES.clone().requires_grad_()
    (places.scatter(new, into) * VALUES).sum().backward()
    assert new.grad is not None
    assert into.grad is not None
    assert new.grad[1].tolist() == VALUES[1, 1:3].tolist()
    assert into.grad[:, :, 0].tolist() == [[0, 3, 6, 0], [12, 0, 0, 21]]


def test_scatter_takes_the_precision_of_what_it_writes_into() -> None:
    out = Places.of(bools("x...", "x...")).scatter(torch.ones(2, 1, 3, dtype=torch.bfloat16), VALUES)
    assert out.dtype == torch.float32
    assert out[0, 0].tolist() == [1, 1, 1]


def test_views_of_a_mask() -> None:
    mask = Mask(bools("xx..", "x..x"), num_hidden=2)
    assert mask.visible.index.tolist() == [[2, 3], [1, 2]]
    assert mask.asked.index.tolist() == [[0, 1], [0, 3]]
    assert mask.seen is mask.visible, "dropped places are not seen, and the view is computed once"


def test_padding_is_neither_visible_nor_asked() -> None:
    mask = Mask(bools("xx..", "x..."), valid=bools("xxxx", "xx.."))
    assert mask.visible.index.tolist() == [[2, 3], [1, 0]]
    assert mask.visible.valid is not None
    assert mask.visible.valid.tolist() == [[True, True], [True, False]]
    assert mask.asked.index.tolist() == [[0, 1], [0, 0]]


def test_a_known_count_is_not_trusted_to_find_the_visible_ones_beside_padding() -> None:
    mask = Mask(bools("x...", "x..."), valid=bools("xxxx", "xx.."), num_hidden=1)
    assert mask.asked.index.tolist() == [[0], [0]]
    assert mask.visible.index.tolist() == [[1, 2, 3], [1, 0, 0]]


def test_answers_can_be_asked_for_elsewhere_than_hidden() -> None:
    groups = torch.stack([bools("x...", ".x.."), bools("x...", "...x")])
    mask = Mask(bools("xx..", "x..x"), predict=groups, num_predict=1)
    assert mask.asked.index.tolist() == [[[0], [1]], [[0], [3]]]
    assert mask.visible.index.tolist() == [[2, 3], [1, 2]]


def test_places_of_tokens_hold_no_values() -> None:
    tokens = Tokens(VALUES, Set(), valid=bools("xxxx", "xx.."))
    assert tokens.places.values is None
    assert tokens.places.valid is tokens.valid


def test_dropping_leaves_the_mask_alone() -> None:
    mask = Mask(bools("x..x"))
    assert shown_as(Corruption(drop=1), mask).hidden is mask.hidden
    assert shown_as(Corruption(drop=1), mask).show is None


def test_replacing_all_shows_every_place_to_the_encoder() -> None:
    shown = shown_as(Corruption(token=1), Mask(bools("x..x")))
    assert shown.show is not None
    assert (shown.show == TOKEN).all()
    assert shown.seen is None
    assert shown.donor is None


def test_shares_are_bert_s() -> None:
    hidden = torch.ones(40, 500, dtype=torch.bool)
    hidden[:, 0] = False
    mask = shown_as(Corruption(token=0.8, random=0.1, keep=0.1), Mask(hidden), 1)
    assert mask.show is not None
    counts = torch.stack([(mask.show[hidden] == how).sum() for how in (TOKEN, RANDOM, KEPT)]).double()
    expected = hidden.sum() * torch.tensor([0.8, 0.1, 0.1], dtype=torch.double)
    assert counts.sum() == hidden.sum()
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 13.8  # exceeded by chance once in 1,000 with 2 degrees of freedom
    assert not (mask.show == DROPPED).any()


def test_corruption_depends_on_the_streams_alone() -> None:
    mask = Mask(torch.arange(50).expand(4, 50) < 30)
    corruption = Corruption(token=0.5, random=0.5)
    first, again, other = (shown_as(corruption, mask, seed) for seed in (1, 1, 2))
    assert first.show is not None
    assert first.donor is not None
    assert torch.equal(first.show, again.show)
    assert torch.equal(first.donor, again.donor)
    assert not torch.equal(first.show, other.show)
    assert not torch.equal(first.donor, other.donor)


def test_donors_are_drawn_evenly_from_the_visible_places() -> None:
    valid = torch.arange(1000) < torch.tensor([[1000], [20]])
    hidden = (torch.arange(1000) >= torch.tensor([[950], [10]])) & valid
    mask = shown_as(Corruption(token=0.8, random=0.2), Mask(hidden, valid=valid), 0)
    assert mask.donor is not None
    assert mask.donor.shape == (2, 1000)
    assert mask.donor[1].max() < 10
    assert 900 < mask.donor[0].max() < 950
    counts = mask.donor[1].bincount(minlength=10).double()
    assert ((counts - 100) ** 2 / 100).sum() < 27.9  # 1 in 1,000 with 9 degrees of freedom


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"token": 1.2, "keep": -0.2}, r"`token` must be in \[0, 1\], but is 1.2"),
        ({"token": 0.8, "random": 0.1}, "sum to 0.9"),
        ({}, "sum to 0"),
        ({"drop": 0.5, "token": 0.5}, "`drop` must be 0 or 1"),
    ],
)
def test_bad_shares_are_refused(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Corruption(**shares)


def test_donors_of_packed_tokens_are_visible_places_of_the_same_sample() -> None:
    hidden = torch.tensor([True, False, False, True, True, True, False])
    offsets = torch.tensor([0, 3, 3, 7])  # the second sample has no token
    donors = [shown_as(Corruption(random=1), Mask(hidden), seed, offsets).donor for seed in range(50)]
    each = torch.stack(donors)  # type: ignore[arg-type]
    assert set(each[:, 0].tolist()) == {1, 2}
    assert set(each[:, 3:6].flatten().tolist()) == {6}


def test_pooling_by_hand() -> None:
    latent = Latent(torch.tensor([[[1.0, 4], [3, 0]]]), prefix=torch.tensor([[[7.0, 8], [9, 9]]]))
    assert latent.pool().tolist() == [[2, 2]]
    assert latent.pool("max").tolist() == [[3, 4]]
    assert latent.pool("mean+max").tolist() == [[2, 2, 3, 4]]
    assert latent.pool("cls").tolist() == [[7, 8]]


RAGGED = torch.tensor([[[1.0, 4], [3, 0]], [[-5, -6], [99, 99]]])


@pytest.mark.parametrize("seen", [True, False])
def test_pooling_leaves_out_filled_rows_and_padding(seen: bool) -> None:
    valid = bools("xx", "x.")
    latent = Latent(RAGGED, Places(torch.tensor([[0, 1], [2, 0]]), valid) if seen else None)
    given = None if seen else Tokens(None, Sequence(), valid=valid)
    assert latent.pool("mean", given).tolist() == [[2, 2], [-5, -6]]
    assert latent.pool("max", given).tolist() == [[3, 4], [-5, -6]]
    assert latent.pool("mean+max", given).tolist() == [[2, 2, 3, 4], [-5, -6, -5, -6]]


def test_pooling_of_the_seen_ignores_padding_of_the_others() -> None:
    latent = Latent(RAGGED[:1], Places(torch.tensor([[0, 2]])))
    assert latent.pool("mean", Tokens(None, Sequence(), valid=bools("x.xx"))).tolist() == [[2, 2]]


def test_pooling_of_packed_tokens_is_by_sample() -> None:
    packed = Tokens(torch.zeros(3, 2), Sequence(), offsets=torch.tensor([0, 2, 3]))
    latent = Latent(torch.tensor([[1.0, 4], [3, 0], [-5, -6]]))
    assert packed.num_samples == 2
    assert latent.pool("mean", packed.places).tolist() == [[2, 2], [-5, -6]]
    assert latent.pool("mean+max", packed.places).tolist() == [[2, 2, 3, 4], [-5, -6, -5, -6]]


def test_pooling_errors() -> None:
    with pytest.raises(ValueError, match="has no class token"):
        Latent(RAGGED).pool("cls")
    with pytest.raises(ValueError, match="but is 'median'"):
        Latent(RAGGED).pool("median")
