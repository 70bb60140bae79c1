"""M3AE: transformers' RoBERTa and MAE decoder at shared weights; one part masked; the sum of three losses."""

import pytest
import torch
import torch.nn.functional as F
from transformers import RobertaConfig, RobertaForMaskedLM, ViTMAEConfig
from transformers.models.vit_mae.modeling_vit_mae import ViTMAEDecoder

from unmask import Corruption, CorruptionByPart, Grid, Latent, Mask, TokenizerByPart, Tokens
from unmask.masks import RandomMask
from unmask.predictors import AtLayer, TransformerPredictor
from unmask.testing import PredictorContract
from unmask_multimodal.data import CaptionedDigits
from unmask_multimodal.encoders import CrossTrunk, JointEncoder
from unmask_multimodal.masks import OnePartMask
from unmask_multimodal.methods import M3AE
from unmask_multimodal.testing import JointContract
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.heads.vocabulary import VocabularyHead
from unmask_text.losses import VocabularyLoss
from unmask_text.targets import TokenTarget
from unmask_text.tokenizer import TextTokenizer
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

TEXT = {
    "model_type": "roberta", "vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32, "pad_token_id": 0, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def m3ae(**options):
    image = ViTEncoder("vit_tiny_patch16_224", 8, 2, 1, options={"embed_dim": 24, "depth": 2, "num_heads": 2})
    encoders = {"image": image, "text": TransformersEncoder(TEXT)}
    given = {
        "tokenizer": TokenizerByPart({"image": PatchTokenizer(2, 1), "text": TextTokenizer()}),
        "encoder": JointEncoder(encoders, CrossTrunk(24, 2, 2), part_embeddings=True),
        "words": VocabularyHead(24, 64),
        "word_target": TokenTarget(),
        "word_loss": VocabularyLoss(),
        "patch_width": 4,
        "decoder_width": 16,
        "decoder_depth": 1,
        "decoder_heads": 2,
    }
    return M3AE(**{**given, **options})


@pytest.fixture(scope="module")
def data():
    made = CaptionedDigits(batch_size=6, num_val=40, val_batch_size=6)
    made.setup("fit")
    return made


def first(data):
    return next(iter(data.val_dataloader()))


class TestM3AE(JointContract):
    no_alone = "a cross trunk works on two parts"
    unused = ("mask_token", "fc_norm.weight", "fc_norm.bias", "pos_embed")

    def make(self):
        return m3ae()

    def batch(self):
        made = CaptionedDigits(batch_size=6, num_val=40, val_batch_size=6)
        made.setup("fit")
        return first(made)


class TestAtLayer(PredictorContract):
    encoder_width = 16
    overrides = {"test_codes_reach_the_answers_and_gradients_the_codes": "its codes are those of another layer"}

    def test_codes_reach_the_answers_and_gradients_the_codes(self):
        predictor, latent, places, mask = self._given(Corruption(drop=1))
        codes = latent.inner[3].values.requires_grad_()
        predictor(latent, places, mask).values.sum().backward()
        assert codes.grad.abs().sum() > 0
        assert not latent.values.requires_grad

    def make(self):
        return AtLayer(TransformerPredictor(16, 4, 16, 1, 2), 3)

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Grid((3, 4)))

    def latent(self, tokens, mask):
        made = super().latent(tokens, mask)
        return Latent(torch.zeros_like(made.values), made.seen, inner={3: made})


def test_words_alone_are_robertas():
    """Text of one length through its own encoder and head: the loss of `RobertaForMaskedLM`."""
    torch.manual_seed(0)
    config = RobertaConfig(**{name: value for name, value in TEXT.items() if name != "model_type"})
    theirs = RobertaForMaskedLM(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model = m3ae().eval()
    text, words = model.encoder.encoders["text"], model.predictor.predictors["text"]
    missing, unexpected = text.model.load_state_dict(theirs.roberta.state_dict(), strict=False)
    assert not unexpected and all("pooler" in name for name in missing)
    words.dense.load_state_dict(theirs.lm_head.dense.state_dict())
    words.norm.load_state_dict(theirs.lm_head.layer_norm.state_dict())
    words.norm.eps = theirs.lm_head.layer_norm.eps
    with torch.no_grad():
        words.bias.copy_(theirs.lm_head.bias)
    assert words.table is text.embedding  # tied

    ids = torch.randint(5, 64, (3, 7))
    tokens = Tokens(ids, TextTokenizer()({"ids": ids, "word": torch.arange(7).expand(3, -1)}).layout)
    mask = Corruption(token=1)(tokens, RandomMask(0.3)(tokens)).mask
    shown = torch.cat([torch.full((3, 1), 2), ids.masked_fill(mask.hidden, 4), torch.full((3, 1), 3)], dim=1)
    labels = F.pad(ids.masked_fill(~mask.hidden, -100), (1, 1), value=-100)
    with torch.no_grad():
        found = theirs(input_ids=shown, labels=labels)
        answers = words(text(tokens, mask), tokens.places, mask)
        loss = VocabularyLoss()(answers, mask.asked.gather(ids)).total
    torch.testing.assert_close(loss, found.loss, rtol=1e-5, atol=1e-6)


def test_patches_are_answered_as_by_transformers_mae():
    """`ViTMAEDecoder` on the codes of the middle layer."""
    torch.manual_seed(0)
    config = ViTMAEConfig(
        hidden_size=24, decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=64, image_size=8, patch_size=2, num_channels=1, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = ViTMAEDecoder(config, num_patches=16).eval()
    for name, parameter in theirs.named_parameters():
        if "pos_embed" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    patches = m3ae().eval().predictor.predictors["image"]
    mine = patches.predictor
    assert patches.layer == 3  # two of their own encoders, and the first of the trunk's two
    with torch.no_grad():
        mine.mask_token.copy_(theirs.mask_token)
        block, other = mine.trunk.blocks[0], theirs.decoder_layers[0]
        triple = [other.attention.q_proj, other.attention.k_proj, other.attention.v_proj]
        block.attn.qkv.weight.copy_(torch.cat([one.weight for one in triple]))
        block.attn.qkv.bias.copy_(torch.cat([one.bias for one in triple]))
        for one, another in (
            (block.attn.proj, other.attention.o_proj), (block.mlp.fc1, other.mlp.fc1),
            (block.mlp.fc2, other.mlp.fc2), (block.norm1, other.layernorm_before),
            (block.norm2, other.layernorm_after), (mine.trunk.norm, theirs.decoder_norm),
            (mine.embed, theirs.decoder_embed), (mine.head, theirs.decoder_pred),
        ):  # fmt: skip
            one.load_state_dict(another.state_dict())
    codes = torch.randn(2, 5, 24)  # a class token and four of sixteen patches
    noise = torch.rand(2, 16)
    order = noise.argsort(1)
    hidden = torch.ones(2, 16, dtype=torch.bool).scatter(1, order[:, :4].sort(1).values, False)
    kept = (~hidden).nonzero()[:, 1].view(2, 4)
    gone = hidden.nonzero()[:, 1].view(2, 12)
    restore = torch.cat([kept, gone], dim=1).argsort(1)
    tokens, mask = Tokens(torch.zeros(2, 16, 4), Grid((4, 4))), Mask(hidden, num_hidden=12)
    inner = Latent(codes[:, 1:], mask.seen, codes[:, :1])
    with torch.no_grad():
        found = theirs(codes, restore).logits
        answers = patches(Latent(torch.zeros(2, 4, 24), mask.seen, inner={3: inner}), tokens.places, mask).values
    torch.testing.assert_close(answers, found[hidden].view(2, 12, 4), rtol=1e-4, atol=1e-5)


def test_one_part_of_each_sample_is_masked_and_the_loss_is_the_sum(data):
    torch.manual_seed(0)
    model = m3ae().eval()
    step = model.step(first(data), 0)
    image, text = (step.mask.part(name).hidden.sum(1) for name in ("image", "text"))
    assert sorted({*zip(image.tolist(), text.tolist(), strict=True)}) == [(0, 2), (12, 0)]
    assert set(step.terms) == {"loss.image", "loss.text", "matching"}
    torch.testing.assert_close(step.loss.total.detach(), sum(step.terms.values()))


def test_the_whole_part_tells_of_the_hidden_one(data):
    """Words change when the image does, and answers of patches with the words."""
    torch.manual_seed(0)
    model = m3ae().eval()
    batch = first(data)
    one = model.step(batch, 0)
    other = model.step({**batch, "image": 1 - batch["image"]}, 0)
    again = model.step({**batch, "ids": batch["ids"].flip(0)}, 0)
    assert not torch.equal(one.prediction.part("text").values, other.prediction.part("text").values)
    assert not torch.equal(one.prediction.part("image").values, again.prediction.part("image").values)


def test_a_batch_in_which_nobody_is_asked_of_one_part_has_a_loss(data):
    torch.manual_seed(0)
    model = m3ae(matching_weight=0.0).eval()
    model.mask = OnePartMask({"image": RandomMask(0.75), "text": RandomMask(0.15)}, together=True)
    seen = set()
    for seed in range(8):
        step = model.step(first(data), seed)
        assert torch.isfinite(step.loss.total)
        seen.add(int(step.mask.part("image").hidden.any()))
    assert seen == {0, 1}


def test_the_text_is_corrupted_with_ids_of_its_own_vocabulary(data):
    shown = {"image": Corruption(drop=1), "text": VocabularyCorruption(token=0.8, random=0.1, keep=0.1)}
    model = m3ae(corruption=CorruptionByPart(shown))
    assert model.corruption.corruptions["text"].vocab_size == 64
    assert torch.isfinite(model.step(first(data), 0).loss.total)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"words": None}, "`words` must be given, but is None"),
        ({"layer": 3}, r"`layer` must be in \[1, 2\], the layers of the trunk, but is 3"),
        ({"tokenizer": TokenizerByPart({"image": PatchTokenizer(2, 1)})}, "must have the parts image and text"),
    ],
)
def test_what_is_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        m3ae(**options)
    with pytest.raises(ValueError, match="`layer` must be at least 1, but is 0"):
        AtLayer(TransformerPredictor(16, 4, 16, 1, 2), 0)
