"""HiCMAE: transformers' VideoMAE where nothing is fused or skipped; skips, contrast and the sum by hand."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from unmask import Draws, Grid, Latent, Mask, TokenizerByPart, Tokens
from unmask.masks import MaskByPart, RandomMask, TubeMask
from unmask.testing import PredictorContract
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.frontends import Fbank
from unmask_audio.tokenizer import SpectrogramTokenizer
from unmask_multimodal.encoders import CrossTrunk, JointEncoder, JointTrunk
from unmask_multimodal.methods import HiCMAE
from unmask_multimodal.predictors import SkipDecoder
from unmask_multimodal.testing import JointContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer


def vit(depth=2):
    options = {
        "embed_dim": 24,
        "depth": depth,
        "num_heads": 3,
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
    }
    return ViTEncoder("vit_tiny_patch16_224", 8, 2, 1, positions="sincos", options=options)


def hicmae(**options):
    front = Fbank(sample_rate=8000, num_bins=16)
    trunk = CrossTrunk(24, 1, 3, order="cross-self", norm_first=True, norm_eps=1e-6)
    given = {
        "tokenizer": TokenizerByPart({"image": PatchTokenizer(2, 1), "sound": SpectrogramTokenizer(front, 16, (4, 8))}),
        "encoder": JointEncoder({"image": vit(), "sound": SpectrogramViT(24, 2, 3, 32, class_token=False)}, trunk),
        "token_widths": {"image": 4, "sound": 32},
        "layers": (1, 2),
        "decoder_width": 16,
        "decoder_heads": 2,
        "mask": MaskByPart({"image": RandomMask(0.75), "sound": RandomMask(0.5)}),
    }
    return HiCMAE(**{**given, **options})


def samples(size=4):
    return {"image": torch.rand(size, 1, 8, 8), "wave": 0.1 * torch.randn(size, 1600), "index": torch.arange(size)}


class TestHiCMAE(JointContract):
    no_alone = "it works on two parts; without fusion each is VideoMAE, which a test of its own shows"

    def make(self):
        return hicmae()

    def batch(self):
        return samples()


class TestSkipDecoder(PredictorContract):
    encoder_width = 24

    def make(self):
        return SkipDecoder(24, 4, 16, 2, depth=2)

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Grid((3, 4)))


def test_without_skips_and_fusion_it_is_videomae():
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=8, patch_size=2, num_channels=1, num_frames=1, tubelet_size=1, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=3, intermediate_size=96, decoder_num_attention_heads=2, decoder_hidden_size=16,
        decoder_num_hidden_layers=2, decoder_intermediate_size=64, use_mean_pooling=False, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = VideoMAEForPreTraining(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)
    theirs.decoder.norm.eps = 1e-5  # its own default, which no setting reaches
    encoder, decoder = vit().eval(), SkipDecoder(24, 4, 16, 2, depth=2).eval()
    decoder.norm.eps = theirs.decoder.norm.eps
    with torch.no_grad():
        patches = theirs.videomae.embeddings.patch_embeddings.projection
        encoder.vit.patch_embed.proj.weight.copy_(patches.weight[:, :, 0])
        encoder.vit.patch_embed.proj.bias.copy_(patches.bias)
        encoder.vit.pos_embed.copy_(theirs.videomae.embeddings.position_embeddings)
        for mine, block in zip(encoder.vit.blocks, theirs.videomae.encoder.layer, strict=True):
            share(mine, block)
        for mine, block in zip(decoder.blocks, theirs.decoder.decoder_layers, strict=True):
            share(mine, block)
        decoder.mask_token.copy_(theirs.mask_token)
    encoder.vit.norm.load_state_dict(theirs.videomae.layernorm.state_dict())
    decoder.embed.load_state_dict(theirs.encoder_to_decoder.state_dict())
    decoder.norm.load_state_dict(theirs.decoder.norm.state_dict())
    decoder.head.load_state_dict(theirs.decoder.head.state_dict())
    decoder.table = lambda *_: theirs.position_embeddings

    image = torch.rand(3, 1, 8, 8)
    tokens = PatchTokenizer(2, 1, [0.0], [1.0])({"image": image})
    mask = RandomMask(0.75)(tokens, draws=Draws.of(0, torch.arange(3)))
    with torch.no_grad():
        found = theirs(image[:, None], bool_masked_pos=mask.hidden).logits
        answers = decoder(encoder(tokens, mask), tokens.places, mask).values
    torch.testing.assert_close(answers, found, rtol=1e-5, atol=1e-6)


def share(mine, theirs):
    """Weights of a block of VideoMAE, whose keys have no bias."""
    attention = theirs.attention.attention
    qkv = (attention.query.weight, attention.key.weight, attention.value.weight)
    mine.attn.qkv.weight.copy_(torch.cat(qkv))
    mine.attn.qkv.bias.copy_(torch.cat([attention.query.bias, torch.zeros(len(qkv[0])), attention.value.bias]))
    for one, other in (
        (mine.attn.proj, theirs.attention.output.dense), (mine.mlp.fc1, theirs.intermediate.dense),
        (mine.mlp.fc2, theirs.output.dense), (mine.norm1, theirs.layernorm_before),
        (mine.norm2, theirs.layernorm_after),
    ):  # fmt: skip
        one.load_state_dict(other.state_dict())


def test_blocks_read_the_last_layer_first():
    torch.manual_seed(0)
    decoder = SkipDecoder(8, 4, 16, 2, layers=[2, 5]).eval()
    read = []
    for skip in decoder.skips:
        skip.forward = lambda x, memory, *_, skip=skip: read.append(memory) or x
    values = {number: torch.randn(1, 4, 8) for number in (2, 5)}
    places = Tokens(torch.zeros(1, 4, 1), Grid((2, 2))).places
    hidden = torch.tensor([[True, False, False, True]])
    mask = Mask(hidden, num_hidden=2)
    seen = mask.seen
    latent = Latent(torch.randn(1, 2, 8), seen, inner={n: Latent(v[:, :2], seen) for n, v in values.items()})
    decoder(latent, places, mask)
    table = decoder.table(places, 4)[:, 1:3]
    for memory, number in zip(read, (5, 2), strict=True):
        expected = decoder.embed(F.layer_norm(values[number][:, :2], (8,), eps=1e-6)) + table
        torch.testing.assert_close(memory, expected)


def test_the_loss_is_both_parts_and_a_little_contrast():
    torch.manual_seed(0)
    model = hicmae(contrast_weight=0.5).eval()
    step = model.step(samples(), 0)
    image, sound, contrast = (step.terms[name] for name in ("loss.image", "loss.sound", "contrast"))
    torch.testing.assert_close(step.loss.total.detach(), image + sound + 0.5 * contrast)
    by_hand = []
    for layer in (1, 2):
        codes = []
        for name in ("image", "sound"):
            inner = model.encoder.encoders[name](
                step.tokens.part(name), step.mask.part(name), layer if layer < 2 else None
            )
            codes.append(F.normalize(F.layer_norm(inner.values, (24,)).mean(1), dim=-1))
        scores = codes[0] @ codes[1].T / 0.07
        own = torch.arange(4)
        by_hand.append((F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2)
    torch.testing.assert_close(contrast, sum(by_hand).detach())
    assert "contrast" not in hicmae(contrast_weight=0.0).terms


def test_what_one_part_shows_reaches_the_other_parts_answers():
    torch.manual_seed(0)
    model = hicmae().eval()
    one = samples()
    other = {**one, "wave": one["wave"].flip(0)}
    first, again = model.step(one, 0), model.step(other, 0)
    assert not torch.equal(first.prediction.part("image").values, again.prediction.part("image").values)


def test_a_sample_that_lacks_its_sound_has_a_loss_of_its_image():
    torch.manual_seed(0)
    model = hicmae().eval()
    batch = samples()
    parts = {"image": {"image": batch["image"]}, "sound": {"wave": batch["wave"]}, "index": batch["index"]}
    parts["image"]["present"], parts["sound"]["present"] = torch.ones(4).bool(), torch.tensor([True, True, False, True])
    step = model.step(parts, 0)
    assert step.mask.part("sound").hidden.sum(1).tolist()[2] == 0
    assert torch.isfinite(step.loss.total)
    noise = {**parts, "sound": {**parts["sound"], "wave": batch["wave"].clone()}}
    noise["sound"]["wave"][2] = torch.randn(1600)
    assert torch.equal(model.step(noise, 0).loss.total, step.loss.total)


def test_paper_defaults():
    model = hicmae(mask=None)
    assert isinstance(model.mask.masks["image"], TubeMask)
    assert (model.mask.masks["image"].ratio, model.mask.masks["sound"].ratio) == (0.9, 0.8)
    assert (model.terms["contrast"].weight, model.optim.base_lr) == (0.0025, 3e-4)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"encoder": None}, "`encoder` must be given, with two parts, but is None"),
        ({"layers": (1, 3)}, r"`layers` must be in \[1, 2\], the layers of the parts' own encoders, but are \[1, 3\]"),
        ({"token_widths": {"image": 4}}, "`token_widths` must say how many numbers a token of `sound` has"),
        ({"encoder": JointEncoder({"image": vit()}, JointTrunk(24, 1, 3))}, "must have the same two parts"),
    ],
)
def test_what_is_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        hicmae(**options)


def test_decoders_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match=r"`layers` must be ascending numbers from 1, but are \[3, 2\]"):
        SkipDecoder(8, 4, layers=[3, 2])
    with pytest.raises(ValueError, match="`depth` must be 3, one more than `layers`, but is 4"):
        SkipDecoder(8, 4, layers=[1, 2], depth=4)
    packed = SimpleNamespace(offsets=torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="dense tokens"):
        SkipDecoder(8, 4)(Latent(torch.zeros(1, 2, 8)), packed, Mask(torch.zeros(1, 2, dtype=torch.bool)))
