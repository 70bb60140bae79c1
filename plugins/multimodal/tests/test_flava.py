"""FLAVA: the complete loss of transformers' `FlavaForPreTraining` at shared weights, masks and wrong pairs."""

import pytest
import torch
from transformers import FlavaConfig, FlavaForPreTraining

from unmask import RANDOM, TOKEN, Corruption, CorruptionByPart, TokenizerByPart
from unmask.api import main
from unmask.targets import GivenTarget
from unmask_multimodal.encoders import JointEncoder, JointTrunk
from unmask_multimodal.methods import FLAVA
from unmask_multimodal.testing import JointContract
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.tokenizer import TextTokenizer
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

NUM_WORDS, NUM_IMAGE_IDS = 40, 16
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "layer_norm_eps": 1e-6}
CONFIG = FlavaConfig(
    text_config=SIZES | {"hidden_size": 24, "intermediate_size": 96, "vocab_size": NUM_WORDS,
                         "max_position_embeddings": 20},
    image_config=SIZES | {"hidden_size": 24, "intermediate_size": 96, "image_size": 8, "patch_size": 2,
                          "num_channels": 1, "vocab_size": NUM_IMAGE_IDS},
    multimodal_config=SIZES | {"hidden_size": 24, "intermediate_size": 96},
    hidden_size=24, projection_dim=8, init_codebook=False, layer_norm_eps=1e-6,
)  # fmt: skip


def made(**options):
    image = ViTEncoder(
        "vit_tiny_patch16_224", 8, 2, 1, mask_token=True, options={"embed_dim": 24, "depth": 2, "num_heads": 2}
    )
    text = TransformersEncoder({
        "model_type": "roberta-prelayernorm", "vocab_size": NUM_WORDS, "hidden_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 96, "max_position_embeddings": 22, "type_vocab_size": 2,
        "layer_norm_eps": 1e-6, "pad_token_id": 1, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    })  # fmt: skip
    trunk = JointTrunk(24, 2, 2, num_global=1)
    words = VocabularyCorruption(token=0.8, random=0.1, keep=0.1, vocab_size=NUM_WORDS)
    given = {
        "tokenizer": TokenizerByPart({"image": PatchTokenizer(2, 1), "text": TextTokenizer()}),
        "encoder": JointEncoder({"image": image, "text": text}, trunk, project=True, own_norms=False),
        "num_image_ids": NUM_IMAGE_IDS,
        "num_words": NUM_WORDS,
        "image_ids": GivenTarget("image_ids"),
        "corruption": CorruptionByPart({"image": Corruption(token=1), "text": words}),
        "width": 8,
    }
    return FLAVA(**(given | options))


def samples():
    length = torch.tensor([9, 7, 9, 5])
    return {
        "image": torch.rand(4, 1, 8, 8),
        "image_ids": torch.randint(NUM_IMAGE_IDS, (4, 16)),
        "ids": torch.randint(5, NUM_WORDS, (4, 9)),
        "word": torch.arange(9).expand(4, -1),
        "valid": torch.arange(9) < length[:, None],
        "index": torch.arange(4),
    }


def taken(model, theirs):
    """Puts transformers' weights into the model, by names of timm and of RoBERTa with a norm first."""
    state = theirs.state_dict()

    def linear(prefix, mine, kinds=("weight", "bias")):
        return {f"{mine}.{kind}": state[f"{prefix}.{kind}"] for kind in kinds}

    def blocks(prefix):
        found = {}
        for i in range(2):
            layer = f"{prefix}.encoder.layer.{i}"
            for mine, their in (
                ("attn.proj", "attention.output.dense"), ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"),
                ("norm1", "layernorm_before"), ("norm2", "layernorm_after"),
            ):  # fmt: skip
                found |= linear(f"{layer}.{their}", f"blocks.{i}.{mine}")
            for kind in ("weight", "bias"):
                names = (f"{layer}.attention.attention.{name}.{kind}" for name in ("query", "key", "value"))
                found[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat([state[name] for name in names])
        return found | linear(f"{prefix}.layernorm", "norm")

    image, text = model.encoder.encoders["image"], model.encoder.encoders["text"]
    base = "flava.image_model.embeddings"
    image.vit.load_state_dict(
        blocks("flava.image_model")
        | {"cls_token": state[f"{base}.cls_token"], "pos_embed": state[f"{base}.position_embeddings"]}
        | linear(f"{base}.patch_embeddings.projection", "patch_embed.proj")
    )
    words = {}
    for name, value in state.items():
        if name.startswith("flava.text_model.") and "pooler" not in name:
            name = name.removeprefix("flava.text_model.")
            for their, mine in (
                ("attention.attention.", "attention.self."), ("layernorm_before", "attention.LayerNorm"),
                ("layernorm_after", "intermediate.LayerNorm"), ("layernorm.", "LayerNorm."),
            ):  # fmt: skip
                name = name.replace(their, mine)
            words[name] = value
    table = words["embeddings.position_embeddings.weight"]
    words["embeddings.position_embeddings.weight"] = torch.cat([torch.zeros(2, 24), table])  # RoBERTa's begin at 2
    own = text.model.state_dict()
    text.model.load_state_dict({name: words.get(name, own[name]) for name in own if "pooler" in name} | words)
    trunk = blocks("flava.multimodal_model") | {"global_tokens": state["flava.multimodal_model.cls_token"]}
    model.encoder.trunk.load_state_dict(trunk)
    with torch.no_grad():
        image.mask_token.copy_(state[f"{base}.mask_token"])
        model.terms["contrast"].log_scale.copy_(state["flava.logit_scale"])
    for i, name in enumerate(("image", "text")):
        model.encoder.projects[name].load_state_dict(linear(f"flava.{name}_to_mm_projection", "x") and {
            kind: state[f"flava.{name}_to_mm_projection.{kind}"] for kind in ("weight", "bias")
        })  # fmt: skip
        model.terms["contrast"].projects[i].load_state_dict(
            {kind: state[f"flava.{name}_projection.{kind}"] for kind in ("weight", "bias")}
        )
        heads = (
            (model.predictor, f"mmm_{name}_head"),
            (model.objectives[name].predictor, f"m{name[0].replace('t', 'l')}m_head"),
        )
        for head, their in heads:
            head.predictors[name].load_state_dict(
                linear(f"{their}.transform.dense", "dense")
                | linear(f"{their}.transform.LayerNorm", "norm")
                | {"head.weight": state[f"{their}.decoder.weight"], "head.bias": state[f"{their}.decoder.bias"]}
            )
    matching = model.terms["matching"]
    matching.poolers[0].load_state_dict({kind: state[f"itm_head.pooler.dense.{kind}"] for kind in ("weight", "bias")})
    matching.head.load_state_dict({kind: state[f"itm_head.seq_relationship.{kind}"] for kind in ("weight", "bias")})


def between(ids, valid):
    """Documents between class token and separator ``[B, N + 2]``, and which of those are real."""
    rows, lengths = torch.zeros(len(ids), ids.shape[1] + 2, dtype=torch.long), valid.sum(1)
    rows[:, 0], rows[:, 1:-1] = 2, ids
    rows[torch.arange(len(ids)), lengths + 1] = 3
    return rows, (torch.arange(rows.shape[1]) < lengths[:, None] + 2).long()


def test_the_complete_loss_is_transformers():
    torch.manual_seed(0)
    theirs = FlavaForPreTraining(CONFIG).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = made().eval()
    taken(model, theirs)
    batch = samples()
    step = model.step(batch, 0)

    text, hidden = step.given.shown.mask.part("text"), step.mask.part("image").hidden
    shown = batch["ids"].masked_fill(text.hidden & (text.show == TOKEN), 4)
    shown = torch.where(text.hidden & (text.show == RANDOM), text.donor, shown)
    clean, there = between(batch["ids"], batch["valid"])
    words = {
        "input_ids": clean,
        "input_ids_masked": between(shown, batch["valid"])[0],
        "attention_mask": there,
        "mlm_labels": torch.nn.functional.pad(batch["ids"].masked_fill(~text.hidden, -100), (1, 1), value=-100),
    }
    pixels = {"pixel_values": (batch["image"] - 0.5) / 0.5, "bool_masked_pos": hidden, "mim_labels": batch["image_ids"]}
    partners = model.terms["matching"].partners(step, model, 1)[:, 0]
    assert not (partners == torch.arange(4)).any()

    def asked(**given):
        given = {name: value.clone() for name, value in given.items()}  # which it writes to
        with torch.no_grad():
            return theirs(**given, return_loss=True).loss_info

    pairs = asked(**words, **pixels, itm_labels=torch.ones(4, dtype=torch.long))
    both = asked(
        **{name: torch.cat([value, value[partners]]) for name, value in words.items()},
        **{name: torch.cat([value, value]) for name, value in pixels.items()},
        itm_labels=torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]),
    )
    expected = {
        "loss.image": pairs.mmm_image, "loss.text": pairs.mmm_text, "contrast": pairs.global_contrastive,
        "matching": both.itm, "image": asked(**pixels).mim, "text": asked(**words).mlm,
    }  # fmt: skip
    assert set(step.terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(step.terms[name], value, rtol=1e-5, atol=1e-6, msg=name)
    torch.testing.assert_close(step.loss.total, sum(expected.values()), rtol=1e-5, atol=1e-6)


def test_ids_of_patches_are_found_when_a_fit_begins(tmp_path, capsys):
    run = str(tmp_path / "run")
    options = ["--trainer.max_steps", "2", "--trainer.check_val_every_n_epoch", "1", "--data.num_val", "60"]
    assert main(["fit", "--config", "multimodal/flava-digits", *options, "--out", run]) == 0


class TestFLAVA(JointContract):
    no_alone = "contrast and matching need both parts"
    unused = ("mask_token", "pooler.dense.weight", "pooler.dense.bias", "token_type_embeddings.weight")

    def make(self):
        return made()

    def batch(self):
        return samples()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"encoder": None}, "`encoder` must be given, with parts `image` and `text`, but is None"),
        ({"width": 0}, "`width` must be at least 1, but is 0"),
        ({"num_image_ids": 1, "image_ids": None}, r"`num_clusters` must be in \[2, 65536\], but is 1"),
    ],
)
def test_what_is_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        made(**options)
