"""ViTEncoder and SwinV2Encoder are timm's models: same names, strict weights, same features."""

import pytest
import timm
import torch

from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.methods import SimMIM
from unmask_vision.tokenizer import PatchTokenizer

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "vit_base_patch16_siglip_224",
        "vit_base_patch32_clip_224",
        "vit_medium_patch16_reg4_gap_256",
        "vit_srelpos_small_patch16_224",
        "vit_relpos_base_patch16_cls_224",
        "vit_small_patch16_dinov3",
        "vit_small_patch16_rope_224",
        "vit_small_patch16_rope_mixed_ape_224",
        "vit_pe_core_tiny_patch16_384",
    ],
)
@pytest.mark.parametrize("channels", [3, 1])
def test_vit_equals_timm(name, channels):
    torch.manual_seed(0)
    encoder = ViTEncoder(name, image_size=64, patch_size=8, channels=channels, options=SMALL).eval()
    peer = timm.create_model(name, img_size=64, patch_size=8, in_chans=channels, num_classes=0, **SMALL).eval()
    peer.load_state_dict(encoder.vit.state_dict(), strict=True)
    tokenizer = PatchTokenizer(8, channels)
    image = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        latent = encoder(tokenizer(image))
        theirs = peer.forward_features((image - tokenizer.mean) / tokenizer.std)
    ours = latent.values if latent.prefix is None else torch.cat([latent.prefix, latent.values], 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_vit_with_a_rectangular_image():
    torch.manual_seed(0)
    encoder = ViTEncoder("vit_tiny_patch16_224", (16, 32), 4, positions="sincos", options=SMALL).eval()
    image = torch.rand(2, 3, 16, 32)
    tokenizer = PatchTokenizer(4)
    with torch.no_grad():
        ours = encoder(tokenizer(image))
        theirs = encoder.vit.forward_features((image - tokenizer.mean) / tokenizer.std)
    torch.testing.assert_close(ours.values, theirs[:, 1:], rtol=1e-5, atol=1e-5)


def test_swinv2_equals_timm():
    torch.manual_seed(0)
    options = {"embed_dim": 16, "depths": (1, 2, 1, 1), "num_heads": (1, 1, 2, 2)}
    encoder = SwinV2Encoder("swinv2_tiny_window8_256", 64, options=options).eval()
    peer = timm.create_model("swinv2_tiny_window8_256", img_size=64, num_classes=0, **options).eval()
    peer.load_state_dict(encoder.swin.state_dict(), strict=True)
    image = torch.rand(2, 3, 64, 64)
    tokenizer = PatchTokenizer(4)
    with torch.no_grad():
        ours = encoder(tokenizer(image)).values
        theirs = peer.forward_features((image - tokenizer.mean) / tokenizer.std).flatten(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large", "huge"])
def test_paper_sizes(size):
    """Parameters of the encoder without head, in millions: ViT paper table 1 (B, L, H) and DeiT (Ti, S)."""
    from unmask_vision.methods.mae import SIZES

    name = SIZES[size][0]
    with torch.device("meta"):
        peer = timm.create_model(name, num_classes=0)
    millions = sum(p.numel() for p in peer.parameters()) / 1e6
    expected = {"tiny": 5.5, "small": 21.7, "base": 85.8, "large": 303.3, "huge": 630.8}
    assert millions == pytest.approx(expected[size], rel=0.01)


def test_no_parameter_is_left_without_gradient():
    """A parameter that never gets a gradient stops distributed training."""
    encoder = ViTEncoder("vit_medium_patch16_reg4_gap_256", 32, 8, options=SMALL)
    latent = encoder(PatchTokenizer(8)(torch.rand(2, 3, 32, 32)))
    (latent.values.sum() + latent.prefix.sum()).backward()
    assert [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vit_tinny_patch16_224"}, "nearest: vit_tiny_patch16_224"),
        ({"positions": "sincos", "name": "vit_srelpos_small_patch16_224"}, "no position table"),
        ({"positions": "sin"}, "`positions` must be 'timm', 'sincos' or 'none', but is 'sin'"),
        ({"options": {"embed_dimm": 3}}, "`options` do not fit"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        ViTEncoder(**({"name": "vit_tiny_patch16_224"} | arguments))


def test_tokens_of_another_patch_are_refused():
    encoder = ViTEncoder("vit_tiny_patch16_224", 32, 8, options=SMALL)
    with pytest.raises(ValueError, match="must have 8x8x3 = 192 values"):
        encoder(PatchTokenizer(4)(torch.rand(1, 3, 16, 16)))


def test_simmim_starts_like_its_released_code():
    """timm's own defaults are other ones: branches scaled by 1e-6, and no bias on queries, keys and values."""
    block = SimMIM(image_size=64).encoder.vit.blocks[0]
    assert (block.ls1.gamma == 0.1).all()
    assert (block.ls2.gamma == 0.1).all()
    assert block.attn.qkv.bias is not None
