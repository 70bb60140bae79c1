"""GraphMAE's weights under their authors' names: the same codes as a forward pass written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from unmask.api import load_run, main

FEATURES, WIDTH, HEADS = 5, 8, 2
CONFIG = """
model:
  class_path: graph.graphmae
  init_args:
    encoder: {{class_path: graph.{kind}, init_args: {{num_features: 5, width: 8, num_layers: 2{more}}}}}
data: {{class_path: graph.imports}}
"""
EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0, 4, 0], [1, 0, 2, 1, 3, 2, 0, 3, 0, 4]])


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def imported(state, kind, more, capsys):
    torch.save(state, "checkpoint.pt")
    Path("config.yaml").write_text(CONFIG.format(kind=kind, more=more))
    assert main(["import", "checkpoint.pt", "--config", "config.yaml", "--out", "run"]) == 0
    said = capsys.readouterr().out
    assert "Read as `graph.graphmae-release`." in said
    assert said.count("(100%; 100% of the values)") == 2
    assert "unknown" not in said
    return load_run("run").model.eval()


def attention(in_width, out_width, heads):
    shape = (1, heads, out_width // heads)
    return {
        "fc.weight": torch.randn(out_width, in_width), "attn_l": torch.randn(shape), "attn_r": torch.randn(shape),
        "bias": torch.randn(out_width),
    }  # fmt: skip


def gat():
    state = {"enc_mask_token": torch.randn(1, FEATURES), "encoder_to_decoder.weight": torch.randn(WIDTH, WIDTH)}
    for number, in_width in enumerate((FEATURES, WIDTH)):
        found = attention(in_width, WIDTH, HEADS) | {"activation.weight": torch.rand(1)}
        state |= {f"encoder.gat_layers.{number}.{name}": x for name, x in found.items()}
    return state | {f"decoder.gat_layers.0.{name}": x for name, x in attention(WIDTH, FEATURES, 1).items()}


def gat_by_hand(state, x, edges, num_layers=2):
    """A node reads from itself and from where edges come, in every layer."""
    reads = torch.eye(len(x), dtype=torch.bool)
    reads[edges[1], edges[0]] = True
    for number in range(num_layers):
        own = {n.split(".", 3)[3]: t for n, t in state.items() if n.startswith(f"encoder.gat_layers.{number}.")}
        sent = (x @ own["fc.weight"].T).unflatten(-1, (HEADS, -1))
        scores = (sent * own["attn_l"]).sum(-1)[None] + (sent * own["attn_r"]).sum(-1)[:, None]  # [to, from, H]
        scores = F.leaky_relu(scores, 0.2).masked_fill(~reads[..., None], float("-inf")).softmax(1)
        out = torch.einsum("tfh,fhc->thc", scores, sent).flatten(1) + own["bias"]
        x = F.prelu(out, own["activation.weight"])
    return x


def codes(model, x):
    tokens = model.tokenizer({"x": x, "edges": EDGES, "offsets": torch.tensor([0, len(x)])})
    with torch.no_grad():
        return model.encoder(tokens).values


def test_a_gat_comes_in_with_its_decoder_and_computes_the_same(capsys):
    state, x = gat(), torch.randn(5, FEATURES)
    model = imported(state, "gat", ", num_heads: 2", capsys)
    torch.testing.assert_close(codes(model, x), gat_by_hand(state, x, EDGES), rtol=0, atol=1e-5)
    assert torch.equal(model.encoder.mask_token[None], state["enc_mask_token"])
    assert torch.equal(model.predictor.answers.conv.lin.weight, state["decoder.gat_layers.0.fc.weight"])
    assert torch.equal(model.predictor.remask.project.weight, state["encoder_to_decoder.weight"])


@pytest.mark.parametrize("where", ["config", "weights"])
def test_residuals_are_refused_in_a_line(where, capsys):
    state = gat() | ({"encoder.gat_layers.0.res_fc.weight": torch.ones(WIDTH, FEATURES)} if where == "weights" else {})
    torch.save(state, "checkpoint.pt")
    more = ", num_heads: 2" + (", residual: true" if where == "config" else "")
    Path("config.yaml").write_text(CONFIG.format(kind="gat", more=more))
    assert main(["import", "checkpoint.pt", "--config", "config.yaml", "--out", "run"]) == 2
    said = capsys.readouterr().err
    assert "`residual` " in said
    assert len(said.strip().splitlines()) == 1


def test_the_code_on_pyg_has_other_names(capsys):
    state, x = gat(), torch.randn(5, FEATURES)
    slopes = [state.pop(f"encoder.gat_layers.{number}.activation.weight") for number in range(2)]
    names = {"fc.weight": "lin.weight", "attn_l": "att_src", "attn_r": "att_dst"}
    renamed = {"encoder.activation.weight": slopes[0], "encoder.last_activation.weight": slopes[1]}
    for name, tensor in state.items():
        for old, new in names.items():
            name = name.replace(old, new)
        renamed[name] = tensor
    model = imported(renamed, "gat", ", num_heads: 2", capsys)
    state |= {f"encoder.gat_layers.{number}.activation.weight": slope for number, slope in enumerate(slopes)}
    torch.testing.assert_close(codes(model, x), gat_by_hand(state, x, EDGES), rtol=0, atol=1e-5)


@pytest.mark.parametrize("function", ["apply_func", "nn"])
def test_a_gin_comes_in_with_its_decoder_and_computes_the_same(function, capsys):
    def linear(name, out_width, in_width):
        return {f"{name}.weight": torch.randn(out_width, in_width) * 0.5, f"{name}.bias": torch.randn(out_width)}

    def norm(name):
        moments = {f"{name}.running_mean": torch.randn(WIDTH), f"{name}.running_var": 1 + torch.rand(WIDTH)}
        scale = {f"{name}.weight": torch.randn(WIDTH), f"{name}.bias": torch.randn(WIDTH)}
        return moments | scale | {f"{name}.num_batches_tracked": torch.tensor(4)}

    def network(name, in_width, out_width):
        found = linear(f"{name}.linears.0", WIDTH, in_width) | linear(f"{name}.linears.1", out_width, WIDTH)
        return found | norm(f"{name}.norms.0") | {f"{name}.activations.0.weight": torch.rand(1)}

    state = {"enc_mask_token": torch.randn(1, FEATURES), "encoder_to_decoder.weight": torch.randn(WIDTH, WIDTH)}
    for number, in_width in enumerate((FEATURES, WIDTH)):
        name = f"encoder.layers.{number}.{function}"
        state |= network(f"{name}.mlp", in_width, WIDTH) | norm(f"{name}.norm") | {f"{name}.act.weight": torch.rand(1)}
        state[f"encoder.layers.{number}.eps"] = torch.zeros(1)
    state |= network(f"decoder.layers.0.{function}", WIDTH, FEATURES)
    model, x = imported(state, "gin", "", capsys), torch.randn(5, FEATURES)

    def normed(x, name):
        values = [state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *values)

    expected = x
    reads = torch.eye(5)  # the released code adds self-loops, so that a node counts twice
    reads[EDGES[1], EDGES[0]] = 1
    for number in range(2):
        name = f"encoder.layers.{number}.{function}"
        hidden = (reads + torch.eye(5)) @ expected
        for part in ("0", "1"):
            hidden = F.linear(hidden, *(state[f"{name}.mlp.linears.{part}.{key}"] for key in ("weight", "bias")))
            after = (
                (f"{name}.mlp.norms.0", f"{name}.mlp.activations.0") if part == "0" else (f"{name}.norm", f"{name}.act")
            )
            hidden = F.prelu(normed(hidden, after[0]), state[f"{after[1]}.weight"])
        expected = hidden
    torch.testing.assert_close(codes(model, x), expected, rtol=0, atol=1e-4)
    assert torch.equal(model.predictor.conv.nn[3].bias, state[f"decoder.layers.0.{function}.linears.1.bias"])
