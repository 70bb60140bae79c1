"""Audio-MAE's weights under their authors' names: the same codes as a forward pass written out by hand."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unmask.api import load_run, main

WIDTH, HEADS, DEPTH, ROWS, COLUMNS = 32, 2, 2, 6, 8
CONFIG = """
model:
  class_path: audio.audio-mae
  init_args:
    encoder: {{class_path: audio.vit, init_args: {{width: 32, depth: {depth}, num_heads: 2, positions: {positions}}}}}
    tokenizer: {{class_path: unmask_audio.tokenizer.SpectrogramTokenizer, init_args: {{num_frames: {frames}}}}}
    predictor: {{class_path: transformer, init_args:
      {{encoder_width: 32, target_width: 256, width: 16, depth: 1, num_heads: 2}}}}
data: {{class_path: audio.synth}}
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def config(positions="swapped", frames=16 * ROWS, depth=DEPTH):
    Path("config.yaml").write_text(CONFIG.format(positions=positions, frames=frames, depth=depth))
    return "config.yaml"


def positions(width, rows, columns, swapped):
    """Audio-MAE's table: made for a grid of columns by rows where swapped, read in the order of rows by columns."""
    shape = (columns, rows) if swapped else (rows, columns)
    slow, fast = np.divmod(np.arange(rows * columns), shape[1])
    frequencies = 1 / 10000 ** (np.arange(width // 4) / (width / 4))
    parts = [f(axis[:, None] * frequencies) for axis in (fast, slow) for f in (np.sin, np.cos)]
    return torch.tensor(np.concatenate([np.zeros((1, width)), np.concatenate(parts, 1)])[None]).float()


def layer(*shape):
    return {"weight": torch.randn(shape) * 0.2, "bias": torch.randn(shape[0]) * 0.2}


def blocks(name, width, depth):
    sizes = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "norm1": (width,), "norm2": (width,)}
    sizes |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    return {f"{name}.{n}.{part}": layer(*shape) for n in range(depth) for part, shape in sizes.items()}


def weights(swapped=True, decoder_swapped=True, local=False):
    parts = {"patch_embed.proj": layer(WIDTH, 1, 16, 16), "norm": layer(WIDTH), "decoder_norm": layer(16)}
    parts |= blocks("blocks", WIDTH, DEPTH) | blocks("decoder_blocks", 16, 1)
    parts |= {"decoder_embed": layer(16, WIDTH), "decoder_pred": layer(256, 16)}
    state = {f"{name}.{key}": tensor for name, part in parts.items() for key, tensor in part.items()}
    state |= {"cls_token": torch.randn(1, 1, WIDTH), "mask_token": torch.randn(1, 1, 16)}
    state["pos_embed"] = positions(WIDTH, ROWS, COLUMNS, swapped)
    state["decoder_pos_embed"] = positions(16, ROWS, COLUMNS, decoder_swapped)
    return state | ({"decoder_blocks.0.attn.logit_scale": torch.ones(2)} if local else {})


def by_hand(state, features):
    """Codes of a spectrogram ``[B, T, F]``, class token first."""
    x = F.conv2d(features[:, None], state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    x = x.flatten(2).mT + state["pos_embed"][:, 1:]
    x = torch.cat([(state["cls_token"] + state["pos_embed"][:, :1]).expand(len(x), -1, -1), x], 1)

    def apply(x, name, f=F.linear):
        return f(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x, weight, bias):
        return F.layer_norm(x, (WIDTH,), weight, bias, 1e-6)

    for name in [f"blocks.{number}" for number in range(DEPTH)]:
        qkv = apply(apply(x, f"{name}.norm1", norm), f"{name}.attn.qkv").unflatten(-1, (3, HEADS, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = ((q @ k.mT) * (WIDTH // HEADS) ** -0.5).softmax(-1) @ v
        x = x + apply(attended.transpose(1, 2).flatten(2), f"{name}.attn.proj")
        x = x + apply(F.gelu(apply(apply(x, f"{name}.norm2", norm), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
    return apply(x, "norm", norm)


def imported(state, capsys, given=None):
    content = {"model": state, "epoch": 32, "args": argparse.Namespace(norm_pix_loss=True)}
    torch.save(content | {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}, "it.pth")
    status = main(["import", "it.pth", "--config", given or config(), "--out", "run"])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize("kind", ["swapped", "sincos"])
def test_the_encoder_computes_the_same(kind, capsys):
    state = weights(swapped=kind == "swapped")
    _, said = imported(state, capsys, config(kind))
    model = load_run("run").model.eval()
    assert "Read as `audio.audio-mae-release` under `model.`." in said
    assert "Encoder: 29 of 29 tensors match (100%; 100% of the values)." in said
    tokens = model.tokenizer({"wave": torch.randn(2, 16_000)})
    features = (model.tokenizer.features(tokens) - model.tokenizer.mean) / (2 * model.tokenizer.std)
    with torch.no_grad():
        latent = model.encoder(tokens)
        expected = by_hand(state, features)
    torch.testing.assert_close(torch.cat([latent.prefix, latent.values], 1), expected, rtol=0, atol=1e-5)


def test_the_decoder_is_taken_where_it_is_the_same(capsys):
    state = weights(decoder_swapped=False)
    _, said = imported(state, capsys)
    model = load_run("run").model
    assert "Predictor: 19 of 19 tensors match (100%; 100% of the values)." in said
    assert "Note" not in said
    assert torch.equal(model.predictor.head.weight, state["decoder_pred.weight"])
    assert torch.equal(model.predictor.mask_token, state["mask_token"])


@pytest.mark.parametrize("other", [{"decoder_swapped": True}, {"decoder_swapped": False, "local": True}])
def test_another_decoder_is_left_out_and_this_is_said(other, capsys):
    _, said = imported(weights(**other), capsys)
    assert "Predictor: none in these weights" in said
    assert "unknown: `decoder_" in said
    assert "Note: The decoder was left out: its blocks or its positions are others than the predictor's." in said


def test_other_positions_are_refused_in_a_line_or_told(capsys):
    status, said = imported(weights(), capsys, config("sincos"))
    assert status == 2
    assert (
        "`positions` of the config's encoder must be `swapped`, as the weights were trained with, but is `sinc" in said
    )
    state = weights() | {"pos_embed": torch.zeros(1, 1 + ROWS * COLUMNS, WIDTH)}
    assert "Note: `pos_embed` holds no sine-cosine positions" in imported(state, capsys)[1]


def test_swapped_positions_of_another_length_are_pointed_out(capsys):
    _, said = imported(weights(), capsys, config(frames=64))
    assert "Note: The weights were trained on 96 frames, but `num_frames` of the config's tokenizer is 64" in said


def test_an_encoder_of_another_depth_is_refused_with_both_numbers(capsys):
    status, said = imported(weights(), capsys, config(depth=3))
    assert status == 2
    assert "the weights have 2 of `trunk.blocks`, the config's encoder 3" in said
    assert len(said.strip().splitlines()) == 1
