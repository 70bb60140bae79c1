"""UNITER: BERT on one stream, as transformers' VisualBERT; one part masked at a time; wrong pairs and transport."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import VisualBertConfig, VisualBertForPreTraining

from unmask import Corruption, CorruptionByPart, Latent, Places, Prediction, Sequence, Set, TokenizerByPart, Tokens
from unmask.api import main
from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.testing import EncoderContract, PredictorContract
from unmask_multimodal.encoders import WordStem
from unmask_multimodal.methods import UNITER
from unmask_multimodal.regions import DistributionLoss, RegionEncoder, RegionTokenizer, TiedFeatures
from unmask_multimodal.testing import JointContract
from unmask_text.corruption import VocabularyCorruption
from unmask_text.tokenizer import TextTokenizer

CONFIG = VisualBertConfig(
    vocab_size=40, hidden_size=24, visual_embedding_dim=6, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=96, max_position_embeddings=20, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip


def made(**options):
    words = VocabularyCorruption(token=0.8, random=0.1, keep=0.1, vocab_size=40)
    given = {
        "tokenizer": TokenizerByPart({"text": TextTokenizer(), "regions": RegionTokenizer()}),
        "width": 24,
        "depth": 2,
        "num_heads": 2,
        "num_words": 40,
        "max_length": 20,
        "feature_width": 6,
        "num_classes": 5,
        "corruption": CorruptionByPart({"text": words, "regions": Corruption(token=1)}),
    }
    return UNITER(**(given | options))


def samples():
    valid = torch.arange(9) < torch.tensor([9, 7, 9, 5])[:, None]
    return {
        "regions": torch.randn(4, 8, 6),
        "region_boxes": torch.rand(4, 8, 2, 2).sort(2).values.flatten(2),
        "region_scores": torch.rand(4, 8, 5).softmax(-1),
        "ids": torch.randint(5, 40, (4, 9)),
        "word": torch.arange(9).expand(4, -1),
        "valid": valid,
        "index": torch.arange(4),
    }


class Plain(RegionEncoder):
    """VisualBERT's regions: ``norm(W f + a vector)``, without boxes."""

    def __init__(self):
        super().__init__(24, 6, mix="sum")
        self.kind = nn.Parameter(torch.zeros(24))

    def _embedded(self, values, boxes):
        return self.norm(self.features(values) + self.kind)


def test_masked_words_cost_what_transformers_visual_bert_says():
    torch.manual_seed(0)
    theirs = VisualBertForPreTraining(CONFIG).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = made(
        mask=MaskByPart({"text": RandomMask(0.4), "regions": NoMask()}), corruption=Corruption(token=1), num_classes=0
    ).eval()
    model.encoder.encoders["regions"] = Plain()
    state = theirs.state_dict()

    def under(prefix):
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

    at = "visual_bert.embeddings."
    text, regions = model.encoder.encoders["text"], model.encoder.encoders["regions"]
    with torch.no_grad():
        text.words.weight.copy_(state[f"{at}word_embeddings.weight"])
        text.positions.weight.copy_(
            state[f"{at}position_embeddings.weight"] + state[f"{at}token_type_embeddings.weight"][0]
        )
        regions.kind.copy_(
            state[f"{at}visual_token_type_embeddings.weight"][1] + state[f"{at}visual_position_embeddings.weight"][0]
        )
    regions.features.load_state_dict(under(f"{at}visual_projection."))
    for norm in (text.norm, regions.norm):
        norm.load_state_dict(under(f"{at}LayerNorm."))
    for i, block in enumerate(model.encoder.trunk.blocks):
        layer, found = under(f"visual_bert.encoder.layer.{i}."), {}
        for kind in ("weight", "bias"):
            names = [f"attention.self.{name}.{kind}" for name in ("query", "key", "value")]
            found[f"attn.qkv.{kind}"] = torch.cat([layer[name] for name in names])
            for mine, name in (("attn.proj", "attention.output.dense"), ("norm1", "attention.output.LayerNorm"),
                               ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
                               ("norm2", "output.LayerNorm")):  # fmt: skip
                found[f"{mine}.{kind}"] = layer[f"{name}.{kind}"]
        block.load_state_dict(found)
    head = model.predictor.predictors["text"]
    head.dense.load_state_dict(under("cls.predictions.transform.dense."))
    head.norm.load_state_dict(under("cls.predictions.transform.LayerNorm."))
    head.head.bias.data.copy_(state["cls.predictions.bias"])

    batch = samples()
    step = model.step(batch, 0)
    hidden, lengths = step.mask.part("text").hidden, batch["valid"].sum(1)
    rows, labels = torch.zeros(4, 11, dtype=torch.long), torch.full((4, 11 + 8), -100)
    rows[:, 0], rows[:, 1:10] = 2, batch["ids"].masked_fill(hidden, 4)
    rows[torch.arange(4), lengths + 1] = 3
    labels[:, 1:10] = batch["ids"].masked_fill(~hidden, -100)
    with torch.no_grad():
        expected = theirs(
            input_ids=rows, attention_mask=(torch.arange(11) < lengths[:, None] + 2).long(),
            visual_embeds=batch["regions"], visual_token_type_ids=torch.ones(4, 8, dtype=torch.long),
            visual_attention_mask=torch.ones(4, 8, dtype=torch.long), labels=labels,
        ).loss  # fmt: skip
    torch.testing.assert_close(step.terms["loss.text"], expected, rtol=1e-5, atol=1e-6)


def test_one_part_is_masked_at_a_time_for_all_samples():
    model = made()
    seen = set()
    for seed in range(12):
        step = model.step(samples(), seed)
        hidden = {name: step.mask.part(name).hidden for name in ("text", "regions")}
        masked = [name for name, one in hidden.items() if one.any()]
        assert len(masked) == 1
        assert hidden[masked[0]].any(1).all()
        seen.add(masked[0])
        assert set(step.terms) >= {"matching"}
    assert seen == {"text", "regions"}


def test_features_are_told_by_the_matrix_that_embeds_them():
    model = made()
    features = model.predictor.predictors["regions"]
    assert features.table is model.encoder.encoders["regions"].features.weight
    assert model.predictor.predictors["text"].head.weight is model.encoder.encoders["text"].embedding
    with pytest.raises(ValueError, match="The matrix must be"):
        features.tie(nn.Parameter(torch.zeros(2, 2)))


def test_divergence_by_hand():
    """Of a fair coin against 3 to 1: (ln(0.5 / 0.75) + ln(0.5 / 0.25)) / 2."""
    answers = torch.tensor([[[3.0, 1.0]]]).log()
    loss = DistributionLoss()(
        Prediction(answers, Places(torch.zeros(1, 1, dtype=torch.long))), torch.tensor([[[0.5, 0.5]]])
    )
    assert loss.total == pytest.approx(0.5 * (torch.tensor(4 / 3)).log().item(), rel=1e-5)
    certain = torch.tensor([[[1.0, 0.0]]])
    sure = DistributionLoss()(Prediction(answers, Places(torch.zeros(1, 1, dtype=torch.long))), certain)
    assert sure.total == pytest.approx(F.cross_entropy(answers[0], torch.tensor([0])).item(), rel=1e-5)


def test_a_short_run(tmp_path):
    run = str(tmp_path / "run")
    options = ["--trainer.max_steps", "2", "--data.num_scenes", "64", "--data.num_val", "8", "--data.batch_size", "8"]
    options += ["--trainer.check_val_every_n_epoch", "1"]
    assert main(["fit", "--config", "multimodal/uniter-scenes", *options, "--out", run]) == 0


class TestUNITER(JointContract):
    no_alone = "a part alone cannot be masked while the other is whole"
    unused = ("mask_token",)

    def make(self):
        return made()

    def batch(self):
        return samples()


class TestWordStem(EncoderContract):
    def make(self):
        return WordStem(16, 40, 14)

    def tokens(self):
        valid = torch.arange(12) < torch.tensor([12, 9, 5])[:, None]
        return Tokens(torch.randint(5, 40, (3, 12)), Sequence(), valid=valid)


class TestTiedFeatures(PredictorContract):
    encoder_width = 8
    corruptions = [Corruption(token=1)]

    def make(self):
        return TiedFeatures(8, 4)

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Set(), positions=torch.rand(3, 12, 4))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: made(tokenizer=None), "`tokenizer` must be given"),
        (lambda: WordStem(8, 4), r"`mask_id` must be in \[0, 4\), but is 4"),
        (lambda: WordStem(8, 40, 4)(Tokens(torch.ones(1, 9).long(), Sequence())), "at most 2 words"),
        (lambda: TiedFeatures(8, 4)(Latent(torch.zeros(1, 2, 8), Places(torch.zeros(1, 2))), None, None), "a code at"),
    ],
)
def test_what_is_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()
