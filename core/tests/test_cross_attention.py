"""Cross-attention: the predictor's options, blocks against torch's own, rotary positions."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from unmask import Corruption, Draws, Grid, Latent, Mask, Sequence, Set, Tokens
from unmask.masks import MultiBlockMask, RandomMask
from unmask.nn import CrossBlock, LayerMixture, rotary, turned
from unmask.predictors import CrossAttentionPredictor
from unmask.testing import PredictorContract

ONE = {"part": None, "memory": None, "width": 24, "depth": 2, "num_heads": 3, "mlp_width": 40, "dropout": 0.0}


class _OnePart(PredictorContract):
    encoder_width = 16

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Grid((3, 4)))


class TestAsked(_OnePart):
    def make(self):
        return CrossAttentionPredictor(16, 4, **ONE, queries="asked", self_attention="none", norm_first=True)


class TestAskedInGroups(_OnePart):
    def make(self):
        return CrossAttentionPredictor(16, 4, **ONE, queries="asked", memory_queries=True, memory_positions=True)

    def tokens(self):
        return Tokens(torch.randn(3, 64, 4), Grid((8, 8)))

    def mask(self):
        return MultiBlockMask()


class TestView(_OnePart):
    def make(self):
        return CrossAttentionPredictor(16, 4, **ONE, memory_norm=True, memory_positions=True, self_attention="before")


class TestRotary(_OnePart):
    def make(self):
        return CrossAttentionPredictor(
            16, 4, **{**ONE, "width": 24, "num_heads": 2}, rotary_base=100.0, norm_first=True
        )

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Sequence())


class TestRotaryAndQueriesInTheMemory(_OnePart):
    def make(self):
        return CrossAttentionPredictor(
            16, 4, **{**ONE, "num_heads": 2}, rotary_base=100.0, queries="asked", memory_queries=True
        )


class TestLayers(_OnePart):
    def make(self):
        return CrossAttentionPredictor(16, 4, **ONE, queries="asked", self_attention="none", num_layers=2)

    def latent(self, tokens, mask):
        last = super().latent(tokens, mask)
        return replace(
            last, inner={number: replace(last, values=torch.randn(*last.values.shape)) for number in range(2)}
        )


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_block_equals_torchs_decoder_layer(norm_first, activation):
    torch.manual_seed(0)
    ours = CrossBlock(24, 3, 40, norm_first=norm_first, activation=activation).eval()
    theirs = nn.TransformerDecoderLayer(
        24, 3, 40, activation=activation, batch_first=True, norm_first=norm_first
    ).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.load_state_dict(ours.state_dict())
    x, memory = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    valid, real = torch.arange(5) < torch.tensor([[5], [4]]), torch.arange(7) < torch.tensor([[6], [7]])
    expected = theirs(x, memory, tgt_key_padding_mask=~valid, memory_key_padding_mask=~real)
    torch.testing.assert_close(ours(x, memory, valid, real), expected)
    # A memory of another width is read by weights of its own, as torch's attention has them.
    wide = CrossBlock(24, 3, 40, self_attention="none", memory_width=10, norm_first=True).eval()
    attention = nn.MultiheadAttention(24, 3, kdim=10, vdim=10, batch_first=True).eval()
    attention.load_state_dict(wide.multihead_attn.state_dict())
    given = torch.randn(2, 7, 10)
    read = x + attention(wide.norm2(x), given, given)[0]
    torch.testing.assert_close(wide(x, given), read + wide.linear2(torch.relu(wide.linear1(wide.norm3(read)))))


def test_turns_of_zero_are_torchs_attention():
    """Positions that turn by nothing leave what `nn.MultiheadAttention` computes."""
    torch.manual_seed(0)
    block = CrossBlock(24, 3, 40, norm_first=True).eval()
    x, memory = torch.randn(2, 5, 24), torch.randn(2, 7, 24)
    real = torch.arange(7) < torch.tensor([[6], [7]])
    none = torch.zeros(2, 5, 2, 2), torch.zeros(2, 7, 2, 2)
    torch.testing.assert_close(block(x, memory, None, real, none), block(x, memory, None, real))
    some = rotary(Sequence(), 5, 8).expand(2, -1, -1, -1), rotary(Sequence(), 7, 8).expand(2, -1, -1, -1)
    assert not torch.allclose(block(x, memory, None, real, some), block(x, memory, None, real), atol=1e-3)


def test_rotary_scores_depend_on_differences_of_positions_alone():
    torch.manual_seed(0)
    angles = rotary(Grid((6, 7)), 42, 16, base=100.0)  # [42, 2, 4]
    q, k = torch.randn(2, 1, 1, 1, 16)
    scores = (turned(q.expand(1, 1, 42, 16), angles) @ turned(k.expand(1, 1, 42, 16), angles).mT)[0, 0]
    scores = scores.view(6, 7, 6, 7)
    torch.testing.assert_close(scores[1:, 2:, 1:, 2:], scores[:-1, :-2, :-1, :-2], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(scores[0, 0, 1, 0], scores[0, 0, 0, 1])  # rows are not columns
    # By hand: row 2, column 3 turns pair i of each half by 2 or 3 times 100 ** (-i / 4).
    by_hand = []
    for half, place in zip(q.flatten().view(2, 8), (2, 3), strict=True):
        pairs = [place * 100 ** (-i / 4) for i in range(4)]
        one = torch.complex(half[:4], half[4:]) * torch.exp(1j * torch.tensor(pairs))
        by_hand += [one.real, one.imag]
    found = turned(q.expand(1, 1, 42, 16), angles)[0, 0, 2 * 7 + 3]
    torch.testing.assert_close(found, torch.cat(by_hand), rtol=1e-5, atol=1e-5)


def test_padding_changes_no_answer():
    torch.manual_seed(0)
    options = {**ONE, "num_heads": 2}
    for more in ({}, {"rotary_base": 100.0}, {"queries": "asked", "memory_queries": True, "memory_positions": True}):
        predictor = CrossAttentionPredictor(16, 4, **options, **more).eval()
        values = torch.randn(2, 10, 16)
        answers = []
        for extra in (0, 3):
            length = 10 + extra
            valid = (torch.arange(length) < 10).expand(2, -1)
            hidden = (torch.arange(length) % 2 == 0).expand(2, -1) & valid
            mask = Mask(hidden, valid=valid)
            codes = torch.cat([values, torch.full((2, extra, 16), 9.0)], 1)
            seen = mask.visible
            latent = Latent(seen.gather(codes), seen)
            answers.append(predictor(latent, Tokens(None, Sequence(), valid=valid), mask).values)
        torch.testing.assert_close(answers[0], answers[1])


def test_a_mixture_by_hand():
    mixture = LayerMixture(4, 2, 3)
    layers = [torch.randn(2, 5, 4) for _ in range(2)]
    with torch.no_grad():
        mixture.shares.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]]))
    norm = nn.functional.layer_norm
    for own, expected in zip(mixture(layers), (layers[0], layers[1], 2 * layers[0] - layers[1]), strict=True):
        torch.testing.assert_close(own, norm(expected, [4], eps=1e-6))
    torch.manual_seed(0)
    assert abs(LayerMixture(4, 100, 50).shares.std() - 0.1) < 0.005  # 1 / sqrt(100)


def test_bad_options_are_refused():
    for options, message in (
        ({"queries": "all"}, "`queries` must be one of view, asked, but is 'all'"),
        ({"self_attention": "both"}, "`self_attention` must be one of none, before, after, but is 'both'"),
        ({"activation": "tanh"}, "`activation` must be one of relu, gelu, but is 'tanh'"),
        ({"rotary_base": 1.0}, r"`rotary_base` must be above 1, but is 1.0"),
        ({"num_layers": 2, "memory_queries": True}, "must be false where `num_layers` is given"),
    ):
        with pytest.raises(ValueError, match=message):
            CrossAttentionPredictor(16, 4, **{**ONE, **options})
    with pytest.raises(ValueError, match="must be a multiple of 4 for 2-D rotary positions, but is 6; nearest: 8"):
        rotary(Grid((2, 2)), 4, 6)
    with pytest.raises(ValueError, match="Rotary positions need a Sequence or Grid layout"):
        rotary(Set(), 4, 8)


def test_what_it_cannot_read_is_refused():
    tokens = Tokens(torch.randn(2, 12, 4), Grid((3, 4)))
    mask = Corruption(drop=1)(tokens, RandomMask(0.5)(tokens, None, Draws.of(0, torch.arange(2)))).mask
    latent = Latent(torch.randn(2, 6, 16), mask.seen)
    with pytest.raises(ValueError, match="must be null where codes come without those of inner layers"):
        CrossAttentionPredictor(16, 4, **ONE, num_layers=2)(latent, tokens.places, mask)
    with pytest.raises(ValueError, match="must have parts `first` and `second`, but have none"):
        CrossAttentionPredictor(16, 4, **{**ONE, "part": "first", "memory": "second"})(latent, tokens.places, mask)
