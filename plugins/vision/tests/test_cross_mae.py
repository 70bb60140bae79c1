"""CrossMAE: mask tokens read the encoder's layers, and never each other."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from unmask.nn import sincos
from unmask.predictors import CrossAttentionPredictor
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import CrossMAE


def encoder():
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "final_norm": False}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=options)


def decoder(depth=2, num_layers=2):
    return CrossAttentionPredictor(
        32, 48, width=24, depth=depth, num_heads=3, mlp_width=40, dropout=0.0, part=None, memory=None, queries="asked",
        self_attention="none", norm_first=True, num_layers=num_layers, activation="gelu",
    )  # fmt: skip


def made(depth=2, **options):
    torch.manual_seed(0)
    model = CrossMAE(patch_size=4, encoder=encoder(), predictor=decoder(depth), **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def batch():
    return {"image": torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


class TestCrossMAE(MethodContract):
    def make(self):
        return CrossMAE(patch_size=4, encoder=encoder(), predictor=decoder())

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def test_one_block_on_the_last_layer_equals_torchs_attention(batch):
    """A mixture that takes the last layer alone; the attention as torch's own module computes it on these weights."""
    model = made(depth=1)
    predictor, block = model.predictor, model.predictor.blocks[0]
    with torch.no_grad():
        predictor.mixture.shares.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
        step = model.step(batch, 0)
        vit, tokens = model.encoder.vit, model.tokenizer(batch)
        visible = ~step.mask.hidden
        x = vit.patch_embed.proj((batch["image"] - model.tokenizer.mean) / model.tokenizer.std).flatten(2).mT
        x = (x + vit.pos_embed[:, 1:])[visible].view(3, 4, 32)
        first = (vit.cls_token + vit.pos_embed[:, :1]).expand(3, -1, -1)
        x = vit.blocks(torch.cat([first, x], 1))
        memory = predictor.mixture.norms[0](x)
        theirs = nn.MultiheadAttention(24, 3, kdim=32, vdim=32, batch_first=True).eval()
        theirs.load_state_dict(block.multihead_attn.state_dict())
        asked = step.mask.asked.index
        query = predictor.mask_token + sincos(tokens.layout, 16, 24)[asked]
        query = query + theirs(block.norm2(query), memory, memory)[0]
        query = query + block.linear2(nn.functional.gelu(block.linear1(block.norm3(query))))
        answers = predictor.head(predictor.norm(query))
    torch.testing.assert_close(step.prediction.values, answers)


def test_blocks_read_their_own_mixture_of_all_layers(batch):
    model = made()
    with torch.no_grad():
        step = model.step(batch, 0)
        inner = [step.latent.inner[0], step.latent.inner[1], step.latent]
        layers = [torch.cat([one.prefix, one.values], 1) for one in inner]
        mixture = model.predictor.mixture
        found = mixture(layers)
        for shares, norm, own in zip(mixture.shares, mixture.norms, found, strict=True):
            by_hand = norm(sum(share * layer for share, layer in zip(shares, layers, strict=True)))
            torch.testing.assert_close(own, by_hand)
    assert [layer.shape for layer in layers] == [(3, 5, 32)] * 3
    with torch.no_grad():
        first = model.encoder(model.tokenizer(batch), step.mask, 1)
    torch.testing.assert_close(layers[1], torch.cat([first.prefix, first.values], 1))


def test_answers_do_not_depend_on_where_else_is_asked(batch):
    model = made(ask="hidden")
    step = model.step(batch, 0)
    half = step.mask.hidden & (step.mask.hidden.cumsum(1) % 2 == 0)
    fewer = model.predictor(step.latent, step.tokens.places, replace(step.mask, predict=half, num_predict=6))
    assert fewer.values.shape == (3, 6, 48)
    torch.testing.assert_close(fewer.values, step.prediction.values[:, 1::2])
    # With self-attention they do.
    torch.manual_seed(0)
    other = CrossAttentionPredictor(
        32, 48, width=24, depth=1, num_heads=3, part=None, memory=None, queries="asked", self_attention="before"
    ).eval()
    every, some = (
        other(step.latent, step.tokens.places, mask).values
        for mask in (step.mask, replace(step.mask, predict=half, num_predict=6))
    )
    assert not torch.allclose(some, every[:, 1::2], atol=1e-4)


def test_a_third_of_the_hidden_patches_is_asked_for(batch):
    """As the release counts at 196 patches: 196 - int(196 / 4) - int(196 / 2) of 147."""
    step = made().step(batch, 0)
    assert (step.mask.asked.index.shape, step.mask.hidden.sum(1).tolist()) == ((3, 4), [12, 12, 12])
    assert (step.mask.predict & ~step.mask.hidden).sum() == 0
    assert round(147 / 3) == 196 - int(196 * 0.25) - int(196 * 0.5)


def test_every_parameter_learns(batch):
    model = made().train()
    model.step(batch, 0).loss.total.backward()
    still = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert still == []
    assert model.predictor.embed is None


@pytest.mark.parametrize("ask", [0.0, 1.0, "some"])
def test_where_to_ask_is_checked(ask):
    with pytest.raises(ValueError, match="`ask` must be"):
        made(ask=ask)


def test_an_encoder_of_another_depth_is_refused():
    with pytest.raises(ValueError, match="`num_layers` must be 2, the encoder's, but is 1"):
        CrossMAE(patch_size=4, encoder=encoder(), predictor=decoder(num_layers=1))
