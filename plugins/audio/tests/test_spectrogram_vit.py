"""The spectrogram encoder and its decoders beside transformers' blocks, written-out windows and hand-worked tables."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import ASTConfig, ASTModel

from unmask import Corruption, Grid, Latent, Mask, Places, Sequence, Set, Tokens
from unmask.masks import RandomMask
from unmask.testing import masked, streams
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.predictors import FramePredictor, LocalDecoder

AST_NAMES = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def tokens_on(layout, num_tokens, batch=2, width=12, valid=None):
    values = torch.randn(batch, num_tokens, width, generator=torch.Generator().manual_seed(0))
    return Tokens(values, layout, valid=valid)


def shaken(module):
    """Random values everywhere, so that no zero bias or unit norm hides a mistake."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return module.eval()


def test_codes_equal_those_of_transformers_ast():
    """The whole of AST on patches of 4 by 4 that do not overlap: embedding, blocks and norm, and two prefix tokens.

    AST lays its tokens out by frequency first, has a distillation token and learned positions: it is given our
    positions in its order, and its own embedding of the two tokens is taken out of both sides.
    """
    torch.manual_seed(0)
    times, frequencies, width = 6, 3, 24
    config = ASTConfig(
        hidden_size=width, num_hidden_layers=3, num_attention_heads=4, intermediate_size=4 * width, patch_size=4,
        frequency_stride=4, time_stride=4, max_length=4 * times, num_mel_bins=4 * frequencies, layer_norm_eps=1e-6,
    )  # fmt: skip
    ours, theirs = shaken(SpectrogramViT(width, 3, 4, 16)), shaken(ASTModel(config))
    state = {f"layernorm.{end}": tensor for end, tensor in ours.trunk.norm.state_dict().items()}
    for number, block in enumerate(ours.trunk.blocks):
        for end in ("weight", "bias"):
            q, k, v = getattr(block.attn.qkv, end).detach().chunk(3)
            state |= {
                f"layers.{number}.attention.{name}_proj.{end}": part
                for name, part in zip("qkv", (q, k, v), strict=True)
            }
            for here, there in AST_NAMES.items():
                state[f"layers.{number}.{there}.{end}"] = block.get_submodule(here).state_dict()[end]
    left = theirs.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert all(name.startswith("embeddings.") for name in left.missing_keys)

    # The embedding: a convolution over (frequency, time), positions in the order of frequency first.
    embeddings = theirs.embeddings
    spectrogram = torch.randn(2, 4 * times, 4 * frequencies)
    patches = spectrogram.view(2, times, 4, frequencies, 4).transpose(2, 3).reshape(2, times * frequencies, 16)
    tokens = Tokens(patches, Grid((times, frequencies)))
    with torch.no_grad():
        kernel = ours.embed.weight.view(width, 1, 4, 4).transpose(2, 3)
        embeddings.patch_embeddings.projection.weight.copy_(kernel)
        embeddings.patch_embeddings.projection.bias.copy_(ours.embed.bias)
        positions = ours._positions(tokens).view(times, frequencies, width).transpose(0, 1).reshape(1, -1, width)
        embeddings.position_embeddings.zero_()[:, 2:] = positions
        embeddings.cls_token.copy_(ours.cls_token)
        # Ours has one prefix token: a second copy of it that attends and is attended to like the first.
        embeddings.distillation_token.copy_(ours.cls_token)
        found = theirs(spectrogram).last_hidden_state[:, 2:]
        ours_two = torch.cat([ours.cls_token.expand(2, 2, -1), ours.embed(patches) + ours._positions(tokens)], dim=1)
        for block in ours.trunk.blocks:
            ours_two = block(ours_two)
        ours_two = ours.trunk.norm(ours_two)[:, 2:]
    by_frequency = ours_two.view(2, times, frequencies, width).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(found, by_frequency, rtol=0, atol=1e-5)


def test_positions_by_hand_right_and_swapped():
    """Of 8 numbers half code frequency, half time; swapped, the token at (2, 1) of 6 by 3 has place 7 of 3 by 6."""
    tokens = tokens_on(Grid((6, 3)), 18)

    def code(time, frequency):
        return torch.tensor([f(p * w) for p in (frequency, time) for f in (math.sin, math.cos) for w in (1.0, 0.01)])

    right, swapped = (
        SpectrogramViT(8, 1, 2, 12, positions=name)._positions(tokens)[0] for name in ("sincos", "swapped")
    )
    torch.testing.assert_close(right[2 * 3 + 1], code(2.0, 1.0), rtol=0, atol=1e-6)
    torch.testing.assert_close(swapped[2 * 3 + 1], code(1.0, 1.0), rtol=0, atol=1e-6)  # place 7 of rows of 6


def test_only_what_is_shown_is_computed_and_order_does_not_matter():
    torch.manual_seed(0)
    encoder = shaken(SpectrogramViT(16, 2, 2, 12))
    tokens = tokens_on(Grid((4, 4)), 16)
    mask = RandomMask(0.75)(tokens, None, streams(tokens, 0))
    with torch.no_grad():
        latent = encoder(tokens, mask)
        assert latent.values.shape == (2, 4, 16)
        assert latent.prefix.shape == (2, 1, 16)
        # A sample of nothing but the visible tokens, with the same positions, has the same codes.
        visible = mask.visible.gather(tokens.values)
        x = encoder.embed(visible) + mask.visible.gather(encoder._positions(tokens).expand(2, -1, -1))
        x = torch.cat([encoder.cls_token.expand(2, -1, -1), x], dim=1)
        torch.testing.assert_close(latent.values, encoder.trunk(x)[:, 1:])
        whole = encoder(tokens)
        torch.testing.assert_close(encoder.trunk.norm(encoder(tokens, layer=2).values), whole.values)


def test_padding_changes_nothing():
    torch.manual_seed(0)
    encoder = shaken(SpectrogramViT(16, 2, 2, 12))
    decoder = shaken(LocalDecoder(16, 12, 16, 4, 2, window=(3, 2), shift=(1, 1)))
    valid = (torch.arange(8)[:, None] < torch.tensor([8, 3])[:, None, None]).expand(2, 8, 3).flatten(1)
    tokens = tokens_on(Grid((8, 3)), 24, valid=valid)
    alone = Tokens(tokens.values[1:, :9], Grid((3, 3)))
    hidden = torch.zeros(2, 24, dtype=torch.bool)
    hidden[:, [1, 4, 6]] = True
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens).values[1, :9], encoder(alone).values[0])
        mask, one = Mask(hidden, valid=valid), Mask(hidden[1:, :9])
        several = decoder(encoder(tokens, mask), tokens.places, mask).values[1]
        torch.testing.assert_close(several, decoder(encoder(alone, one), alone.places, one).values[0])
        assert several.isfinite().all()


@pytest.mark.parametrize(("grid", "window", "shift"), [((8, 4), (4, 4), (2, 0)), ((7, 5), (4, 2), (1, 1))])
def test_the_local_decoder_attends_within_windows_as_written_out(grid, window, shift):
    """Full attention over the grid, with a mask of who shares a window with whom, gives the same answers."""
    torch.manual_seed(0)
    rows, columns = grid
    decoder = shaken(LocalDecoder(16, 12, 24, 4, 3, window, shift))
    tokens = tokens_on(Grid(grid), rows * columns)
    mask = RandomMask(0.8)(tokens, None, streams(tokens, 0))
    codes = torch.randn(2, mask.visible.index.shape[1], 16)
    with torch.no_grad():
        found = decoder(Latent(codes, mask.visible, None), tokens.places, mask).values

        x = decoder.mask_token.expand(2, rows * columns, -1).clone()
        for sample, index in enumerate(mask.visible.index):
            x[sample, index] = decoder.embed(codes[sample])
        x = x + SpectrogramViT(24, 1, 3, 12)._positions(tokens)
        place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))  # [N, 2]
        for number, block in enumerate(decoder.trunk.blocks):
            # Windows moved towards the end by `shift`: the first one begins before the grid and is cut by its edge.
            moved = torch.tensor(shift) if number % 2 else torch.zeros(2, dtype=torch.long)
            of = (place - moved).div(torch.tensor(window), rounding_mode="floor")
            together = (of[:, None] == of[None]).all(-1)  # [N, N]
            h = block.norm1(x)
            q, k, v = block.attn.qkv(h).unflatten(-1, (3, 3, 8)).permute(2, 0, 3, 1, 4)
            scores = (q @ k.mT / 8**0.5).masked_fill(~together, float("-inf")).softmax(-1)
            x = x + block.attn.proj((scores @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        answers = decoder.head(decoder.trunk.norm(x))
    expected = torch.stack([row[index] for row, index in zip(answers, mask.asked.index, strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "corruption",
    [Corruption(drop=1), Corruption(token=1), Corruption(token=0.4, random=0.6)],
    ids=["drop", "token", "random"],
)
@pytest.mark.parametrize(("positions", "learned"), [("sincos", True), ("swapped", False)])
def test_codes_do_not_depend_on_hidden_values(positions, learned, corruption, training):
    torch.manual_seed(0)
    encoder = SpectrogramViT(16, 2, 2, 12, positions, mask_token=learned).train(training)
    tokens = tokens_on(Grid((4, 3)), 12)
    mask = masked(tokens, RandomMask(0.6), corruption, 0)

    def codes(values):
        with torch.no_grad():
            latent = encoder(replace(tokens, values=values), mask)
        return torch.cat([latent.prefix, latent.values], dim=1)

    before = codes(tokens.values)
    hidden = mask.hidden[..., None]
    for other in (torch.randn_like(tokens.values), torch.full_like(tokens.values, float("nan"))):
        assert torch.equal(codes(torch.where(hidden, other, tokens.values)), before)
    # The test can fail: a visible number does change the codes.
    assert not torch.equal(codes(torch.where(hidden, tokens.values, tokens.values + 0.1)), before)


def test_the_frame_predictor_by_hand():
    torch.manual_seed(0)
    predictor = shaken(FramePredictor(6, 4))
    codes = torch.randn(2, 5, 6)
    hidden = torch.tensor([[True, False, True, False, False]]).expand(2, -1)
    mask = Mask(hidden, num_hidden=2)
    found = predictor(Latent(codes), tokens_on(Sequence(), 5).places, mask).values
    x = codes[:, [0, 2]] @ predictor.dense.weight.T + predictor.dense.bias
    x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = predictor.head(x * predictor.norm.weight + predictor.norm.bias)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="needs a code at every place"):
        predictor(Latent(codes[:, :3], mask.visible), tokens_on(Sequence(), 5).places, mask)


def _local(layout, predict=None):
    num_tokens = 12
    tokens = tokens_on(layout, num_tokens)
    mask = Mask(torch.arange(num_tokens).expand(2, -1) < 6, predict, num_hidden=6)
    codes = Latent(torch.zeros(2, 6, 16), Places(mask.visible.index))
    return LocalDecoder(16, 12, 16, 1, 2)(codes, tokens.places, mask)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpectrogramViT(depth=0), "`depth` must be at least 1, but is 0"),
        (lambda: SpectrogramViT(positions="learned"), "`positions` must be one of sincos, swapped, but is 'learned'"),
        (lambda: SpectrogramViT(drop_path_ratio=1.0), r"`drop_path_ratio` must be in \[0, 1\), but is 1.0"),
        (lambda: SpectrogramViT(16, 1, 2)(tokens_on(Grid((3, 4)), 12)), "`token_width` must be 12, .* but is 256"),
        (lambda: SpectrogramViT(16, 1, 2, 12)(tokens_on(Set(), 12)), "dense tokens of a Sequence or a Grid"),
        (lambda: SpectrogramViT(16, 2, 2, 12)(tokens_on(Grid((3, 4)), 12), layer=3), r"`layer` must be in \[1, 2\]"),
        (lambda: LocalDecoder(16, 12, depth=0), "`depth` must be at least 1, but is 0"),
        (lambda: LocalDecoder(16, 12, window=(0, 4)), "`window` must be at least 1 patch"),
        (lambda: LocalDecoder(16, 12, shift=(4, 0)), r"`shift` must be in \[0, window = \(4, 4\)\), but is \(4, 0\)"),
        (lambda: _local(Sequence()), "dense tokens of a 2-D Grid"),
        (lambda: _local(Grid((3, 4)), torch.ones(2, 2, 12, dtype=torch.bool)), "asks in groups"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_a_learned_token_hidden_places_are_zeros():
    torch.manual_seed(0)
    encoder = shaken(SpectrogramViT(16, 2, 2, 12))
    tokens = tokens_on(Sequence(), 12)
    mask = masked(tokens, RandomMask(0.5), Corruption(token=1), 0)
    zeros = replace(tokens, values=tokens.values.masked_fill(mask.hidden[..., None], 0))
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens, mask).values, encoder(zeros).values)
