"""Weights under the names of their authors' repositories: the same codes as a forward pass written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from unmask.api import load_run, main

WIDTH, HEADS, DEPTH, HIDDEN, PATCH = 64, 1, 2, 16, 8
ENCODER = (
    "{{class_path: pointcloud.point-transformer, init_args: {{width: 64, depth: 2, num_heads: {heads}, "
    "pointnet_width: 16, norm_eps: {eps}{more}}}}}"
)
DECODER = (
    "{{class_path: pointcloud.point-decoder, init_args: "
    "{{encoder_width: 64, target_width: 24, depth: 1, num_heads: 1, norm_eps: {eps}}}}}"
)
POINT_MAE = """
model:
  class_path: pointcloud.point-mae
  init_args: {{num_patches: 6, patch_size: 8, encoder: {encoder}, predictor: {decoder}}}
data: {{class_path: pointcloud.solids}}
"""
POINT_BERT = """
model:
  class_path: pointcloud.point-bert
  init_args: {{num_patches: 6, patch_size: 8, num_codes: 12, dvae_width: 20, hidden_width: 16, queue_size: 4,
    encoder: {encoder}}}
data: {{class_path: pointcloud.solids}}
"""
DVAE = """
model:
  class_path: pointcloud.dvae
  init_args: {num_patches: 6, patch_size: 8, num_codes: 12, width: 20, hidden_width: 16}
data: {class_path: pointcloud.solids}
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def point_mae(heads=HEADS, eps=1e-5):
    text = POINT_MAE.format(encoder=ENCODER.format(heads=heads, eps=eps, more=""), decoder=DECODER.format(eps=eps))
    Path("config.yaml").write_text(text)
    return "config.yaml"


def point_bert():
    more = ", patch_width: 20, class_token: true, mask_token: true"
    Path("config.yaml").write_text(POINT_BERT.format(encoder=ENCODER.format(heads=HEADS, eps=1e-5, more=more)))
    return "config.yaml"


def layer(*shape):
    """Weight and bias of a layer of that weight."""
    return {"weight": torch.randn(shape) * 0.2, "bias": torch.randn(shape[0]) * 0.2}


def norm(width, batch=False):
    found = {"weight": 1 + torch.randn(width) * 0.2, "bias": torch.randn(width) * 0.2}
    if batch:
        found |= {"running_mean": torch.randn(width), "running_var": 1 + torch.rand(width)}
        found["num_batches_tracked"] = torch.tensor(5)
    return found


def under(parts):
    return {f"{name}.{key}": tensor for name, part in parts.items() for key, tensor in part.items()}


def patch_net(width):
    return under({
        "first_conv.0": layer(HIDDEN, 3, 1), "first_conv.1": norm(HIDDEN, True),
        "first_conv.3": layer(2 * HIDDEN, HIDDEN, 1), "second_conv.0": layer(4 * HIDDEN, 4 * HIDDEN, 1),
        "second_conv.1": norm(4 * HIDDEN, True), "second_conv.3": layer(width, 4 * HIDDEN, 1),
    })  # fmt: skip


def blocks(depth):
    found = {}
    for number in range(depth):
        found |= {f"{number}.norm1": norm(WIDTH), f"{number}.norm2": norm(WIDTH)}
        found |= {f"{number}.attn.qkv": {"weight": torch.randn(3 * WIDTH, WIDTH) * 0.2}}
        found |= {f"{number}.attn.proj": layer(WIDTH, WIDTH), f"{number}.mlp.fc1": layer(4 * WIDTH, WIDTH)}
        found |= {f"{number}.mlp.fc2": layer(WIDTH, 4 * WIDTH)}
    return under(found)


def transformer(patch_width=WIDTH):
    tables = {"pos_embed.0": layer(128, 3), "pos_embed.2": layer(WIDTH, 128), "norm": norm(WIDTH)}
    return under({"encoder": patch_net(patch_width), "blocks.blocks": blocks(DEPTH)} | tables)


def mae_weights():
    found = under({"MAE_encoder": transformer(), "MAE_decoder.blocks": blocks(1), "MAE_decoder.norm": norm(WIDTH)})
    found |= under({"decoder_pos_embed.0": layer(128, 3), "decoder_pos_embed.2": layer(WIDTH, 128)})
    return found | {"mask_token": torch.randn(1, 1, WIDTH)} | under({"increase_dim.0": layer(24, WIDTH, 1)})


def conv(x, state, name):
    """A convolution of size 1 as the repositories have it."""
    return F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"])


def batch_norm(x, state, name):
    values = [state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *values)


def patches_codes(patches, state):
    """``[B, G, D]`` of ``[B, G, k, 3]``: their first network, on channels before points."""
    x = patches.flatten(0, 1).mT
    x = conv(F.relu(batch_norm(conv(x, state, "first_conv.0"), state, "first_conv.1")), state, "first_conv.3")
    x = torch.cat([x.amax(2, keepdim=True).expand_as(x), x], dim=1)
    x = conv(F.relu(batch_norm(conv(x, state, "second_conv.0"), state, "second_conv.1")), state, "second_conv.3")
    return x.amax(2).unflatten(0, patches.shape[:2])


def linear(x, state, name):
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def layer_norm(x, state, name):
    return F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def run_blocks(x, positions, state, depth):
    for number in range(depth):
        x = x + positions
        qkv = linear(layer_norm(x, state, f"{number}.norm1"), state, f"{number}.attn.qkv")
        q, k, v = qkv.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = ((q @ k.mT) * (WIDTH // HEADS) ** -0.5).softmax(-1) @ v
        x = x + linear(attended.transpose(1, 2).flatten(2), state, f"{number}.attn.proj")
        hidden = F.gelu(linear(layer_norm(x, state, f"{number}.norm2"), state, f"{number}.mlp.fc1"))
        x = x + linear(hidden, state, f"{number}.mlp.fc2")
    return x


def placed(centres, state, name="pos_embed"):
    return linear(F.gelu(linear(centres, state, f"{name}.0")), state, f"{name}.2")


def below(prefix, state):
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def saved(state, prefix="module."):
    content = {"base_model": {prefix + name: x for name, x in state.items()}, "epoch": 300, "metrics": {"acc": 0.0}}
    torch.save(content | {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "best_metrics": {}}, "it.pth")


def imported(config, capsys, *words):
    assert main(["import", "it.pth", "--config", config, "--out", "run", *words]) == 0
    return load_run("run").model.eval(), capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_point_mae_comes_in_with_its_decoder(prefix, capsys):
    state = mae_weights()
    saved(state, prefix)
    model, said = imported(point_mae(), capsys)
    assert f"Read as `pointcloud.point-mae-release` under `base_model{'.module' if prefix else ''}.`." in said
    assert said.count("(100%; 100% of the values)") == 2
    assert "unknown" not in said
    assert "Note" not in said
    points = torch.rand(2, 40, 3)
    tokens = model.tokenizer({"points": points})
    own, centres = below("MAE_encoder.", state), tokens.positions
    with torch.no_grad():
        step = model.step({"points": points})
        codes = patches_codes(tokens.values, below("encoder.", own))
        codes = run_blocks(codes, placed(centres, own), below("blocks.blocks.", own), DEPTH)
        torch.testing.assert_close(model.encoder(tokens).values, layer_norm(codes, own, "norm"), rtol=0, atol=1e-5)

        # The decoder, on what that step showed.
        hidden = step.mask.hidden
        shown = patches_codes(tokens.values, below("encoder.", own))[~hidden].view(2, -1, WIDTH)
        seen, asked = centres[~hidden].view(2, -1, 3), centres[hidden].view(2, -1, 3)
        shown = layer_norm(run_blocks(shown, placed(seen, own), below("blocks.blocks.", own), DEPTH), own, "norm")
        queries = state["mask_token"].expand(2, asked.shape[1], -1)
        where = placed(torch.cat([seen, asked], 1), state, "decoder_pos_embed")
        x = run_blocks(torch.cat([shown, queries], 1), where, below("MAE_decoder.blocks.", state), 1)
        x = layer_norm(x[:, -asked.shape[1] :], state, "MAE_decoder.norm")
        answers = conv(x.mT, state, "increase_dim.0").mT
    torch.testing.assert_close(step.prediction.values, answers, rtol=0, atol=2e-5)


def test_other_heads_and_norms_are_pointed_out(monkeypatch, capsys):
    monkeypatch.setattr("unmask_pointcloud.releases.NUM_HEADS", {WIDTH: HEADS})
    saved(mae_weights())
    _, said = imported(point_mae(heads=2, eps=1e-6), capsys)
    assert "of width 64 have 1 attention heads, but the config's encoder has 2" in said
    assert (
        "Norms of Pang-Yatian/Point-MAE add 1e-05 to variances, but `norm_eps` of the config's encoder is 1e-06" in said
    )
    assert "`norm_eps` of the config's predictor is 1e-06" in said


def test_a_fine_tuned_encoder_comes_in_and_its_head_is_named(capsys):
    saved(transformer() | under({"cls_head_finetune.0": layer(4, WIDTH)}))
    model, said = imported(point_mae(), capsys)
    assert "(100%; 100% of the values)" in said
    assert "2 unknown: `cls_head_finetune.0.weight`" in said
    assert not model.encoder.trunk.blocks[0].attn.qkv.bias.any()


def edges(*widths):
    """A DGCNN under its names."""
    found = {"input_trans": layer(HIDDEN, widths[0], 1)}
    sizes = [HIDDEN, 2 * HIDDEN, 4 * HIDDEN, 4 * HIDDEN, 8 * HIDDEN]
    for number in range(1, 5):
        weight = torch.randn(sizes[number], 2 * sizes[number - 1], 1, 1) * 0.2
        found |= {f"layer{number}.0": {"weight": weight}, f"layer{number}.1": norm(sizes[number])}
    weight = torch.randn(widths[1], sum(sizes[1:]), 1) * 0.2
    return under(found | {"layer5.0": {"weight": weight}, "layer5.1": norm(widths[1])})


def dvae_weights():
    folding = {f"mlp.{n}": layer(*s) for n, s in {0: (128, 20), 2: (128, 128), 4: (6, 128)}.items()}
    folding |= {f"final_conv.{n}": layer(*s, 1) for n, s in {0: (64, 25), 3: (64, 64), 6: (3, 64)}.items()}
    folding |= {f"final_conv.{n}": norm(64, True) for n in (1, 4)}
    parts = {"encoder": patch_net(20), "dgcnn_1": edges(20, 12), "dgcnn_2": edges(20, 20), "decoder": under(folding)}
    return under(parts) | {"codebook": torch.randn(12, 20)}


def graph(x, centres, state):
    """A DGCNN as the release has it: pairs side by side, two-dimensional convolutions."""
    near = torch.cdist(centres, centres).topk(4, largest=False).indices  # [B, G, 4]
    x, found = conv(x.mT, state, "input_trans"), []
    for number in range(1, 5):
        own = x.mT[:, :, None].expand(-1, -1, 4, -1)
        other = torch.stack([rows[index] for rows, index in zip(x.mT, near, strict=True)])
        x = F.conv2d(torch.cat([other - own, own], -1).permute(0, 3, 1, 2), state[f"layer{number}.0.weight"])
        x = F.group_norm(x, 4, state[f"layer{number}.1.weight"], state[f"layer{number}.1.bias"])
        x = F.leaky_relu(x, 0.2).amax(-1)
        found.append(x)
    x = F.conv1d(torch.cat(found, 1), state["layer5.0.weight"])
    return F.leaky_relu(F.group_norm(x, 4, state["layer5.1.weight"], state["layer5.1.bias"]), 0.2).mT


def test_the_dvae_of_point_bert_comes_in_whole(capsys):
    state = dvae_weights()
    saved(state)
    Path("config.yaml").write_text(DVAE)
    model, said = imported("config.yaml", capsys)
    assert "Read as `pointcloud.point-bert-release` under `base_model.module.`." in said
    assert said.count("(100%; 100% of the values)") == 2
    assert "unknown" not in said
    tokens = model.tokenizer({"points": torch.rand(2, 40, 3)})
    with torch.no_grad():
        named, centres = patches_codes(tokens.values, below("encoder.", state)), tokens.positions
        scores = graph(named, centres, below("dgcnn_1.", state))
        torch.testing.assert_close(model.encoder.scores(tokens), scores, rtol=0, atol=1e-4)
        codes = graph(state["codebook"][scores.argmax(-1)], centres, below("dgcnn_2.", state))
        own = below("decoder.", state)
        coarse = linear(F.relu(linear(F.relu(linear(codes, own, "mlp.0")), own, "mlp.2")), own, "mlp.4")
        latent = type(model.encoder(tokens))(state["codebook"][scores.argmax(-1)])
        torch.testing.assert_close(
            model.predictor.points(latent, tokens.places)[0].flatten(2), coarse, rtol=0, atol=1e-4
        )


def test_point_bert_comes_in_with_its_dvae_heads_queue_and_slow_encoder(capsys):
    state = {}
    for part in ("transformer_q", "transformer_k"):
        tokens = {name: torch.randn(1, 1, WIDTH) for name in ("cls_token", "cls_pos", "mask_token")}
        heads = {"lm_head": layer(12, WIDTH), "cls_head.0": layer(512, WIDTH), "cls_head.2": layer(512, 512)}
        own = transformer(20) | tokens | under({"reduce_dim": layer(WIDTH, 20)} | heads)
        state |= {f"{part}.{name}": tensor for name, tensor in own.items()}
    state |= {f"dvae.{name}": tensor for name, tensor in dvae_weights().items()}
    state |= {"queue": torch.randn(512, 4), "queue_ptr": torch.tensor([3])}
    saved(state)
    model, said = imported(point_bert(), capsys)
    assert "Read as `pointcloud.point-bert-release` under `base_model.module.`." in said
    assert said.count("(100%; 100% of the values)") == 2
    assert "unknown: `transformer_k.lm_head.weight`" in said  # and the decoder of the dVAE, which has no use here
    assert torch.equal(model.terms["mixing"].queue, state["queue"].T)
    assert int(model.terms["mixing"].end) == 3
    assert bool(model.target.taken)
    tokens = model.tokenizer({"points": torch.rand(2, 40, 3)})
    for part, encoder in (("transformer_q.", model.encoder), ("transformer_k.", model.terms["mixing"].slow_encoder)):
        own = below(part, state)
        with torch.no_grad():
            x = linear(patches_codes(tokens.values, below("encoder.", own)), own, "reduce_dim")
            x = torch.cat([own["cls_token"].expand(2, -1, -1), x], 1)
            where = torch.cat([own["cls_pos"].expand(2, -1, -1), placed(tokens.positions, own)], 1)
            x = layer_norm(run_blocks(x, where, below("blocks.blocks.", own), DEPTH), own, "norm")
            latent = encoder.eval()(tokens)
        torch.testing.assert_close(torch.cat([latent.prefix, latent.values], 1), x, rtol=0, atol=1e-5)
    ids = graph(
        patches_codes(tokens.values, below("dvae.encoder.", state)), tokens.positions, below("dvae.dgcnn_1.", state)
    )
    assert torch.equal(model.target.ids(tokens), ids.argmax(-1))
