"""LXMERT: the complete loss of transformers' `LxmertForPreTraining` at shared weights, masks and wrong pairs."""

import pytest
import torch
from transformers import LxmertConfig, LxmertForPreTraining

from unmask import (
    RANDOM,
    TOKEN,
    Corruption,
    CorruptionByPart,
    Given,
    Mask,
    Places,
    Prediction,
    Set,
    Shown,
    TokenizerByPart,
    Tokens,
)
from unmask.api import main
from unmask.losses import L1Loss
from unmask.masks import MaskByPart, RandomMask
from unmask.testing import DataContract, EncoderContract
from unmask_multimodal.data import Scenes
from unmask_multimodal.data.scenes import IDS, SHAPES, scene
from unmask_multimodal.methods import LXMERT
from unmask_multimodal.regions import OverAllPlaces, RegionEncoder, RegionTokenizer
from unmask_multimodal.testing import JointContract
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.tokenizer import TextTokenizer

CONFIG = LxmertConfig(
    vocab_size=40, hidden_size=24, num_attention_heads=2, intermediate_size=96, max_position_embeddings=20,
    l_layers=2, x_layers=2, r_layers=1, visual_feat_dim=6, visual_pos_dim=4, num_object_labels=5, num_attr_labels=3,
    num_qa_labels=4, visual_loss_normalizer=1 / 0.15, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
NUM_REGIONS = 8


def made(**options):
    text = TransformersEncoder({
        "model_type": "bert", "vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 96, "max_position_embeddings": 20, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    })  # fmt: skip
    words = VocabularyCorruption(token=0.5, random=0.3, keep=0.2, vocab_size=40)
    regions = Corruption(token=0.5, random=0.3, keep=0.2)
    given = {
        "tokenizer": TokenizerByPart({"text": TextTokenizer(), "regions": RegionTokenizer()}),
        "text": text,
        "regions": RegionEncoder(24, 6, 1, 2),
        "depth": 2,
        "num_heads": 2,
        "num_words": 40,
        "num_classes": 5,
        "num_attributes": 3,
        "num_answers": 4,
        "feature_width": 6,
        "mask": MaskByPart({"text": RandomMask(0.4), "regions": RandomMask(0.4)}),
        "corruption": CorruptionByPart({"text": words, "regions": regions}),
    }
    return LXMERT(**(given | options))


def samples():
    valid = torch.arange(9) < torch.tensor([9, 7, 9, 5])[:, None]
    return {
        "regions": torch.randn(4, NUM_REGIONS, 6),
        "region_boxes": torch.rand(4, NUM_REGIONS, 2, 2).sort(2).values.flatten(2),
        "region_classes": torch.randint(5, (4, NUM_REGIONS)),
        "region_attributes": torch.randint(3, (4, NUM_REGIONS)),
        "region_confidence": torch.rand(4, NUM_REGIONS),
        "answer": torch.randint(4, (4,)),
        "ids": torch.randint(5, 40, (4, 9)),
        "word": torch.arange(9).expand(4, -1),
        "valid": valid,
        "index": torch.arange(4),
    }


def taken(model, theirs):
    state = theirs.state_dict()

    def under(prefix):
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

    text, regions, trunk = model.encoder.encoders["text"], model.encoder.encoders["regions"], model.encoder.trunk
    own = text.model.state_dict()
    own |= {f"embeddings.{name}": value for name, value in under("lxmert.embeddings.").items()}
    own |= {f"encoder.layer.{name}": value for name, value in under("lxmert.encoder.layer.").items()}
    text.model.load_state_dict({name: value for name, value in own.items() if name in text.model.state_dict()})

    start = "lxmert.encoder.visn_fc."
    for mine, name in ((regions.features, "visn_fc"), (regions.feature_norm, "visn_layer_norm"),
                       (regions.boxes, "box_fc"), (regions.box_norm, "box_layer_norm")):  # fmt: skip
        mine.load_state_dict(under(f"{start}{name}."))
    layer = under("lxmert.encoder.r_layers.0.")
    found = {}
    for kind in ("weight", "bias"):
        names = [f"attention.self.{name}.{kind}" for name in ("query", "key", "value")]
        found[f"attn.qkv.{kind}"] = torch.cat([layer[name] for name in names])
        for mine, name in (("attn.proj", "attention.output.dense"), ("norm1", "attention.output.LayerNorm"),
                           ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
                           ("norm2", "output.LayerNorm")):  # fmt: skip
            found[f"{mine}.{kind}"] = layer[f"{name}.{kind}"]
    regions.blocks[0].load_state_dict(found)

    for i, pair in enumerate(trunk.layers):
        at = f"lxmert.encoder.x_layers.{i}."
        for stream, name in zip(pair, ("lang", "visn"), strict=True):
            for mine, norm, prefix, inner in (
                (stream.cross, stream.cross_norm, f"{at}visual_attention.", "att"),
                (stream.own, stream.own_norm, f"{at}{name}_self_att.", "self"),
            ):
                for one, word in (("q", "query"), ("k", "key"), ("v", "value")):
                    getattr(mine, one).load_state_dict(under(f"{prefix}{inner}.{word}."))
                mine.proj.load_state_dict(under(f"{prefix}output.dense."))
                norm.load_state_dict(under(f"{prefix}output.LayerNorm."))
            stream.fc1.load_state_dict(under(f"{at}{name}_inter.dense."))
            stream.fc2.load_state_dict(under(f"{at}{name}_output.dense."))
            stream.mlp_norm.load_state_dict(under(f"{at}{name}_output.LayerNorm."))

    words, things = (model.predictor.predictors[name] for name in ("text", "regions"))
    for head, prefix in ((words, "cls.predictions."), (things, "obj_predict_head.")):
        head.dense.load_state_dict(under(f"{prefix}transform.dense."))
        head.norm.load_state_dict(under(f"{prefix}transform.LayerNorm."))
    words.head.bias.data.copy_(state["cls.predictions.bias"])
    things.head.load_state_dict(under("obj_predict_head.decoder_dict.feat."))
    for name, key in (("classes", "obj"), ("attributes", "attr")):
        model.objectives[name].predictor.head.load_state_dict(under(f"obj_predict_head.decoder_dict.{key}."))
    answer, matching = model.objectives["question"].predictor, model.terms["matching"]
    for pooler in (answer.pooler, matching.poolers[0]):
        pooler.load_state_dict(under("lxmert.pooler.dense."))
    for mine, place in ((answer.dense, 0), (answer.norm, 2), (answer.head, 3)):
        mine.load_state_dict(under(f"answer_head.logit_fc.{place}."))
    matching.head.load_state_dict(under("cls.seq_relationship."))


def between(ids, valid):
    """Documents between class token and separator ``[B, N + 2]``, and which of those are real."""
    rows, lengths = torch.zeros(len(ids), ids.shape[1] + 2, dtype=torch.long), valid.sum(1)
    rows[:, 0], rows[:, 1:-1] = 2, ids
    rows[torch.arange(len(ids)), lengths + 1] = 3
    return rows, (torch.arange(rows.shape[1]) < lengths[:, None] + 2).long()


def test_the_complete_loss_is_transformers():
    torch.manual_seed(0)
    theirs = LxmertForPreTraining(CONFIG).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = made().eval()
    taken(model, theirs)
    batch = samples()
    step = model.step(batch, 2)

    mask = step.given.shown.mask
    text, regions = mask.part("text"), mask.part("regions")
    assert all(bool((text.hidden & (text.show == kind)).any()) for kind in (TOKEN, RANDOM))
    assert all(bool((regions.hidden & (regions.show == kind)).any()) for kind in (TOKEN, RANDOM))
    ids = batch["ids"].masked_fill(text.hidden & (text.show == TOKEN), 4)
    ids = torch.where(text.hidden & (text.show == RANDOM), text.donor, ids)
    features = batch["regions"].masked_fill((regions.hidden & (regions.show == TOKEN))[..., None], 0)
    other = torch.stack([row[donor] for row, donor in zip(batch["regions"], regions.donor, strict=True)])
    features = torch.where((regions.hidden & (regions.show == RANDOM))[..., None], other, features)

    rows, there = between(ids, batch["valid"])
    sure, hidden = batch["region_confidence"], regions.hidden.float()
    words = {"input_ids": rows, "attention_mask": there}
    things = {"visual_feats": features, "visual_pos": batch["region_boxes"]}
    asked = {
        "labels": torch.nn.functional.pad(batch["ids"].masked_fill(~text.hidden, -100), (1, 1), value=-100),
        "obj_labels": {
            "obj": (batch["region_classes"], sure * hidden),
            "attr": (batch["region_attributes"], sure * hidden),
            "feat": (batch["regions"], hidden),
        },
        "ans": batch["answer"],
    }
    partners = model.terms["matching"].partners(step, model, 1)[:, 0]
    right, wrong = torch.ones(4, dtype=torch.long), torch.zeros(4, dtype=torch.long)
    with torch.no_grad():
        whole = theirs(**words, **things, **asked).loss
        alike = theirs(**words, **things, matched_label=right).loss
        apart = theirs(**words, **{name: one[partners] for name, one in things.items()}, matched_label=wrong).loss
        only = {name: theirs(**words, **things, **{name: asked[name]}).loss for name in asked}
    expected = (alike + apart) / 2
    assert set(step.terms) == {"loss.text", "loss.regions", "classes", "attributes", "question", "matching"}
    torch.testing.assert_close(step.terms["loss.text"], only["labels"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(step.terms["question"], only["ans"], rtol=1e-5, atol=1e-6)
    of_regions = sum(step.terms[name] for name in ("loss.regions", "classes", "attributes"))
    torch.testing.assert_close(of_regions, only["obj_labels"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(step.terms["matching"], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(step.loss.total, whole + expected, rtol=1e-5, atol=1e-6)


def test_answers_of_regions_share_their_hidden_layer_and_words_their_table():
    model = made()
    regions, classes = model.predictor.predictors["regions"], model.objectives["classes"].predictor
    assert classes.dense is regions.dense
    assert model.predictor.predictors["text"].head.weight is model.encoder.encoders["text"].embedding
    with pytest.raises(ValueError, match="to share a table of embeddings"):
        regions.tie(model.encoder.encoders["text"].embedding)


def test_losses_over_all_places_by_hand():
    """Two of five real places are asked: (1 * 0.5 + 3 * 1.0) / 5, times 2; padding is not counted."""
    mask = Mask(torch.tensor([[True, False, True], [False, False, False]]),
                valid=torch.tensor([[True] * 3, [True, True, False]]))  # fmt: skip
    asked = Places(torch.tensor([[0, 2], [0, 0]]), torch.tensor([[True, True], [False, False]]))
    prediction = Prediction(torch.tensor([[[1.0], [3.0]], [[9.0], [9.0]]]), asked)
    tokens = Tokens(torch.zeros(2, 3, 1), Set(), valid=mask.valid)
    given = Given({"sure": torch.tensor([[0.5, 9.0, 1.0], [9.0, 9.0, 9.0]])}, Shown(tokens, mask))
    loss = OverAllPlaces(L1Loss(), "sure", scale=2.0)(prediction, torch.zeros(2, 2, 1), given)
    assert loss.total == pytest.approx(2 * 3.5 / 5)
    assert loss.per_token.tolist() == [[0.5, 3.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="A batch must have `how`, the confidence"):
        OverAllPlaces(L1Loss(), "how")(prediction, torch.zeros(2, 2, 1), given)


def test_sentences_tell_the_truth():
    names = {number: word for word, number in IDS.items()}
    for number in range(50):
        one = scene(number)
        words = [names[own] for own in one["ids"].tolist()]
        count = int(one["region_valid"].sum())
        shapes = [SHAPES[own] for own in one["region_classes"][:count].tolist()]
        assert len(set(shapes)) == count == one["answer"] + 3
        first, second = (float(one["region_boxes"][shapes.index(words[at]), 0]) for at in (2, 8))
        assert words[4] == ("left" if first < second else "right")
        assert one["region_boxes"].min() >= 0
        assert one["region_boxes"].max() <= 1


def test_a_short_run(tmp_path):
    run = str(tmp_path / "run")
    options = ["--trainer.max_steps", "2", "--data.num_scenes", "64", "--data.num_val", "8", "--data.batch_size", "8"]
    options += ["--trainer.check_val_every_n_epoch", "1"]
    assert main(["fit", "--config", "multimodal/lxmert-scenes", *options, "--out", run]) == 0


class TestLXMERT(JointContract):
    no_alone = "a cross trunk works on two parts"
    unused = ("pooler.dense.weight", "pooler.dense.bias")

    def make(self):
        return made()

    def batch(self):
        return samples()


class TestRegionEncoder(EncoderContract):
    def make(self):
        return RegionEncoder(24, 6, 2, 2)

    def tokens(self):
        valid = torch.arange(12) < torch.tensor([12, 9, 5])[:, None]
        return Tokens(torch.randn(3, 12, 6), Set(), positions=torch.rand(3, 12, 4), valid=valid)


class TestScenes(DataContract):
    num_batches = 3

    def make(self, **options):
        return Scenes(num_scenes=40, num_val=6, batch_size=4, **options)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: made(text=None), "`text` and `regions`, encoders of both parts, must be given"),
        (lambda: made(tokenizer=None), "`tokenizer` must be given"),
        (lambda: RegionEncoder(24, 6, box_numbers=5), "`box_numbers` must be 4 or 7, but is 5"),
        (lambda: RegionEncoder(24, 6, mix="max"), "`mix` must be 'mean' or 'sum', but is 'max'"),
        (lambda: RegionTokenizer()({"image": 1}), "A batch must have `regions`"),
        (lambda: RegionTokenizer()({"regions": torch.ones(1, 2, 3)}), "`region_boxes` must be"),
        (
            lambda: RegionEncoder(24, 6)(Tokens(torch.ones(1, 2, 5), Set(), positions=torch.ones(1, 2, 4))),
            "`feature_width` must be 5, as of the regions, but is 6",
        ),
        (lambda: RegionEncoder(24, 6)(Tokens(torch.ones(1, 2, 6), Set())), "Regions must have boxes"),
        (lambda: Scenes(noise=-1.0), "`noise` must be at least 0, but is -1.0"),
    ],
)
def test_what_is_refused(make, rule):
    with pytest.raises(ValueError, match=rule):
        make()
