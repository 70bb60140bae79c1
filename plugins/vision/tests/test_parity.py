"""MAE and SimMIM give the numbers of transformers' models: loss and every gradient, same weights and mask."""

import math

import pytest
import torch
from transformers import (
    Swinv2Config,
    Swinv2ForMaskedImageModeling,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)

from unmask import Corruption
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.exchange import from_transformers, to_transformers
from unmask_vision.methods import MAE, SimMIM
from unmask_vision.tokenizer import PatchTokenizer

WIDTH, DEPTH, HEADS, SIDE, PATCH = 32, 3, 4, 24, 4
OPTIONS = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
COMMON = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
    "image_size": SIDE,
    "patch_size": PATCH,
    "layer_norm_eps": 1e-6,
}


def plain_pixels(patch_size: int, channels: int = 3) -> PatchTokenizer:
    """A tokenizer that leaves pixels as they are, as the other side's inputs are."""
    return PatchTokenizer(patch_size, channels, mean=[0.0] * channels, std=[1.0] * channels)


def shake(model: torch.nn.Module) -> None:
    """Random values everywhere, so that no zero bias or unit norm hides a mistake."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


def assert_same_step(ours, loss, theirs, their_loss):
    """Equal losses, and every gradient equal to 1e-5 of the largest of its tensor."""
    torch.testing.assert_close(loss, their_loss, rtol=1e-5, atol=0)
    loss.backward()
    their_loss.backward()
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in gradients.values())
    mapped = to_transformers(ours, gradients)
    compared = 0
    for name, parameter in theirs.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = parameter.grad.abs().max().item()
        assert scale > 0 or "key" in name or "k_proj.bias" in name, name
        torch.testing.assert_close(mapped[name], parameter.grad, rtol=1e-5, atol=max(1e-5 * scale, 1e-8), msg=name)
        compared += 1
    assert compared == len(mapped)


@pytest.mark.parametrize("normalize", [False, True])
def test_mae_equals_transformers(normalize, given_mask, some_hidden):
    torch.manual_seed(0)
    hidden = some_hidden(3, 36, 27)
    ours = MAE(
        patch_size=PATCH,
        encoder=ViTEncoder("vit_tiny_patch16_224", SIDE, PATCH, positions="sincos", options=OPTIONS),
        predictor=TransformerPredictor(WIDTH, PATCH * PATCH * 3, width=24, depth=2, num_heads=2),
        target=ValueTarget(normalize),
        mask=given_mask(hidden),
        tokenizer=plain_pixels(PATCH),
    )
    shake(ours)
    config = ViTMAEConfig(
        **COMMON,
        decoder_hidden_size=24,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=96,
        mask_ratio=0.75,
        norm_pix_loss=normalize,
    )
    theirs = ViTMAEForPreTraining(config)
    theirs.load_state_dict(to_transformers(ours), strict=True)
    # Position tables of a model built from a config are zero; ours must have arrived.
    assert theirs.vit.embeddings.position_embeddings.abs().sum() > 0
    assert theirs.decoder.decoder_pos_embed.abs().sum() > 0

    image = torch.rand(3, 3, SIDE, SIDE)
    noise = hidden.float() + torch.linspace(0, 0.5, 36)  # they keep the places of least noise
    step = ours.step({"image": image})
    output = theirs(image, noise=noise)
    assert torch.equal(output.mask.bool(), hidden)
    assert_same_step(ours, step.loss.total, theirs, output.loss)


def test_sincos_table_by_hand():
    """Half the width for the column, half for the row; each sin then cos of p and p / 10000 ** 0.5."""
    encoder = ViTEncoder(
        "vit_tiny_patch16_224",
        SIDE,
        PATCH,
        positions="sincos",
        options=OPTIONS | {"embed_dim": 8, "num_heads": 2},
    )
    table = encoder.vit.pos_embed[0]
    assert table.shape == (37, 8) and not table.requires_grad
    assert torch.equal(table[0], torch.zeros(8))  # the class token's position
    row, column = 2.0, 5.0
    by_hand = [f(p * w) for p in (column, row) for f in (math.sin, math.cos) for w in (1.0, 0.01)]
    torch.testing.assert_close(table[1 + 2 * 6 + 5], torch.tensor(by_hand), rtol=0, atol=1e-6)


def test_simmim_vit_equals_transformers(given_mask, some_hidden):
    torch.manual_seed(0)
    hidden = some_hidden(3, 36, 22)
    ours = SimMIM(
        patch_size=PATCH,
        encoder=ViTEncoder("vit_tiny_patch16_224", SIDE, PATCH, mask_token=True, options=OPTIONS),
        mask=given_mask(hidden),
        tokenizer=plain_pixels(PATCH),
    )
    shake(ours)
    theirs = ViTForMaskedImageModeling(ViTConfig(**COMMON, encoder_stride=PATCH))
    theirs.load_state_dict(to_transformers(ours), strict=True)
    image = torch.rand(3, 3, SIDE, SIDE)
    step = ours.step({"image": image})
    output = theirs(image, bool_masked_pos=hidden)
    assert_same_step(ours, step.loss.total, theirs, output.loss)


@pytest.mark.parametrize("channels", [3, 14])
def test_simmim_swinv2_equals_transformers(channels, given_mask, some_hidden):
    torch.manual_seed(0)
    side, patch, depths, heads = 64, 2, (2, 2, 2, 2), (1, 2, 2, 4)
    hidden = some_hidden(2, 32 * 32, 600)
    options = {"embed_dim": 8, "depths": depths, "num_heads": heads, "window_size": 4, "patch_size": patch}
    ours = SimMIM(
        backbone="swinv2",
        patch_size=patch,
        channels=channels,
        encoder=SwinV2Encoder("swinv2_tiny_window8_256", side, channels, options=options),
        mask=given_mask(hidden),
        tokenizer=plain_pixels(patch, channels),
    )
    shake(ours)
    config = Swinv2Config(
        num_channels=channels,
        embed_dim=8,
        depths=list(depths),
        num_heads=list(heads),
        image_size=side,
        patch_size=patch,
        window_size=4,
        encoder_stride=16,
        drop_path_rate=0.0,
        layer_norm_eps=1e-5,
    )
    theirs = Swinv2ForMaskedImageModeling(config)
    theirs.load_state_dict(to_transformers(ours), strict=True)
    image = torch.rand(2, channels, side, side)
    step = ours.step({"image": image})
    output = theirs(image, bool_masked_pos=hidden)
    assert_same_step(ours, step.loss.total, theirs, output.loss)


@pytest.mark.parametrize("method", ["mae", "simmim", "swin"])
def test_weights_map_both_ways(method):
    models = {
        "mae": lambda: MAE(size="tiny", image_size=32, patch_size=8),
        "simmim": lambda: SimMIM(
            patch_size=PATCH,
            encoder=ViTEncoder("vit_tiny_patch16_224", SIDE, PATCH, mask_token=True, options=OPTIONS),
        ),
        "swin": lambda: SimMIM(backbone="swinv2", encoder=SwinV2Encoder("swinv2_tiny_window8_256", 64)),
    }
    model, other = models[method](), models[method]()
    shake(model)
    other.load_state_dict(from_transformers(other, to_transformers(model)), strict=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_mae_can_be_shown_tokens_instead_of_dropping(some_hidden, given_mask):
    """The same method with another corruption: the encoder has a code at every place."""
    hidden = some_hidden(2, 36, 18)
    model = MAE(
        patch_size=PATCH,
        encoder=ViTEncoder("vit_tiny_patch16_224", SIDE, PATCH, mask_token=True, options=OPTIONS),
        mask=given_mask(hidden),
        corruption=Corruption(token=0.8, random=0.1, keep=0.1),
    )
    step = model.step({"image": torch.rand(2, 3, SIDE, SIDE)}, 0)
    assert step.latent.values.shape == (2, 36, WIDTH)
    assert step.prediction.values.shape == (2, 18, PATCH * PATCH * 3)
