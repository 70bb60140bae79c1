"""Weights under fairseq's names, made from models of transformers: the same codes here."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, Wav2Vec2Config, Wav2Vec2ForPreTraining

from unmask.api import load_run, main

METHODS = {"wav2vec2": "audio.wav2vec2"} | dict.fromkeys(("hubert", "wavlm", "data2vec-audio"), "audio.hubert")
NAMES = {  # as the conversion scripts of transformers have them
    r"^quantizer\.codevectors": "quantizer.vars",
    r"^project_hid": "final_proj",
    r"feature_projection\.layer_norm": "layer_norm",
    r"feature_projection\.projection": "post_extract_proj",
    r"encoder\.pos_conv_embed\.conv": "encoder.pos_conv.0",
    r"encoder\.pos_conv_embed\.layers\.(\d+)\.conv": r"encoder.pos_conv.\1.0",
    r"attention\.gru_rel_pos_linear": "self_attn.grep_linear",
    r"attention\.gru_rel_pos_const": "self_attn.grep_a",
    r"attention\.rel_attn_embed": "self_attn.relative_attention_bias",
    r"(layers\.\d+)\.layer_norm": r"\1.self_attn_layer_norm",
    r"attention\.(?=[qkvo])": "self_attn.",
    r"feed_forward\.intermediate_dense": "fc1",
    r"feed_forward\.output_dense": "fc2",
    r"masked_spec_embed": "mask_emb",
    r"(conv_layers\.\d+)\.conv\.": r"\1.0.",
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def config(settings, style="hubert", **options):
    encoder = {"class_path": "audio.speech", "init_args": {"config": settings}}
    model = {"class_path": METHODS[style], "init_args": {"encoder": encoder, **options}}
    Path("config.yaml").write_text(json.dumps({"model": model, "data": {"class_path": "audio.synth"}}))
    return "config.yaml"


def fairseqs(state, norm, old=True):
    """Their tensors under fairseq's names; weight norms as older torch calls them, or newer."""
    out = {}
    for name, tensor in state.items():
        inner = "layer_norm." if "conv_layers" not in name else "2.1." if norm == "layer" else "2."
        name = name.removeprefix("wav2vec2.").replace("layer_norm.", inner)
        for theirs, new in NAMES.items():
            name = re.sub(theirs, new, name)
        for number, before in (("0", "g"), ("1", "v")) if old else ():
            name = name.replace(f"parametrizations.weight.original{number}", f"weight_{before}")
        out[name] = tensor
    return out


def shaken(model):
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.05)
    return model.eval()


def fresh(settings):
    given = dict(settings)
    return shaken(AutoModel.from_config(AutoConfig.for_model(given.pop("model_type"), mask_time_prob=0.05, **given)))


def imported(capsys, given, status=0):
    assert main(["import", "it.pt", "--config", given, "--out", "run"]) == status
    said = capsys.readouterr()
    return load_run("run").model.eval() if status == 0 else None, said.out + said.err


def same_codes(model, theirs):
    wave = torch.randn(2, 400 + 30 * 320)
    with torch.no_grad():
        own = model.encoder(type(model.tokenizer)(400, 320, normalize=False)(wave)).values
        torch.testing.assert_close(own, theirs(wave).last_hidden_state, rtol=0, atol=1e-5)


def test_data2vec_computes_the_same(settings, capsys):
    given = settings("data2vec-audio")
    theirs = fresh(given)
    state = fairseqs(theirs.state_dict(), "layer")
    teacher = {f"_ema.{name.removeprefix('encoder.')}": x for name, x in state.items() if name.startswith("encoder.l")}
    others = {"final_proj.weight": torch.randn(32, 32), "final_proj.bias": torch.randn(32)}
    model = {"encoder_attention_heads": 4, "extractor_mode": "layer_norm", "layer_norm_first": False}
    torch.save({"cfg": {"model": model}, "model": state | teacher | others}, "it.pt")
    model, said = imported(capsys, config(given, "data2vec-audio", num_clusters=7))
    assert "Read as `audio.fairseq-release` under `model.`." in said
    assert "(100%; 100% of the values).\n  2 unknown: `final_proj.weight`, `final_proj.bias`" in said
    same_codes(model, theirs)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(("kind", "norm"), [("hubert", "group"), ("hubert", "layer"), ("wavlm", "group")])
def test_hubert_and_wavlm_compute_the_same(kind, norm, old, settings, capsys):
    given = settings(kind, norm)
    theirs = fresh(given)
    state = fairseqs(theirs.state_dict(), norm, old)
    heads = {"final_proj.weight": torch.randn(256, 32), "final_proj.bias": torch.randn(256)}
    heads["label_embs_concat"] = torch.randn(7, 256)
    model = {"encoder_attention_heads": 4, "extractor_mode": "default" if norm == "group" else "layer_norm"}
    torch.save({"args": None, "cfg": {"model": model}, "model": state | heads, "last_optimizer_state": {}}, "it.pt")
    model, said = imported(capsys, config(given, num_clusters=7))
    assert "Read as `audio.fairseq-release` under `model.`." in said
    assert said.count("(100%; 100% of the values)") == 2
    assert "unknown" not in said
    same_codes(model, theirs)
    assert torch.equal(model.predictor.embeddings[0], heads["label_embs_concat"])


def test_wav2vec2_comes_in_with_its_quantiser_and_projections(settings, capsys):
    given = settings("wav2vec2")
    given.pop("model_type")
    sizes = {"num_codevectors_per_group": 6, "codevector_dim": 8, "proj_codevector_dim": 16}
    theirs = shaken(Wav2Vec2ForPreTraining(Wav2Vec2Config(**given, **sizes)))
    arguments = argparse.Namespace(encoder_attention_heads=4, layer_norm_first=False, normalize=False)
    torch.save({"args": arguments, "model": fairseqs(theirs.state_dict(), "group")}, "it.pt")
    options = {"num_entries": 6, "codebook_width": 8, "target_width": 16}
    model, said = imported(capsys, config(settings("wav2vec2"), "wav2vec2", **options))
    assert "Read as `audio.fairseq-release` under `model.`." in said
    assert said.count("(100%; 100% of the values)") == 2
    assert "Taken as well: 5 tensors" in said
    assert "unknown" not in said
    assert "tokenizer is True, but the weights were trained with False (`args.normalize`)." in said
    same_codes(model, theirs.wav2vec2)
    assert torch.equal(model.target.quantizer.entries.flatten(0, 1)[None], theirs.quantizer.codevectors)
    assert torch.equal(model.predictor.head.weight, theirs.project_hid.weight)


def test_a_fine_tuned_encoder_lies_under_a_prefix_and_its_head_is_named(settings, capsys):
    theirs = fresh(settings())
    state = {f"w2v_encoder.w2v_model.{name}": x for name, x in fairseqs(theirs.state_dict(), "group").items()}
    torch.save({"model": state | {"w2v_encoder.proj.weight": torch.randn(4, 32)}}, "it.pt")
    model, said = imported(capsys, config(settings(), num_clusters=7))
    assert "under `model.w2v_encoder.w2v_model.`" in said
    assert "Left alone, under other names: 1 tensors" in said
    same_codes(model, theirs)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("encoder_attention_heads", 8, "`num_attention_heads` of the config's encoder must be 8"),
        ("layer_norm_first", True, "`do_stable_layer_norm` of the config's encoder must be True"),
        ("extractor_mode", "layer_norm", "`feat_extract_norm` of the config's encoder must be 'layer'"),
    ],
)
def test_settings_that_no_size_tells_are_compared(key, value, told, settings, capsys):
    state = fairseqs(fresh(settings()).state_dict(), "group")
    torch.save({"cfg": {"model": {key: value}}, "model": state}, "it.pt")
    _, said = imported(capsys, config(settings(), num_clusters=7), status=2)
    assert told in said
    assert f"`cfg.model.{key}` of the checkpoint" in said
    assert len(said.strip().splitlines()) == 1
