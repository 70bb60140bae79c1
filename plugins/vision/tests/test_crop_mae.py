"""CropMAE: two views, one encoder, a decoder that looks the crop up in the whole."""

import pytest
import torch
from torch import nn

from unmask.masks import MaskByPart, NoMask
from unmask.nn import sincos
from unmask.predictors import CrossAttentionPredictor
from unmask_vision.data import NestedCrops
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import CropMAE


def encoder():
    return ViTEncoder(
        "vit_tiny_patch16_224", 16, 4, positions="sincos", options={"embed_dim": 32, "depth": 2, "num_heads": 2}
    )


@pytest.fixture
def hidden(some_hidden):
    return some_hidden(3, 16, 13)


@pytest.fixture
def model(given_mask, hidden):
    torch.manual_seed(0)
    decoder = CrossAttentionPredictor(32, 48, width=24, depth=2, num_heads=3, mlp_width=40, dropout=0.1)
    mask = MaskByPart({"whole": NoMask(), "local": given_mask(hidden)})
    made = CropMAE(patch_size=4, encoder=encoder(), predictor=decoder, mask=mask).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(3, 3, 16, 16, generator=generator) for name in ("image", "local")}


def test_the_step_equals_torchs_decoder_layers(model, hidden, batch):
    """Each view through the encoder by itself; the sublayers of `nn.TransformerDecoderLayer`, read cross-attention,
    MLP, self-attention; the loss on normalised pixels of hidden patches, all by other code than the step's."""
    step = model.step(batch, 0)
    whole, local = (model.tokenizer.patches({"image": batch[name]}) for name in ("image", "local"))
    predictor = model.predictor
    with torch.no_grad():
        memory = model.encoder(whole)
        seen = model.encoder(local, step.mask.part("local"))
        table = sincos(local.layout, 16, 24)
        x = predictor.mask_token.repeat(3, 16, 1)
        x[~hidden] = predictor.embed(seen.values).flatten(0, 1)
        x = torch.cat([predictor.embed(seen.prefix), x + table], dim=1)
        given = predictor.embed(torch.cat([memory.prefix, memory.values], dim=1))
        for block in predictor.blocks:
            theirs = nn.TransformerDecoderLayer(24, 3, 40, batch_first=True).eval()
            theirs.load_state_dict(block.state_dict())
            x = theirs.norm2(x + theirs._mha_block(x, given, None, None))
            x = theirs.norm3(x + theirs._ff_block(x))
            x = theirs.norm1(x + theirs._sa_block(x, None, None))
        answers = predictor.head(x[:, 1:])[hidden]
        pixels = local.values[hidden]
        mean, var = pixels.mean(-1, keepdim=True), pixels.var(-1, keepdim=True)
        loss = (answers - (pixels - mean) / (var + 1e-6).sqrt()).square().mean()
    torch.testing.assert_close(step.prediction.part("local").values.flatten(0, 1), answers)
    torch.testing.assert_close(step.loss.total, loss)


def test_no_hidden_pixel_of_the_crop_reaches_the_answers(model, hidden, batch):
    covered = hidden.view(3, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    unknown = torch.where(covered, torch.nan, batch["local"])
    answers = model.step(batch, 0).prediction.part("local").values
    assert torch.equal(model.step({**batch, "local": unknown}, 0).prediction.part("local").values, answers)
    # The test can fail: what is visible of the crop, and all of the whole view, do reach them.
    for other in ({"local": torch.where(covered, batch["local"], 0.5)}, {"image": 1 - batch["image"]}):
        assert not torch.equal(model.step({**batch, **other}, 0).prediction.part("local").values, answers)


def test_what_is_used_afterwards_is_the_encoder_on_whole_images(model, batch):
    torch.testing.assert_close(
        model.embed({"image": batch["image"]}).values, model.encoder(model.tokenizer.patches(batch)).values
    )


def test_images_without_a_crop_are_cropped_in_their_middle(model):
    """By two thirds of a side, so that 11 of 16 rows stay."""
    row = torch.linspace(0, 1, 16)[:, None].expand(1, 3, 16, 16)
    tokens = model.tokenizer({"image": row})
    local = model.tokenizer.patches.render(tokens.part("local"))[0]
    assert local.min() >= 255 * (2 / 15) - 8
    assert local.max() <= 255 * (13 / 15) + 8


def test_nested_crops_lie_within_each_other():
    """Of an image whose pixels tell their own place."""
    at = torch.linspace(0, 1, 64)
    image = torch.stack([at[:, None].expand(64, 64), at.expand(64, 64), torch.zeros(64, 64)])
    torch.manual_seed(0)
    for _ in range(50):
        made = NestedCrops(size=64)({"image": image})
        outer, inner = made["image"], made["local"]
        assert outer.shape == inner.shape == (3, 64, 64)
        sides = []
        for axis in (0, 1):
            low, high = outer[axis].min(), outer[axis].max()
            assert low - 0.02 <= inner[axis].min()
            assert inner[axis].max() <= high + 0.02
            sides.append(float((inner[axis].max() - inner[axis].min()) / (high - low)))
        assert 0.2 < sides[0] * sides[1] < 0.7  # 0.3 to 0.6 of the area, but for rounding to pixels
