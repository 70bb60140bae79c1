"""Encoders to timm and transformers and back: the same features there, and every difference named."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import timm
import torch
import transformers
from timm.layers import resample_abs_pos_embed

from unmask import Corruption
from unmask.api import ONNX, Export, TorchExport, import_weights, load_run, main, read_weights
from unmask.predictors import TransformerPredictor
from unmask.testing import FormatContract, shaken
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.exchange.pixels import codes, normalized, random_images
from unmask_vision.exchange.timm_format import Timm
from unmask_vision.exchange.transformers_format import Transformers, TransformersPretraining
from unmask_vision.methods import IJEPA, MAE, SimMIM

SIDE, PATCH = 24, 4
VIT = "vit_tiny_patch16_224"
OPTIONS = {"embed_dim": 32, "depth": 2, "num_heads": 4}
BIAS = {"rel_pos_type": "bias", "shared_rel_pos": True, "qkv_bias": True, "init_values": 0.1}
SWIN = {"embed_dim": 8, "depths": (2, 1), "num_heads": (1, 2), "window_size": 4, "patch_size": 2}


def vit(name=VIT, width=32, positions="sincos", mask_token=False, **options):
    options = OPTIONS | {"embed_dim": width} | options
    return ViTEncoder(name, SIDE, PATCH, positions=positions, mask_token=mask_token, options=options)


def mae(width=32, **options):
    predictor = TransformerPredictor(width, PATCH * PATCH * 3, width=24, depth=2, num_heads=2)
    return MAE(patch_size=PATCH, encoder=vit(width=width, **options), predictor=predictor)


def simmim(width=32, name=VIT, **options):
    return SimMIM(patch_size=PATCH, encoder=vit(name, width, positions="timm", mask_token=True, **options))


def relative(width=32, **options):
    return simmim(width, "vit_relpos_base_patch16_cls_224", **(BIAS | options))


def swin(width=8):
    encoder = SwinV2Encoder("swinv2_tiny_window8_256", 32, options=SWIN | {"embed_dim": width})
    from unmask_vision.predictors import SwinPredictor

    return SimMIM(
        backbone="swinv2", patch_size=2, encoder=encoder, predictor=SwinPredictor(2 * width, 12, downsampling=2)
    )


def ijepa(width=32):
    predictor = TransformerPredictor(width, width, width=24, depth=1, num_heads=2)
    encoder = vit(width=width, class_token=False, global_pool="avg", fc_norm=False)
    return IJEPA(patch_size=PATCH, encoder=encoder, predictor=predictor)


METHODS = {"mae": mae, "simmim": simmim, "relative": relative, "swin": swin, "ijepa": ijepa}


def export(model):
    return Export(model, "model: {}", 0, 0, batch=lambda: {"image": random_images(model, 4), "label": torch.zeros(4)})


class _Vision(FormatContract):
    method = staticmethod(mae)

    def model(self):
        return self.method()

    def other(self):
        return self.method(width=16)


class TestTimmContract(_Vision):
    def make(self):
        return Timm()


class TestTransformersContract(_Vision):
    def make(self):
        return Transformers()

    def foreign(self):
        return mae(reg_tokens=2)


class TestBeitContract(TestTransformersContract):
    method = staticmethod(relative)


class TestIJEPAContract(TestTransformersContract):
    method = staticmethod(ijepa)


class TestSwinContract(TestTransformersContract):
    method = staticmethod(swin)


class TestPretrainingContract(_Vision):
    def make(self):
        return TransformersPretraining()

    def foreign(self):
        return ijepa()


class TestMaskedImagesContract(TestPretrainingContract):
    method = staticmethod(simmim)


@pytest.mark.parametrize("method", METHODS)
def test_timm_computes_the_same_bit_for_bit(method, tmp_path):
    model = shaken(METHODS[method]().eval())
    Timm().save(export(model), tmp_path / "out")
    read = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    trunk = getattr(model.embedder.encoder, "swin" if method == "swin" else "vit")
    images = random_images(model, 3)
    with torch.no_grad():
        expected, got = (one.forward_features(normalized(model, images)) for one in (trunk, read))
        ours = codes(model, images)
    assert torch.equal(got, expected)
    torch.testing.assert_close(got.reshape(ours.shape), ours, rtol=0, atol=1e-6 * ours.abs().max().item())
    config = timm.data.resolve_model_data_config(read)
    assert config["input_size"] == images.shape[1:]
    np.testing.assert_allclose(config["mean"], model.tokenizer.mean.flatten(), atol=1e-6)
    np.testing.assert_allclose(config["std"], model.tokenizer.std.flatten(), atol=1e-6)


def test_the_weights_load_strictly_by_name_and_options(tmp_path):
    model = shaken(mae().eval())
    Timm().save(export(model), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    made = timm.create_model(config["architecture"], **config["model_args"])
    made.load_state_dict(read_weights(tmp_path / "out").tensors, strict=True)
    assert config["architecture"] == VIT
    assert config["model_args"]["num_classes"] == 0


PEERS = {"mae": "ViTModel", "simmim": "ViTModel", "relative": "BeitModel", "swin": "Swinv2Model", "ijepa": "IJepaModel"}


@pytest.mark.parametrize("method", METHODS)
def test_transformers_computes_the_same(method, tmp_path):
    model, out = shaken(METHODS[method]().eval()), tmp_path / "out"
    Transformers().save(export(model), out)
    read = getattr(transformers, PEERS[method]).from_pretrained(out, add_pooling_layer=False)
    processor = transformers.ViTImageProcessor.from_pretrained(out)
    images = random_images(model, 3)
    pixels = processor(list((images * 255).byte()), return_tensors="pt").pixel_values
    torch.testing.assert_close(pixels, normalized(model, (images * 255).byte() / 255), rtol=0, atol=1e-5)
    with torch.no_grad():
        got, ours = read(normalized(model, images)).last_hidden_state, codes(model, images)
    torch.testing.assert_close(got, ours, rtol=0, atol=1e-6 * ours.abs().max().item())


def test_vitmae_hides_nothing_when_asked_and_computes_the_same(tmp_path):
    model, out = shaken(mae().eval()), tmp_path / "out"
    TransformersPretraining().save(export(model), out)
    read = transformers.ViTMAEForPreTraining.from_pretrained(out)
    assert read.config.norm_pix_loss
    images = random_images(model, 3)
    read.vit.config.mask_ratio = 0.0
    with torch.no_grad():
        noise = torch.arange(36.0).expand(3, -1)
        got = read.vit(normalized(model, images), noise=noise).last_hidden_state
        ours = codes(model, images)
    torch.testing.assert_close(got, ours, rtol=0, atol=1e-6 * ours.abs().max().item())
    own = model.predictor.state_dict()
    back = TransformersPretraining().load(read_weights(out).tensors, model)
    assert all(torch.equal(back[f"predictor.{name}"], tensor) for name, tensor in own.items())
    also = transformers.ViTModel.from_pretrained(out, add_pooling_layer=False)
    with torch.no_grad():
        assert torch.equal(also(normalized(model, images)).last_hidden_state, got)


@pytest.mark.parametrize("kind", ["ViTForMaskedImageModeling", "Swinv2ForMaskedImageModeling"])
def test_masked_image_models_predict_the_same(kind, tmp_path, given_mask, some_hidden):
    model, out = shaken((swin if "Swin" in kind else simmim)().eval()), tmp_path / "out"
    num_places = 256 if "Swin" in kind else 36
    hidden = some_hidden(2, num_places, num_places // 2)
    model.mask = given_mask(hidden)
    TransformersPretraining().save(export(model), out)
    read = getattr(transformers, kind).from_pretrained(out)
    images = random_images(model)
    with torch.no_grad():
        got = read(normalized(model, images), bool_masked_pos=hidden)
        step = model.step({"image": images})
    torch.testing.assert_close(got.loss, step.loss.total, rtol=1e-5, atol=0)


@pytest.mark.parametrize("made", [ONNX(), TorchExport()])
@pytest.mark.parametrize(
    "method",
    ["mae", "relative", "swin", *(pytest.param(name, marks=pytest.mark.slow) for name in ("simmim", "ijepa"))],
)
def test_programs_are_checked_against_the_encoder(method, made, tmp_path):
    """`save` itself compares, on one sample and on four; here is what it found."""
    said = made.save(export(shaken(METHODS[method]().eval())), tmp_path / f"x{made.suffix}")
    if isinstance(made, ONNX):
        assert float(said.split("at most ")[1].split()[0]) <= 1e-4
    else:
        assert "bit-equal" in said


REFUSED = {
    "rotary": (lambda: simmim(name="vit_small_patch16_rope_224"), "which turns its positions (rotary)"),
    "registers": (lambda: mae(reg_tokens=4), "ViTModel has no place for `reg_token`"),
    "layer scale": (lambda: mae(init_values=0.1), "ViTModel has no place for `blocks.0.ls1.gamma` and 3 more"),
    "qk norm": (lambda: mae(qk_norm=True), "ViTModel has no place for `blocks.0.attn.q_norm.weight`"),
    "no class token": (lambda: simmim(name="vit_relpos_base_patch16_224"), "needs a class token"),
    "pooled norm": (lambda: mae(global_pool="avg", fc_norm=True), "has no place for `fc_norm.weight`"),
}


@pytest.mark.parametrize("encoder", REFUSED)
def test_what_has_no_peer_is_refused_in_words(encoder):
    make, told = REFUSED[encoder]
    refusal = Transformers().refusal(make())
    assert told in refusal
    assert refusal.endswith("nearest: `vision.timm` or `safetensors`.")
    assert Timm().refusal(make()) is None


def test_another_activation_is_found_out_before_anything_is_in_place(tmp_path):
    """No tensor's name or shape tells it."""
    with pytest.raises(ValueError, match="ViTModel must compute the encoder's codes"):
        Transformers().save(export(shaken(mae(act_layer="gelu_tanh", init_values=None).eval())), tmp_path / "x")


CONFIG = """
model:
  class_path: vision.{method}
  init_args:
    patch_size: 4
    encoder:
      class_path: vision.vit
      init_args:
        {{name: vit_tiny_patch16_224, image_size: {side}, patch_size: 4, positions: {positions}, mask_token: {token},
          options: {{embed_dim: 32, depth: 2, num_heads: {heads}}}}}
    predictor: {predictor}
data: {{class_path: vision.folder, init_args: {{folder: none, image_size: {side}}}}}
"""
DECODER = (
    "{class_path: transformer, init_args: {encoder_width: 32, target_width: 48, width: 24, depth: 2, num_heads: 2}}"
)


def config(method="mae", side=SIDE, heads=4, positions="timm"):
    predictor, token = (DECODER, "false") if method == "mae" else ("null", "true")
    text = CONFIG.format(method=method, side=side, heads=heads, positions=positions, predictor=predictor, token=token)
    Path("config.yaml").write_text(text)
    return "config.yaml"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_classifier_of_timm_comes_in_and_its_head_is_named(capsys):
    theirs = timm.create_model(VIT, img_size=SIDE, patch_size=PATCH, **OPTIONS)
    torch.save({"model": theirs.state_dict()}, "vit.pth")
    assert main(["import", "vit.pth", "--config", config(), "--out", "run"]) == 0
    said = capsys.readouterr().out
    assert "Read as `vision.timm` under `model.`." in said
    assert "Encoder: 30 of 30 tensors match (100%; 100% of the values)." in said
    assert "2 unknown: `head.weight`, `head.bias`" in said
    model = load_run("run").model
    pixels = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected = theirs.eval().forward_features(normalized(model, pixels))
        torch.testing.assert_close(codes(model, pixels), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("old_names", [True, False])
@pytest.mark.parametrize("kind", ["ViTMAEForPreTraining", "ViTForMaskedImageModeling", "ViTModel"])
def test_models_of_transformers_come_in(kind, old_names, capsys):
    sizes = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
        "image_size": SIDE, "patch_size": PATCH, "layer_norm_eps": 1e-6, "encoder_stride": PATCH,
    }  # fmt: skip
    decoder = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    mae_like = kind == "ViTMAEForPreTraining"
    if mae_like:
        sizes |= {f"decoder_{name}": size for name, size in decoder.items()}
    made = (transformers.ViTMAEConfig if mae_like else transformers.ViTConfig)(**sizes)
    theirs = getattr(transformers, kind)(made).eval()
    with torch.no_grad():
        theirs.base_model.embeddings.position_embeddings.normal_()
        if mae_like:  # which its constructor leaves at zero
            own = TransformersPretraining().weights(mae())
            theirs.decoder.decoder_pos_embed.copy_(own["decoder.decoder_pos_embed"])
    if old_names:
        theirs.save_pretrained("theirs")
        source = "theirs"
    else:
        torch.save(theirs.state_dict(), source := "theirs.bin")
    method = "simmim" if "Image" in kind else "mae"
    assert main(["import", source, "--config", config(method), "--out", "run"]) == 0
    said = capsys.readouterr().out
    assert "100%; 100% of the values" in said
    assert ("Predictor: none" in said) == (kind == "ViTModel")
    assert ("2 unknown: `pooler.dense" in said) == (kind == "ViTModel")
    model = load_run("run").model
    images = torch.rand(2, 3, SIDE, SIDE)
    more = {"noise": torch.arange(36.0).expand(2, -1)} if mae_like else {}
    theirs.base_model.config.mask_ratio = 0.0
    with torch.no_grad():
        expected = theirs.base_model(normalized(model, images), **more).last_hidden_state
        torch.testing.assert_close(codes(model, images), expected, rtol=0, atol=1e-5)


def test_other_heads_are_refused_though_all_tensors_fit(capsys):
    model = shaken(simmim().eval())
    Timm().save(export(model), Path("timm"))
    Transformers().save(export(model), Path("hf"))
    for source in ("timm", "hf"):
        assert main(["import", source, "--config", config("simmim", heads=2), "--out", "run"]) == 2
        said = capsys.readouterr().err
        assert "heads`" in said and "4" in said and "2" in said
        assert len(said.strip().splitlines()) == 1
        assert not Path("run").exists()


def test_a_config_that_lies_beside_weights_starts_nothing(monkeypatch):
    """timm could be told by it to read another file, or one from the network."""
    Timm().save(export(shaken(simmim().eval())), Path("timm"))
    file = Path("timm/config.json")
    content = json.loads(file.read_text())
    for name in ("local-dir:/elsewhere", "hf-hub:somebody/something", VIT):
        arguments = {"checkpoint_path": "bomb.pth", "pretrained": True, "num_heads": 4}
        file.write_text(json.dumps(content | {"architecture": name, "model_args": arguments}))
        watched = mock.Mock(wraps=timm.create_model)
        with monkeypatch.context() as patched:
            patched.setattr(timm, "create_model", watched)
            imported = import_weights(Path("timm"), config("simmim"), Path("run"))
        assert imported.encoder.fits
        assert all("checkpoint_path" not in k and ":" not in a[0] for a, k in watched.call_args_list)


def test_other_means_are_pointed_out(capsys):
    model = shaken(simmim().eval())
    model.tokenizer.mean.fill_(0.5)
    Timm().save(export(model), Path("timm"))
    Transformers().save(export(model), Path("hf"))
    for source in ("timm", "hf"):
        assert main(["import", source, "--config", config("simmim"), "--out", "run"]) == 0
        assert "Note: Its pixels were normalised by mean [0.5, 0.5, 0.5]" in capsys.readouterr().out


def test_positions_of_another_grid_are_resampled_only_when_asked_for(capsys):
    model = shaken(simmim().eval())
    Timm().save(export(model), Path("timm"))
    words = ["import", "timm", "--config", config("simmim", side=32), "--out", "run"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "`vit.pos_embed` is 1x37x32, here 1x65x32" in said
    assert "`--resize_positions` resamples the positions" in said
    assert main([*words, "--resize_positions"]) == 0
    assert "Resampled: encoder.vit.pos_embed: [1, 37, 32] to [1, 65, 32]" in capsys.readouterr().out
    got = load_run("run").model.encoder.vit.pos_embed
    expected = resample_abs_pos_embed(model.encoder.vit.pos_embed, [8, 8], num_prefix_tokens=1)
    assert torch.equal(got, expected)


def test_a_mask_token_is_listed_where_the_layout_has_none(capsys):
    Timm().save(export(shaken(simmim().eval())), Path("timm"))
    assert main(["import", "timm", "--config", config("simmim"), "--out", "run"]) == 0
    assert "no place in this layout, left as initialised: `mask_token`" in capsys.readouterr().out


def test_an_encoder_shown_tokens_is_still_a_vit():
    model = MAE(
        patch_size=PATCH, encoder=vit(mask_token=True), corruption=Corruption(token=1),
        predictor=TransformerPredictor(32, 48, width=24, depth=1, num_heads=2),
    )  # fmt: skip
    said = TransformersPretraining().save(export(shaken(model.eval())), Path("out"))
    assert "ViTMAEForPreTraining" in said
