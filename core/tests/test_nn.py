"""Positions by hand; the block against timm's with the same weights."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import Block as TimmBlock
from torch import nn

from unmask.nn import Block, Transformer, attend, plain_is_quicker, sincos
from unmask.structures import Grid, Sequence, Set


def test_positions_of_a_sequence_by_hand() -> None:
    table = sincos(Sequence(), 3, 4)
    expected = [[math.sin(p), math.sin(p / 100), math.cos(p), math.cos(p / 100)] for p in range(3)]
    assert table.numpy() == pytest.approx(np.array(expected), abs=1e-7)


def test_positions_of_a_plane_put_columns_first() -> None:
    table = sincos(Grid((2, 3)), 6, 8).numpy()
    for row in range(2):
        for column in range(3):
            expected = [f(p / s) for p in (column, row) for f in (math.sin, math.cos) for s in (1, 100)]
            assert table[3 * row + column] == pytest.approx(expected, abs=1e-7)


def test_positions_of_a_volume_put_columns_first() -> None:
    table = sincos(Grid((2, 3, 4)), 24, 6).numpy()
    depth, row, column = 1, 2, 3
    expected = [f(p) for p in (column, row, depth) for f in (math.sin, math.cos)]
    assert table[12 * depth + 4 * row + column] == pytest.approx(expected, abs=1e-7)
    assert len(np.unique(table.round(5), axis=0)) == 24


def test_positions_made_in_validation_serve_training() -> None:
    with torch.inference_mode():
        table = sincos(Grid((5, 7)), 35, 12)
    scale = torch.ones(12, requires_grad=True)
    (sincos(Grid((5, 7)), 35, 12) * scale).sum().backward()
    torch.testing.assert_close(scale.grad, table.sum(0))


@pytest.mark.parametrize(
    ("layout", "num_tokens", "width", "message"),
    [
        (Set(), 4, 8, "need a Sequence or Grid layout"),
        (Grid((2, 3)), 5, 8, r"has 6 places, but there are 5 tokens"),
        (Sequence(), 4, 7, "`width` must be a multiple of 2 for 1-D positions, but is 7; nearest: 8"),
        (Grid((2, 2)), 4, 10, "`width` must be a multiple of 4 for 2-D positions, but is 10; nearest: 8"),
        (Grid((1, 2, 2)), 4, 2, "`width` must be a multiple of 6 for 3-D positions, but is 2; nearest: 6"),
    ],
)
def test_position_errors(layout, num_tokens: int, width: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sincos(layout, num_tokens, width)


def random_block() -> tuple[Block, TimmBlock]:
    torch.manual_seed(0)
    ours = Block(24, 4, mlp_ratio=2.0)
    theirs = TimmBlock(24, 4, mlp_ratio=2.0, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def test_block_equals_timm_s_with_gradients() -> None:
    ours, theirs = random_block()
    x = torch.randn(2, 5, 24)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.randn(2, 5, 24)
    first, second = ours(a), theirs(b)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    (first * weight).sum().backward()
    (second * weight).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)
    for (name, mine), (other, other_parameter) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        torch.testing.assert_close(mine.grad, other_parameter.grad, rtol=1e-4, atol=1e-4)


def test_padding_does_not_influence_the_real_ones() -> None:
    torch.manual_seed(0)
    trunk = Transformer(24, 3, 4)
    x = torch.randn(2, 6, 24)
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    first = trunk(x, valid)
    second = trunk(torch.where(valid[..., None], x, torch.full((), 50.0)), valid)
    torch.testing.assert_close(first[valid], second[valid], rtol=0, atol=0)
    torch.testing.assert_close(first[1:, :4], trunk(x[1:, :4]), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(trunk(x)[1, :4], first[1, :4], atol=1e-3), "valid must matter"


def test_no_gradient_reaches_padding_from_the_real_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 6, 24, requires_grad=True)
    Transformer(24, 2, 4)(x, torch.tensor([[True] * 4 + [False] * 2]))[:, :4].square().sum().backward()
    assert x.grad is not None
    assert (x.grad[0, 4:] == 0).all()
    assert (x.grad[0, :4].abs().sum(-1) > 0).all()


def test_drop_path_skips_samples_at_its_rate_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, drop_path_ratio=0.25)
    branch = torch.full((8000, 3, 8), 3.0)
    dropped = block._drop_path(branch)
    per_sample = dropped[:, 0, 0]
    assert (dropped == per_sample[:, None, None]).all(), "a sample is skipped as a whole"
    assert per_sample.unique().tolist() == pytest.approx([0, 4])  # 3 / 0.75
    skipped = (per_sample == 0).float().mean().item()
    assert abs(skipped - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 8000)
    assert block.eval()._drop_path(branch) is branch


def test_a_skipped_sample_passes_unchanged() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, drop_path_ratio=0.5)
    x = torch.randn(400, 3, 8)
    unchanged = (block(x) == x).flatten(1).all(1).float().mean().item()
    assert abs(unchanged - 0.25) < 0.09  # both branches skipped; 4 standard errors
    assert not (block.eval()(x) == x).flatten(1).all(1).any()


def test_drop_path_grows_with_depth() -> None:
    ratios = [block.drop_path_ratio for block in Transformer(8, 4, 2, drop_path_ratio=0.3).blocks]
    assert ratios == pytest.approx([0, 0.1, 0.2, 0.3])


def test_initialisation_is_xavier_with_zero_biases() -> None:
    torch.manual_seed(0)
    fc1 = Transformer(64, 1, 4).blocks[0].mlp.fc1
    bound = math.sqrt(6 / (64 + 256))
    assert bound * 0.99 < fc1.weight.abs().max() <= bound
    assert fc1.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert (fc1.bias == 0).all()


def test_width_must_fit_the_heads() -> None:
    with pytest.raises(ValueError, match=r"`width` must be a multiple of `num_heads` \(3\), but is 8"):
        Transformer(8, 1, 3)


@pytest.mark.parametrize("mask", ["none", "bool", "added"])
def test_plain_attention_equals_the_fused_one(mask, monkeypatch):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8, dtype=torch.float64, requires_grad=True) for n in (5, 7, 7))
    masks = {"none": None, "bool": torch.rand(2, 1, 1, 7) < 0.8, "added": torch.randn(1, 3, 5, 7, dtype=torch.float64)}
    if mask == "bool":
        masks["bool"][..., 0] = True  # each query has a key
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v, masks[mask])
    expected = torch.autograd.grad(fused.square().sum(), (q, k, v))
    monkeypatch.setattr("unmask.nn.attention.plain_is_quicker", lambda x: True)
    plain = attend(q, k, v, masks[mask])
    torch.testing.assert_close(plain, fused)
    for got, wanted in zip(torch.autograd.grad(plain.square().sum(), (q, k, v)), expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_plain_attention_is_for_training_in_bfloat16_on_cpu(monkeypatch):
    x = torch.zeros(1, 1, 2, 4)
    assert not plain_is_quicker(x)
    assert plain_is_quicker(x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert plain_is_quicker(x)
        with torch.no_grad():
            assert not plain_is_quicker(x)
    monkeypatch.setattr("unmask.nn.attention.MOST_SCORES", 3)  # too many scores to hold: fused
    monkeypatch.setattr(torch.Tensor, "softmax", None)
    assert attend(x.bfloat16(), x.bfloat16(), x.bfloat16()).shape == x.shape
