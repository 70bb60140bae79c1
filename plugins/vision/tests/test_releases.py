"""Weights under the names of their authors' repositories, made from models of transformers: the same codes here."""

from __future__ import annotations

import argparse
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
import transformers

from unmask.api import UserError, export, load_run, main
from unmask_vision.exchange.pixels import codes, normalized
from unmask_vision.exchange.releases import BEiTRelease, IJEPARelease, MAERelease, SimMIMRelease

SIDE, PATCH = 24, 4
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "image_size": SIDE, "patch_size": PATCH, "layer_norm_eps": 1e-6,
}  # fmt: skip
DECODER = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
BIAS = "rel_pos_type: bias, qkv_bias: true, init_values: 0.1, "
CONFIG = """
model:
  class_path: vision.{method}
  init_args:
    patch_size: {patch}
    encoder: {encoder}
    predictor: {predictor}
data: {{class_path: vision.folder, init_args: {{folder: none, image_size: {side}}}}}
"""
VIT = (
    "{{class_path: vision.vit, init_args: {{name: {name}, image_size: 24, patch_size: 4, mask_token: {token}, "
    "options: {{embed_dim: 32, depth: {depth}, num_heads: 4, {more}}}}}}}"
)
SWIN = (
    "{class_path: vision.swinv2, init_args: {image_size: 32, name: swinv2_tiny_window8_256, "
    "options: {embed_dim: 8, depths: [2, 1], num_heads: [1, 2], window_size: 4, patch_size: 2}}}"
)
TRANSFORMER = (
    "{{class_path: transformer, init_args: {{encoder_width: 32, target_width: {}, width: 24, depth: 2, num_heads: 2}}}}"
)
SWINS_HEAD = "{class_path: vision.swin, init_args: {encoder_width: 16, target_width: 12, downsampling: 2}}"
BLOCKS = {  # of a ViT, as every repository calls them; of transformers 5 in memory, and of older names
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "encoder.layer.": "blocks.",
    "decoder_layers.": "blocks.",
    "layers.": "blocks.",
    "attention.attention.": "attention.",
    "attention.output.dense.": "attn.proj.",
    "attention.o_proj.": "attn.proj.",
    "attention.relative_position_bias.": "attn.",
    "shared_position_bias.": "rel_pos_bias.",
    "layernorm_before.": "norm1.",
    "layernorm_after.": "norm2.",
    "intermediate.dense.": "mlp.fc1.",
    "output.dense.": "mlp.fc2.",
    "layernorm.": "norm.",
    "lambda_": "gamma_",
}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def config(method, name="vit_tiny_patch16_224", depth=2, more="", predictor="null", swin=False):
    token = "false" if predictor != "null" else "true"
    encoder = SWIN if swin else VIT.format(name=name, token=token, depth=depth, more=more)
    text = CONFIG.format(
        method=method, patch=2 if swin else PATCH, encoder=encoder, predictor=predictor, side=32 if swin else SIDE
    )
    Path("config.yaml").write_text(text)
    return "config.yaml"


def shaken(theirs):
    """With values that no initialisation gives; positions of a new ViTMAE are zeros otherwise."""
    with torch.no_grad():
        for tensor in theirs.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.1)
    return theirs.eval()


def original(state):
    """A ViT's tensors of transformers under the names that they have in the repositories."""
    out = {}
    for name, tensor in state.items():
        for theirs, new in BLOCKS.items():
            name = name.replace(theirs, new)
        out[re.sub(r"attention\.(q|k|v)(_proj|uery|ey|alue)\.", r"\1.", name)] = tensor
    for block in {name.partition(".q.")[0] for name in out if ".q.weight" in name}:
        out[f"{block}.attn.qkv.weight"] = torch.cat([out.pop(f"{block}.{part}.weight") for part in "qkv"])
        query, key, value = (out.pop(f"{block}.{part}.bias", None) for part in "qkv")
        if key is None:
            out |= {f"{block}.attn.q_bias": query, f"{block}.attn.v_bias": value}
        else:
            out[f"{block}.attn.qkv.bias"] = torch.cat([query, key, value])
    return out


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def mae():
    decoder = {f"decoder_{name}": size for name, size in DECODER.items()}
    theirs = shaken(
        transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**SIZES, **decoder, norm_pix_loss=True))
    )
    state = original({n.removeprefix("vit."): x for n, x in theirs.state_dict().items() if n.startswith("vit.")})
    for name, tensor in original({n: x for n, x in theirs.state_dict().items() if n.startswith("decoder.")}).items():
        name = name.removeprefix("decoder.")
        state[name.replace("blocks.", "decoder_blocks.")] = tensor
    state["decoder_pos_embed"] = theirs.decoder.decoder_pos_embed
    return theirs, state


def checkpoint(state, **arguments):
    """As training of facebookresearch/mae saves it."""
    given = argparse.Namespace(norm_pix_loss=True, output_dir="./output_dir", device="cuda", **arguments)
    moments = {number: {"exp_avg": tensor, "step": 7} for number, tensor in enumerate(state.values())}
    return {"model": state, "optimizer": {"state": moments}, "epoch": 3, "scaler": {"scale": 1.0}, "args": given}


def test_maes_pretraining_comes_in_with_its_decoder(capsys, given_mask, some_hidden):
    theirs, state = mae()
    theirs.decoder.decoder_pos_embed.data.copy_(torch.tensor(sincos(24)))
    torch.save(checkpoint(state, best=np.float64(0.5), data_path=PurePosixPath("/data")), "mae.pth")
    words = ["import", "mae.pth", "--config", config("mae", predictor=TRANSFORMER.format(48)), "--out", "run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Read as `vision.mae-release` under `model.`." in said
    assert "Encoder: 30 of 30 tensors match (100%; 100% of the values)." in said
    assert "Predictor: 31 of 31 tensors match (100%; 100% of the values)." in said
    assert "unknown" not in said
    assert "Left alone, under other names: 62 tensors (in `optimizer`)." in said
    model = load_run("run").model
    images, hidden = torch.rand(2, 3, SIDE, SIDE), some_hidden(2, 36, 27)
    model.mask = given_mask(hidden)
    with torch.no_grad():
        noise = hidden.float() + torch.linspace(0, 0.5, 36)  # they keep the places of least noise
        expected = theirs(normalized(model, images), noise=noise)
        torch.testing.assert_close(model.step({"image": images}).loss.total, expected.loss, rtol=1e-5, atol=0)


def sincos(width, side=6):
    """``[1, 1 + side^2, width]`` by the formula of MAE's code: columns first, then rows, after a row of zeros."""
    frequencies = 1 / 10000 ** (np.arange(width // 4) / (width / 4))
    rows, columns = np.divmod(np.arange(side * side), side)
    angles = [axis[:, None] * frequencies for axis in (columns, rows)]
    codes = np.concatenate([part for a in angles for part in (np.sin(a), np.cos(a))], axis=1)
    return np.concatenate([np.zeros((1, width)), codes])[None].astype(np.float32)


def test_a_decoder_of_other_positions_or_targets_is_not_taken_in_silence(capsys):
    _, state = mae()
    torch.save({"model": state}, "mae.pth")
    words = ["import", "mae.pth", "--config", config("mae", predictor=TRANSFORMER.format(48)), "--out", "run"]
    assert main(words) == 2
    assert "`decoder_pos_embed` must hold sine-cosine positions, but holds others." in capsys.readouterr().err
    assert not Path("run").exists()
    state["decoder_pos_embed"] = torch.tensor(sincos(24))
    given = checkpoint(state)
    given["args"].norm_pix_loss = False
    torch.save(given, "mae.pth")
    assert main(words) == 0
    assert "Note: The decoder was trained with `norm_pix_loss` False, but `normalize`" in capsys.readouterr().out


def test_an_encoder_alone_leaves_the_predictor_and_names_a_classifiers_head(capsys):
    _, state = mae()
    state = {name: x for name, x in state.items() if "decoder" not in name and name != "mask_token"}
    torch.save({"model": state | {"head.weight": torch.ones(3, 32)}}, "mae.pth")
    words = ["import", "mae.pth", "--config", config("mae", predictor=TRANSFORMER.format(48)), "--out", "run"]
    assert main([*words, "--format", "vision.mae-release"]) == 0
    said = capsys.readouterr().out
    assert "30 of 30" in said
    assert "1 unknown: `head.weight`" in said
    assert "Predictor: none in these weights" in said


def test_an_encoder_that_was_fine_tuned_on_the_mean_has_another_norm(capsys):
    _, state = mae()
    state = {name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: x for name, x in state.items()}
    torch.save({"model": {name: x for name, x in state.items() if "decoder" not in name}}, "mae.pth")
    words = ["import", "mae.pth", "--out", "run", "--config"]
    assert main([*words, config("mae", predictor=TRANSFORMER.format(48))]) == 2
    assert "unknown: `fc_norm.weight`, `fc_norm.bias`" in capsys.readouterr().err
    given = config("mae", more="global_pool: avg, fc_norm: true", predictor=TRANSFORMER.format(48))
    assert main([*words, given]) == 0
    assert "(100%; 100% of the values)" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["Data2VecVisionModel", "BeitForMaskedImageModeling"])
def test_folders_of_transformers_come_in_too(kind, capsys):
    theirs = (beit if "Beit" in kind else data2vec)()[0]
    if "Beit" in kind:
        whole = shaken(transformers.BeitForMaskedImageModeling(theirs.config))
        theirs, source = whole.base_model, whole
    else:
        source = theirs
    source.save_pretrained("theirs")
    shared = "true" if "Beit" in kind else "false"
    given = config("simmim", **RELATIVE, more=f"{BIAS}shared_rel_pos: {shared}")
    assert main(["import", "theirs", "--config", given, "--out", "run"]) == 0
    assert "Read as `vision.transformers`" in capsys.readouterr().out
    model, images = load_run("run").model, torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = theirs(normalized(model, images)).last_hidden_state
        torch.testing.assert_close(codes(model, images), expected, rtol=0, atol=1e-5)


def beit():
    more = {"use_mask_token": True, "use_mean_pooling": False, "layer_scale_init_value": 0.1}
    made = transformers.BeitConfig(**SIZES, **more, use_shared_relative_position_bias=True)
    theirs = shaken(transformers.BeitModel(made, add_pooling_layer=False))
    state = original(theirs.state_dict()) | {"rel_pos_bias.relative_position_index": torch.zeros(37, 37).long()}
    return theirs, state


def data2vec():
    more = {"use_mask_token": True, "use_mean_pooling": False, "layer_scale_init_value": 0.1}
    made = transformers.Data2VecVisionConfig(**SIZES, **more, use_relative_position_bias=True)
    theirs = shaken(transformers.Data2VecVisionModel(made, add_pooling_layer=False))
    return theirs, original(theirs.state_dict())


RELATIVE = {"name": "vit_relpos_base_patch16_cls_224"}
SOURCES = {
    "BEiT": (beit, "", RELATIVE | {"more": BIAS + "shared_rel_pos: true"}, "beit"),
    "data2vec": (data2vec, "", RELATIVE | {"more": BIAS + "shared_rel_pos: false"}, "beit"),
    "SimMIM": (beit, "encoder.", RELATIVE | {"more": BIAS + "shared_rel_pos: true"}, "simmim"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_vits_with_relative_positions_compute_the_same(source, capsys):
    make, prefix, options, name = SOURCES[source]
    theirs, state = make()
    state = under(prefix, state)
    if source == "SimMIM":
        state |= {"decoder.0.weight": torch.randn(48, 32, 1, 1), "decoder.0.bias": torch.randn(48)}
    torch.save({"model": state, "optimizer": {"state": {}}}, "it.pth")
    assert main(["import", "it.pth", "--config", config("simmim", **options), "--out", "run"]) == 0
    said = capsys.readouterr().out
    assert f"Read as `vision.{name}-release` under `model.`." in said
    assert "Encoder: " in said and "(100%; 100% of the values)" in said
    assert "unknown" not in said
    assert ("Predictor: 2 of 2 tensors match" in said) == (source == "SimMIM")
    model, images = load_run("run").model, torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = theirs(normalized(model, images)).last_hidden_state
        torch.testing.assert_close(codes(model, images), expected, rtol=0, atol=1e-5)


def test_simmims_swin_comes_in_with_its_head_and_has_the_same_loss(capsys, given_mask, some_hidden):
    sizes = {"embed_dim": 8, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4, "encoder_stride": 4}
    made = transformers.Swinv2Config(image_size=32, patch_size=2, layer_norm_eps=1e-5, drop_path_rate=0.0, **sizes)
    theirs = shaken(transformers.Swinv2ForMaskedImageModeling(made))
    state = {}
    for name, tensor in theirs.state_dict().items():
        for theirs_name, new in {
            "embeddings.patch_embeddings.projection.": "patch_embed.proj.", "embeddings.norm.": "patch_embed.norm.",
            "embeddings.": "", "swinv2.encoder.": "swinv2.", "attention.self.logit_scale": "attn.logit_scale",
            "attention.self.continuous_position_bias_mlp.": "attn.cpb_mlp.", "attention.output.dense.": "attn.proj.",
            "intermediate.dense.": "mlp.fc1.", "output.dense.": "mlp.fc2.", "layernorm_before.": "norm1.",
            "layernorm_after.": "norm2.", "layernorm.": "norm.", "swinv2.": "encoder.", "attention.self.": "attn.",
        }.items():  # fmt: skip
            name = name.replace(theirs_name, new)
        state[name] = tensor
    for attn in [name.removesuffix(".query.weight") for name in list(state) if name.endswith("query.weight")]:
        parts = [state.pop(f"{attn}.{part}.weight") for part in ("query", "key", "value")]
        state |= {f"{attn}.qkv.weight": torch.cat(parts), f"{attn}.relative_position_index": torch.zeros(16, 16)}
        state |= {f"{attn}.{part[0]}_bias": state.pop(f"{attn}.{part}.bias") for part in ("query", "value")}
    torch.save({"model": state}, "swin.pth")
    words = ["import", "swin.pth", "--config", config("simmim", predictor=SWINS_HEAD, swin=True), "--out", "run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Read as `vision.simmim-release` under `model.`." in said
    assert said.count("(100%; 100% of the values)") == 2
    assert "unknown" not in said
    model, images, hidden = load_run("run").model, torch.rand(2, 3, 32, 32), some_hidden(2, 256, 128)
    model.mask = given_mask(hidden)
    with torch.no_grad():
        expected = theirs(normalized(model, images), bool_masked_pos=hidden).loss
        torch.testing.assert_close(model.step({"image": images}).loss.total, expected, rtol=1e-5, atol=0)


def ijepa():
    encoders = [
        shaken(transformers.IJepaModel(transformers.IJepaConfig(**SIZES), add_pooling_layer=False)) for _ in "ab"
    ]
    state = under("encoder.module.", original(encoders[0].state_dict()))
    state |= under("target_encoder.module.", original(encoders[1].state_dict()))
    predictor = {"predictor_embed.weight": (24, 32), "predictor_embed.bias": (24,), "mask_token": (1, 1, 24)}
    for number in range(2):
        sizes = {"norm1": (24,), "attn.qkv": (72, 24), "attn.proj": (24, 24), "norm2": (24,)}
        for part, shape in (sizes | {"mlp.fc1": (96, 24), "mlp.fc2": (24, 96)}).items():
            predictor[f"predictor_blocks.{number}.{part}.weight"] = shape
            predictor[f"predictor_blocks.{number}.{part}.bias"] = shape[:1]
    for part, shape in {"predictor_norm": (24,), "predictor_proj": (32, 24)}.items():
        predictor |= {f"{part}.weight": shape, f"{part}.bias": shape[:1]}
    tensors = {name: torch.randn(shape) * 0.1 for name, shape in predictor.items()}
    tensors["predictor_pos_embed"] = torch.tensor(sincos(24)[:, 1:])
    content = {"opt": {"state": {0: {"exp_avg": torch.zeros(3)}}}, "scaler": None, "epoch": 1}
    for name, tensor in (state | under("predictor.module.", tensors)).items():
        part, _, rest = name.partition(".")
        content.setdefault(part, {})[rest] = tensor
    return encoders, tensors, content


NO_CLASS = "class_token: false, global_pool: avg, fc_norm: false"


def test_ijepas_three_parts_come_in(capsys):
    (_, target), predictor, content = ijepa()
    torch.save(content, "jepa.pth.tar")
    given = config("ijepa", more=NO_CLASS, predictor=TRANSFORMER.format(32))
    assert main(["import", "jepa.pth.tar", "--config", given, "--out", "run"]) == 0
    said = capsys.readouterr().out
    assert "Read as `vision.ijepa-release`." in said
    assert said.count("(100%; 100% of the values)") == 2
    assert "Taken as well: 29 tensors (`target.teacher." in said
    assert "Left alone, under other names: 1 tensors (in `opt`)." in said
    model, images = load_run("run").model, torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = target(normalized(model, images)).last_hidden_state
        torch.testing.assert_close(codes(model, images), expected, rtol=0, atol=1e-5)  # by the teacher
    own = model.predictor.state_dict()
    assert torch.equal(own["trunk.blocks.1.attn.qkv.weight"], predictor["predictor_blocks.1.attn.qkv.weight"])
    assert torch.equal(own["head.bias"], predictor["predictor_proj.bias"])


@pytest.mark.parametrize("prefix", [None, "target_encoder", "target_encoder.module"])
def test_another_method_takes_one_of_ijepas_encoders(prefix, capsys):
    encoders, _, content = ijepa()
    torch.save(content, "jepa.pth.tar")
    words = ["import", "jepa.pth.tar", "--config", config("simmim", more=NO_CLASS), "--out", "run"]
    assert main(words + (["--prefix", prefix] if prefix else [])) == 0
    said = capsys.readouterr().out
    assert "(100%; 100% of the values)" in said
    assert ("As much fits under `target_encoder`" in said) == (prefix is None)
    model, images = load_run("run").model, torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = encoders[prefix is not None](normalized(model, images)).last_hidden_state
        torch.testing.assert_close(codes(model, images), expected, rtol=0, atol=1e-5)


def test_other_heads_than_the_repositorys_are_pointed_out(monkeypatch, capsys):
    monkeypatch.setattr("unmask_vision.exchange.released_settings.HEADS", {32: 2})
    torch.save({"model": mae()[1] | {"decoder_pos_embed": torch.tensor(sincos(24))}}, "mae.pth")
    words = ["import", "mae.pth", "--config", config("mae", predictor=TRANSFORMER.format(48)), "--out", "run"]
    assert main(words) == 0
    assert "Note: Models of facebookresearch/mae of width 32 have 2 attention heads" in capsys.readouterr().out


@pytest.mark.parametrize("made", [MAERelease(), BEiTRelease(), SimMIMRelease(), IJEPARelease()])
def test_they_are_read_and_never_written(made, capsys):
    assert not made.writes
    torch.save({"model": mae()[1] | {"decoder_pos_embed": torch.tensor(sincos(24))}}, "mae.pth")
    assert main(["import", "mae.pth", "--config", config("mae", predictor=TRANSFORMER.format(48)), "--out", "run"]) == 0
    with pytest.raises(UserError, match=r"`vision.mae-release` is only read; there are"):
        export(load_run("run"), "vision.mae-release")
