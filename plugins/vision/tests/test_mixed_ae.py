"""MixedAE: a mixture of images, encoded once, from which each is rebuilt."""

import math

import pytest
import torch
import torch.nn.functional as F

from unmask import Latent, Places
from unmask.predictors import TransformerPredictor
from unmask.terms import PartContrast
from unmask.testing import MethodContract, shaken
from unmask_vision.encoders import MixedEncoder, ViTEncoder
from unmask_vision.methods import MAE, MixedAE


def vit(**more):
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, options=sizes, **more)


def made(num_sources=4, **options):
    torch.manual_seed(0)
    predictor = TransformerPredictor(32, 48, width=24, depth=1, num_heads=2)
    model = MixedAE(patch_size=4, encoder=vit(), predictor=predictor, num_sources=num_sources, **options)
    return shaken(model).eval()


def images(count=5):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_each_place_of_a_mixture_shows_one_image_and_each_image_as_many_places():
    step = made().step(images(), 0)
    hidden = torch.stack([part.hidden for part in step.mask.parts.values()])  # [4, B, N]
    assert torch.equal((~hidden).sum(0), torch.ones(5, 16, dtype=torch.long))
    assert ((~hidden).sum(2) == 4).all()
    assert not torch.equal(hidden[0, 0], hidden[0, 1])
    values = made().tokenizer.patches(images()).values
    for number in range(4):
        assert torch.equal(step.tokens.parts[f"source_{number}"].values, values.roll(-number, 0))


def test_three_images_share_16_places():
    hidden = torch.stack([part.hidden for part in made(3).step(images(), 0).mask.parts.values()])
    assert torch.equal((~hidden).sum(0), torch.ones(5, 16, dtype=torch.long))
    assert (~hidden).sum(2).T.tolist() == [[6, 5, 5]] * 5


def test_a_step_written_out(given_mask):
    """The mixture through the ViT, queries at their top quarter of keys; each image by MAE's decoder and loss."""
    model = made(contrast_weight=0.0)
    step = model.step(images(), 0)
    encoder = model.encoder
    owner = torch.stack([part.hidden for part in step.mask.parts.values()]).byte().argmin(0)  # [B, N]
    parts = torch.stack([part.values for part in step.tokens.parts.values()])  # [4, B, N, V]
    mixture = parts.gather(0, owner[None, ..., None].expand(1, -1, -1, 48))[0]
    inner = encoder.vit.vit
    with torch.no_grad():
        x = inner.patch_embed.proj.weight.permute(0, 2, 3, 1).flatten(1)
        x = F.linear(mixture, x, inner.patch_embed.proj.bias) + inner.pos_embed[:, 1:]
        x = torch.cat([(inner.cls_token + inner.pos_embed[:, :1]).expand(5, -1, -1), x], 1)  # [B, 17, 32]
        for block in inner.blocks:
            y = block.norm1(x)
            q, k, v = block.attn.qkv(y).view(5, 17, 3, 2, 16).permute(2, 0, 3, 1, 4)
            scores = q @ k.mT / 4
            rank = scores.argsort(-1, descending=True).argsort(-1)
            weights = scores.masked_fill(rank >= 4, float("-inf")).softmax(-1)
            x = x + block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        codes = inner.norm(x)
        losses = []
        for number in range(4):
            seen = owner == number
            own = codes[:, 1:][seen].view(5, 4, 32) + encoder.source[number]
            mask = step.mask.parts[f"source_{number}"]
            places = step.tokens.parts[f"source_{number}"].places
            answers = model.predictor(Latent(own, mask.visible, codes[:, :1]), places, mask).values
            right = parts[number][~seen].view(5, 12, 48)
            right = (right - right.mean(-1, keepdim=True)) / (right.var(-1, keepdim=True) + 1e-6).sqrt()
            losses.append((answers - right).square().mean())
    torch.testing.assert_close(step.loss.total, torch.stack(losses).mean(), rtol=1e-4, atol=1e-5)


def test_one_image_by_itself_is_coded_as_by_the_vit():
    torch.manual_seed(0)
    plain = vit()
    state = {name: x.clone() for name, x in plain.state_dict().items()}
    again = vit()
    again.load_state_dict(state)
    mixed = MixedEncoder(again)
    assert again.state_dict().keys() == state.keys()  # under the same names
    tokens = MAE(patch_size=4, encoder=vit(), predictor=TransformerPredictor(32, 48, 24, 1, 2)).tokenizer(images())
    torch.testing.assert_close(mixed(tokens).values, plain(tokens).values)
    model = made()
    torch.testing.assert_close(
        model.embed(images()).values, model.encoder.vit(model.tokenizer.patches(images())).values
    )


def test_no_image_is_read_where_another_is_shown():
    """Of each image alone, changed where it is hidden: no code changes."""
    model = made()
    step = model.step(images(), 0)
    tokens, mask = step.tokens, step.given.shown.mask
    with torch.no_grad():
        before = model.encoder(tokens, mask)
        for name, part in tokens.parts.items():
            hidden = mask.parts[name].hidden[..., None]
            changed = type(tokens).join(
                {
                    **tokens.parts,
                    name: type(part)(torch.where(hidden, torch.nan, part.values), part.layout),
                }
            )
            assert torch.equal(model.encoder(changed, mask).values, before.values)
            seen = type(part)(torch.where(hidden, part.values, part.values + 1), part.layout)
            other = model.encoder(type(tokens).join({**tokens.parts, name: seen}), mask)
            assert not torch.equal(other.values, before.values)


def test_the_contrast_by_hand():
    codes = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [-1.0, 0.0]]])  # two parts of two codes
    parts = {str(i): Latent(one[None], Places(torch.zeros(1, 2, dtype=torch.long))) for i, one in enumerate(codes)}
    step = made().step(images(), 0)._replace(latent=Latent.join(parts))
    flat = F.normalize(codes.flatten(0, 1), dim=-1).tolist()
    total = 0.0
    for i in range(4):
        scores = {j: sum(a * b for a, b in zip(flat[i], flat[j], strict=True)) / 0.25 for j in range(4) if j != i}
        total -= scores[i ^ 1] - math.log(sum(math.exp(s) for s in scores.values()))
    assert PartContrast()(step, None).item() == pytest.approx(total / 4, rel=1e-5)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="`num_sources` must be at least 2, but is 1"):
        MixedEncoder(vit(), 1)
    with pytest.raises(ValueError, match="`temperature` must be above 0"):
        PartContrast(temperature=0)
    relative = ViTEncoder(
        "vit_relpos_base_patch16_cls_224", 16, 4, options={"depth": 1, "embed_dim": 32, "num_heads": 2}
    )
    with pytest.raises(ValueError, match="plain attention"):
        MixedEncoder(relative)


class TestMixedAE(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return images()
