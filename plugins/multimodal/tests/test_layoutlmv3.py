"""LayoutLMv3: transformers' encoder at shared weights, biases and all; pages are what they say; nothing leaks."""

import pytest
import torch
from transformers import LayoutLMv3Config, LayoutLMv3Model

from unmask import Grid, Mask, Sequence, TokenizerByPart, Tokens
from unmask.api import main
from unmask.masks import BlockMask, MaskByPart, SpanMask
from unmask.targets import GivenTarget
from unmask.testing import DataContract, EncoderContract
from unmask_multimodal.data import Pages
from unmask_multimodal.data.pages import IDS, page
from unmask_multimodal.encoders import Stream
from unmask_multimodal.layout import BoxTokenizer, LayoutBias, LayoutStem
from unmask_multimodal.layout.bias import buckets
from unmask_multimodal.methods import LayoutLMv3
from unmask_multimodal.testing import JointContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

CONFIG = LayoutLMv3Config(
    vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=96,
    max_position_embeddings=20, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1, coordinate_size=4,
    shape_size=4, input_size=8, patch_size=2, num_channels=1, rel_pos_bins=8, max_rel_pos=6, rel_2d_pos_bins=16,
    max_rel_2d_pos=100, layer_norm_eps=1e-5,
)  # fmt: skip


def made(**options):
    image = ViTEncoder(
        "vit_tiny_patch16_224", 8, 2, 1, mask_token=True,
        options={"embed_dim": 24, "depth": 0, "num_heads": 2, "pre_norm": True},
    )  # fmt: skip
    given = {
        "tokenizer": TokenizerByPart({"text": BoxTokenizer(), "image": PatchTokenizer(2, 1)}),
        "image": image,
        "depth": 2,
        "num_heads": 2,
        "num_words": 50,
        "num_image_ids": 7,
        "max_length": 18,
        "image_ids": GivenTarget("image_ids"),
        "mask": MaskByPart({"text": SpanMask(0.3, poisson=3.0), "image": BlockMask(0.4, min_block=2)}),
    }
    return LayoutLMv3(**(given | options))


def samples():
    valid = torch.arange(9) < torch.tensor([9, 7, 9, 5])[:, None]
    corners = torch.rand(4, 9, 2, 2).sort(2).values * 1000
    return {
        "image": torch.rand(4, 1, 8, 8),
        "image_ids": torch.randint(7, (4, 16)),
        "ids": torch.randint(5, 50, (4, 9)),
        "boxes": corners.flatten(2).long() * valid[..., None],
        "valid": valid,
        "index": torch.arange(4),
    }


def peer():
    """transformers' model, with biases that tell on its codes."""
    model = LayoutLMv3Model(CONFIG).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_((1.0 if "rel_pos" in name else 0.1) * torch.randn_like(parameter))
    return model


def taken(encoder, theirs):
    state = theirs.state_dict()

    def under(prefix):
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

    text, image, trunk = encoder.encoders["text"], encoder.encoders["image"], encoder.trunk
    tables = {"words": "word_embeddings", "x": "x_position_embeddings", "y": "y_position_embeddings",
              "heights": "h_position_embeddings", "widths": "w_position_embeddings"}  # fmt: skip
    mine = {f"{name}.weight": state[f"embeddings.{their}.weight"] for name, their in tables.items()}
    mine["positions.weight"] = (state["embeddings.position_embeddings.weight"]
                                + state["embeddings.token_type_embeddings.weight"])[2:]  # fmt: skip
    text.load_state_dict(mine | {f"norm.{name}": value for name, value in under("embeddings.LayerNorm.").items()})
    own = image.vit.state_dict()
    own["patch_embed.proj.weight"] = state["patch_embed.proj.weight"]
    own |= {f"norm_pre.{name}": value for name, value in under("norm.").items()}
    positions = state["pos_embed"].clone()
    positions[:, 1:] += state["patch_embed.proj.bias"]  # timm's patches have none before a norm
    image.vit.load_state_dict(own | {"cls_token": state["cls_token"], "pos_embed": positions})
    trunk.entry_norm.load_state_dict(under("LayerNorm."))
    for name, their in (("order", "rel_pos_bias"), ("x", "rel_pos_x_bias"), ("y", "rel_pos_y_bias")):
        getattr(trunk.bias, name).weight.data.copy_(state[f"encoder.{their}.weight"].mT)
    for i, block in enumerate(trunk.blocks):
        layer = under(f"encoder.layer.{i}.")
        found = {}
        for kind in ("weight", "bias"):
            parts = [layer[f"attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            found[f"attn.qkv.{kind}"] = torch.cat(parts)
            for name, their in (("attn.proj", "attention.output.dense"), ("norm1", "attention.output.LayerNorm"),
                                ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
                                ("norm2", "output.LayerNorm")):  # fmt: skip
                found[f"{name}.{kind}"] = layer[f"{their}.{kind}"]
        block.load_state_dict(found)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    model, theirs = made(), peer()
    model.encoder.trunk.bias = LayoutBias(24, 2, 8, 6, 16, 100)
    taken(model.encoder, theirs)
    return model.eval(), theirs


def test_codes_are_transformers_with_words_and_patches_hidden(pair):
    model, theirs = pair
    batch = samples()
    with torch.no_grad():
        step = model.step(batch, 0)
        text, image = (step.mask.part(name).hidden for name in ("text", "image"))
        token = model.encoder.encoders["image"].mask_token.normal_()
        latent = model.encoded(step.given.shown)

        def shown(module, arguments, output):
            return torch.where(image[..., None], token + module.proj.bias, output)

        theirs.patch_embed.register_forward_hook(shown)
        expected = theirs(
            input_ids=batch["ids"].masked_fill(text, 4), bbox=batch["boxes"], attention_mask=batch["valid"].long(),
            pixel_values=(batch["image"] - 0.5) / 0.5, position_ids=(torch.arange(9) + 2).expand(4, -1),
        ).last_hidden_state  # fmt: skip
    real = batch["valid"]
    assert text.any()
    torch.testing.assert_close(latent.part("text").values[real], expected[:, :9][real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(latent.part("image").prefix, expected[:, 9:10], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(latent.part("image").values, expected[:, 10:], rtol=1e-5, atol=1e-5)


def test_biases_tell_on_the_codes(pair):
    model, _ = pair
    tokens = model.tokenizer(samples())
    with torch.no_grad():
        before = model.encoder(tokens).values
        for table in (model.encoder.trunk.bias.order, model.encoder.trunk.bias.x, model.encoder.trunk.bias.y):
            table.weight[-1] += 1
            after = model.encoder(tokens).values
            assert not torch.allclose(before, after)
            before = after


def test_buckets_by_hand():
    """Of 8: four a sign, of which 0 and 1 are single, and those up to 6 and beyond lie at 2 * 3^(k / 2)."""
    distances = torch.tensor([0, 1, 2, 3, 4, 5, 6, 100, -1, -2, -3, -4, -100])
    assert buckets(distances, 8, 6).tolist() == [0, 5, 6, 6, 7, 7, 7, 7, 1, 2, 2, 3, 3]


def test_places_that_are_left_out_have_the_biases_of_the_others():
    """Rows of some patches: those of all, at the same places."""
    bias = LayoutBias(8, 2)
    tokens = Tokens(torch.zeros(1, 4, 3), Grid((2, 2)))
    hidden = torch.tensor([[True, False, True, False]])
    whole = bias({"image": Stream(torch.zeros(1, 5, 8), None, tokens.places, None, 1)})
    some = bias({"image": Stream(torch.zeros(1, 3, 8), None, tokens.places, Mask(hidden).visible, 1)})
    torch.testing.assert_close(some, whole[:, :, [0, 2, 4]][:, :, :, [0, 2, 4]])


def test_words_of_a_page_lie_in_their_boxes():
    """All ink lies in boxes, every box has some, and boxes do not meet."""
    known = set()
    for number in range(40):
        one = page(number)
        ink = one["image"][0] < 128
        corners = (one["boxes"] * 64 / 1000).round().long()
        covered = torch.zeros(64, 64, dtype=torch.long)
        for left, top, right, bottom in corners.tolist():
            assert ink[top:bottom, left:right].any()
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1
        assert not ink[covered == 0].any()
        words = [next(word for word, at in IDS.items() if at == int(own)) for own in one["ids"]]
        for key in ("sum", "paid"):
            at = words.index(key)
            known.add(key)
            assert words[at + 1 : at + 3] == words[words.index("sum") + 1 : words.index("sum") + 3]
    assert known == {"sum", "paid"}


def test_the_same_word_has_the_same_pixels():
    first, other = (
        next((one, i) for number in range(start, 99) for one in [page(number)]
             for i, own in enumerate(one["ids"].tolist()) if own == IDS["paid"]) for start in (0, 50)
    )  # fmt: skip
    pictures = []
    for one, i in (first, other):
        left, top, right, bottom = (one["boxes"][i] * 64 / 1000).round().long().tolist()
        pictures.append(one["image"][0, top:bottom, left:right])
    assert torch.equal(*pictures)


def test_a_short_run_learns(tmp_path):
    run = str(tmp_path / "run")
    options = ["--trainer.max_steps", "2", "--data.num_pages", "64", "--data.num_val", "8", "--data.batch_size", "8"]
    more = ["--trainer.check_val_every_n_epoch", "1", "--model.num_image_ids", "8"]
    assert main(["fit", "--config", "multimodal/layoutlmv3-pages", *options, *more, "--out", run]) == 0


class TestLayoutLMv3(JointContract):
    no_alone = "the alignment needs both parts"
    unused = ("mask_token", "vit.norm.weight", "vit.norm.bias")

    def make(self):
        return made()

    def batch(self):
        return samples()


class TestLayoutStem(EncoderContract):
    def make(self):
        return LayoutStem(18, 50, 16)

    def tokens(self):
        valid = torch.arange(12) < torch.tensor([12, 9, 5])[:, None]
        return Tokens(torch.randint(5, 50, (3, 12)), Sequence(), positions=torch.rand(3, 12, 4), valid=valid)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: made(image=None), "`image` must be given where `encoder` is not"),
        (lambda: made(tokenizer=None), "`tokenizer` must be given, with parts `text` and `image`"),
        (lambda: LayoutStem(20, 50, coordinate_width=4, shape_width=3), "must be 20, the width, but is"),
        (lambda: LayoutStem(18, 4), r"`mask_id` must be in \[0, 4\), but is 4"),
        (lambda: LayoutBias(8, 2, num_buckets=5), "`num_buckets` must be even"),
        (lambda: BoxTokenizer()({"ids": torch.ones(1, 2)}), "A batch must have `boxes`"),
        (lambda: BoxTokenizer()({"boxes": torch.tensor([[[0, 0, 5, 1001]]])}), r"`boxes` must be in \[0, 1000\]"),
        (lambda: LayoutStem(18, 50)(Tokens(torch.ones(1, 2).long(), Sequence())), "Words must have boxes"),
        (lambda: Pages(num_pages=0), "`num_pages` must be at least 1, but is 0"),
    ],
)  # fmt: skip
def test_what_is_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()


class TestPages(DataContract):
    num_batches = 3

    def make(self, **options):
        return Pages(num_pages=40, num_val=6, batch_size=4, **options)
