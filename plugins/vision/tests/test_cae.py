"""CAE: what the decoder knows comes through the regressor, whose codes are those of the hidden patches."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from transformers import BeitConfig
from transformers.models.beit.modeling_beit import BeitLayer

from unmask.predictors import RegressorPredictor, TransformerPredictor
from unmask.terms import CodeAlignment
from unmask.testing import MethodContract, shaken
from unmask_vision.encoders import ViTEncoder
from unmask_vision.exchange.names import encoder_map
from unmask_vision.methods import CAE, MAE

SMALL = {"num_codes": 24, "codes_width": 8, "codes_hidden_width": 8, "codes_depth": 1}


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def encoder(**options):
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, **options}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=sizes)


def made(**options):
    torch.manual_seed(0)
    answer = 48 if options.get("codes") == "pixels" else 24
    predictor = RegressorPredictor(32, answer, width=24, depth=2, decoder_depth=2, num_heads=3)
    given = {"patch_size": 4, "encoder": encoder(), "predictor": predictor, **SMALL, **options}
    return CAE(**given).eval()


class TestCAE(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()


class TestCAEOfPixels(MethodContract):
    def make(self):
        return made(codes="pixels")

    def batch(self):
        return images()


def test_the_decoder_knows_visible_codes_through_the_regressor_alone():
    """Cut there, no gradient of the names reaches them; uncut, it does."""
    model = shaken(made())
    step = model.step(images(), 0)
    codes = step.latent.values.detach().requires_grad_()
    latent = replace(step.latent, values=codes)
    answers = model.predictor(latent, step.tokens.places, step.mask)
    assert torch.autograd.grad(answers.values.sum(), codes, retain_graph=True)[0].abs().sum() > 0
    cut = model.predictor.regressor.register_forward_hook(
        lambda module, given, out: replace(out, values=out.values.detach())
    )
    answers = model.predictor(latent, step.tokens.places, step.mask)
    assert answers.values.requires_grad  # by the decoder's own weights
    assert torch.autograd.grad(answers.values.sum(), codes, allow_unused=True)[0] is None
    cut.remove()


def test_class_tokens_are_not_read():
    model = made()
    step = model.step(images(), 0)
    other = replace(step.latent, prefix=step.latent.prefix * -3 + 7)
    again = model.predictor(other, step.tokens.places, step.mask)
    assert torch.equal(again.values, step.prediction.values)
    assert torch.equal(again.latents, step.prediction.latents)


def test_the_alignment_by_hand():
    """The encoder sees the hidden patches alone, and has no gradient of it."""
    model = shaken(made())
    step = model.step(images(), 0)
    mask = replace(step.mask, hidden=~step.mask.hidden, num_hidden=16 - step.mask.num_hidden, show=None)
    alone = model.encoder(step.tokens, mask)
    assert torch.equal(alone.seen.index, step.mask.asked.index)
    align = (step.prediction.latents - alone.values).square().mean()
    torch.testing.assert_close(step.terms["align"], align.detach())
    names = F.cross_entropy(step.prediction.values.flatten(0, 1), step.target.flatten())
    torch.testing.assert_close(step.loss.total, names + 2 * align)
    # A visible pixel changes nothing on its right side.
    visible = ~step.mask.hidden
    tokens = replace(step.tokens, values=step.tokens.values.masked_fill(visible[..., None], 0.3))
    assert torch.equal(model.encoder(tokens, mask).values, alone.values)
    # Its gradient passes the regressed codes alone.
    grads = {}
    for name, right in (("cut", alone.values.detach()), ("whole", alone.values)):
        value = (model.step(images(), 0).prediction.latents - right).square().mean()
        grads[name] = torch.autograd.grad(value, model.encoder.vit.patch_embed.proj.weight, retain_graph=True)[0]
    own = model.terms["align"](model.step(images(), 0), model)
    own = torch.autograd.grad(own, model.encoder.vit.patch_embed.proj.weight)[0]
    torch.testing.assert_close(own, grads["cut"])
    assert not torch.allclose(own, grads["whole"])


def test_an_encoder_block_equals_transformers():
    torch.manual_seed(0)
    model = shaken(made(encoder=encoder(init_values=0.1)))
    with torch.no_grad():
        model.encoder.vit.blocks[1].attn.qkv.bias[32:64] = 0  # keys have no bias there
    step = model.step(images(), 0)
    before, after = (model.encoder(step.tokens, step.mask, layer) for layer in (1, 2))
    config = BeitConfig(
        hidden_size=32, num_attention_heads=2, intermediate_size=128, layer_norm_eps=1e-6, layer_scale_init_value=0.1
    )
    theirs = BeitLayer(config).eval()
    rename = encoder_map(model, beit=True)
    state = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("encoder.vit.blocks.1."):
            state |= {new.split("layers.1.")[1]: one for new, one in rename(name, tensor).items()}
    theirs.load_state_dict(state)
    with torch.no_grad():
        expected = theirs(torch.cat([before.prefix, before.values], 1))
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(torch.cat([after.prefix, after.values], 1), expected, rtol=1e-4, atol=1e-5)


def test_without_its_second_summand_it_is_a_masked_autoencoder():
    """Bit for bit, on pixels, with the same predictor."""
    model = made(codes="pixels", align_weight=0.0)
    total = model.step(images(), 0).loss.total
    plain = MAE(patch_size=4, encoder=model.encoder, predictor=model.predictor, mask=model.mask).eval()
    assert torch.equal(plain.step(images(), 0).loss.total, total)
    assert not torch.equal(made(codes="pixels").step(images(), 0).loss.total, total)


def test_it_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="but is 'pixel'; nearest: pixels"):
        made(codes="pixel")
    with pytest.raises(ValueError, match="`codes_run` and `codes_recipe` must be left out for pixels"):
        made(codes="pixels", codes_run="runs/there")
    with pytest.raises(ValueError, match="`weight` must be at least 0, but is -1"):
        made(align_weight=-1)
    model = made(codes="pixels", predictor=TransformerPredictor(32, 48, width=24, depth=1, num_heads=3))
    with pytest.raises(ValueError, match="`predictor` must regress codes for `code-alignment`, but does not"):
        model.step(images(), 0)
    assert isinstance(model.terms["align"], CodeAlignment)
