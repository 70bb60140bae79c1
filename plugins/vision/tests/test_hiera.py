"""Hiera by mask units: timm's features, and MAE as transformers has it."""

import pytest
import timm
import torch
from transformers import HieraConfig, HieraForPreTraining

from unmask import Corruption
from unmask.masks import RandomMask
from unmask.nn import sincos
from unmask.predictors import TransformerPredictor
from unmask.testing import EncoderContract, MethodContract, shaken
from unmask_vision.encoders import HieraEncoder
from unmask_vision.methods import MAE
from unmask_vision.tokenizer import PatchTokenizer

OPTIONS = {"embed_dim": 8, "num_heads": 1, "stages": (1, 1, 2, 1)}
TINY = {
    "embed_dim": 16, "num_heads": 1, "stages": (1, 1), "q_pool": 1, "mask_unit_size": (2, 2), "patch_kernel": (3, 3),
    "patch_stride": (1, 1), "patch_padding": (1, 1), "mask_unit_attn": (True, False),
}  # fmt: skip


def test_the_last_stage_is_timms():
    torch.manual_seed(0)
    encoder = shaken(HieraEncoder("hiera_tiny_224", 96, options=OPTIONS)).eval()
    peer = timm.create_model("hiera_tiny_224", num_classes=0, img_size=(96, 96), **OPTIONS).eval()
    peer.load_state_dict(encoder.net.state_dict(), strict=True)
    tokenizer = PatchTokenizer(32)
    image = torch.rand(2, 3, 96, 96)
    pixels = (image - tokenizer.mean) / tokenizer.std
    keep = torch.tensor([[1, 0, 0, 1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0, 1, 1, 0]]).bool()
    from unmask import Mask

    with torch.no_grad():
        assert torch.equal(encoder(tokenizer(image), layer=4).values, peer.forward_features(pixels))
        ours = encoder(tokenizer(image), Mask(~keep), layer=4).values
        theirs = peer.forward_features(pixels, mask=keep)
    torch.testing.assert_close(ours, theirs)


def renamed(ours, config):
    """Our weights under the names of transformers."""
    state = {}
    own = ours.encoder.state_dict()
    state["hiera.embeddings.position_embeddings"] = own["net.pos_embed"]
    for kind in ("weight", "bias"):
        state[f"hiera.embeddings.patch_embeddings.projection.{kind}"] = own[f"net.patch_embed.proj.{kind}"]
        state[f"encoder_norm.{kind}"] = own[f"norm.{kind}"]
        for stage in range(3):
            state[f"multiscale_fusion.multi_scale_fusion_heads.{stage}.{kind}"] = own[f"heads.{stage}.{kind}"]
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.qkv": "attn.qkv", "attn.proj": "attn.proj",
             "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "proj": "proj"}  # fmt: skip
    number = 0
    for stage, depth in enumerate(config.depths):
        for layer in range(depth):
            for mine, their in names.items():
                for kind in ("weight", "bias"):
                    if f"net.blocks.{number}.{mine}.{kind}" in own:
                        state[f"hiera.encoder.stages.{stage}.layers.{layer}.{their}.{kind}"] = own[
                            f"net.blocks.{number}.{mine}.{kind}"
                        ]
            number += 1
    decoder = ours.predictor.state_dict()
    order = torch.arange(32 * 32 * 3).view(32, 32, 3).permute(2, 0, 1).flatten()  # colour, row, column
    state["decoder.mask_token"] = decoder["mask_token"]
    state["decoder.decoder_position_embeddings"] = sincos(ours.layout, 9, 16)[None]
    for kind in ("weight", "bias"):
        state[f"decoder.decoder_embeddings.{kind}"] = decoder[f"embed.{kind}"]
        state[f"decoder.decoder_norm.{kind}"] = decoder[f"trunk.norm.{kind}"]
        state[f"decoder.decoder_pred.{kind}"] = decoder[f"head.{kind}"][order]
        for layer in range(2):
            for mine, their in names.items():
                if mine != "proj":
                    state[f"decoder.decoder_block.layers.{layer}.{their}.{kind}"] = decoder[
                        f"trunk.blocks.{layer}.{mine}.{kind}"
                    ]
    return state


def test_mae_equals_transformers(given_mask, some_hidden):
    torch.manual_seed(0)
    hidden = some_hidden(2, 9, 5)
    ours = shaken(
        MAE(
            patch_size=32,
            encoder=HieraEncoder("hiera_tiny_224", 96, options=OPTIONS),
            predictor=TransformerPredictor(64, 32 * 32 * 3, width=16, depth=2, num_heads=2),
            mask=given_mask(hidden),
            tokenizer=PatchTokenizer(32, mean=[0.0] * 3, std=[1.0] * 3),
        )
    ).eval()
    image = torch.rand(2, 3, 96, 96)
    ours.layout = ours.tokenizer(image).layout
    config = HieraConfig(
        embed_dim=8, image_size=[96, 96], depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], decoder_hidden_size=16,
        decoder_depth=2, decoder_num_heads=2, mask_ratio=5 / 9, normalize_pixel_loss=True, layer_norm_eps=1e-6,
        drop_path_rate=0.0,
    )  # fmt: skip
    theirs = HieraForPreTraining(config).eval()
    theirs.load_state_dict(renamed(ours, config), strict=True)
    output = theirs(image, noise=hidden.float() + torch.linspace(0, 0.5, 9))
    step = ours.step({"image": image}, 0)
    torch.testing.assert_close(step.loss.total, output.loss, rtol=1e-4, atol=1e-6)
    step.loss.total.backward()
    output.loss.backward()
    torch.testing.assert_close(
        ours.encoder.net.patch_embed.proj.weight.grad,
        theirs.hiera.embeddings.patch_embeddings.projection.weight.grad,
        rtol=1e-3, atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HieraEncoder("hiera_basic"), "must be a `hiera_.*nearest: hiera_base"),
        (lambda: HieraEncoder("hiera_tiny_224", 64, options={"q_pool": 2}), "must end as 1 code.*nearest `mask_unit"),
        (
            lambda: HieraEncoder("hiera_tiny_224", 64, options=OPTIONS)(PatchTokenizer(16)(torch.rand(1, 3, 64, 64))),
            "`patch_size` must be 32, a mask unit",
        ),
        (
            lambda: HieraEncoder("hiera_tiny_224", 64, options=OPTIONS)(PatchTokenizer(32)(torch.rand(1, 3, 96, 64))),
            "must have 2 x 2 mask units.*have 3 x 2",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class TestHieraEncoder(EncoderContract):
    corruptions = (Corruption(drop=1),)

    def make(self):
        return HieraEncoder("hiera_tiny_224", 8, 1, options=TINY)

    def tokens(self):
        return PatchTokenizer(2, 1)(torch.rand(3, 1, 8, 8))


class TestMAEOnHiera(MethodContract):
    lr = 1e-2

    def make(self):
        return MAE(
            patch_size=2,
            channels=1,
            encoder=HieraEncoder("hiera_tiny_224", 8, 1, options=TINY),
            predictor=TransformerPredictor(32, 4, width=16, depth=1, num_heads=2),
            mask=RandomMask(0.5),
        )

    def batch(self):
        return {"image": torch.rand(4, 1, 8, 8)}
