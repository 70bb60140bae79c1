"""Encoders of graphs as programs: checked on graphs of other sizes than those that they are traced with."""

import subprocess
import sys

import pytest
import torch

from unmask import Tokens
from unmask.api import ONNX, Export, TorchExport
from unmask_graph.encoders.gat import GATEncoder
from unmask_graph.encoders.gcn import GCNEncoder
from unmask_graph.encoders.gin import GINEncoder
from unmask_graph.encoders.gps import GPSEncoder
from unmask_graph.encoders.program import GraphProgram
from unmask_graph.encoders.sage import SAGEEncoder
from unmask_graph.layout import Graph
from unmask_graph.methods.graphmae import GraphMAE

ENCODERS = {
    "gcn": lambda values: GCNEncoder(3, 8, edge_width=values and 1),
    "gat": lambda values: GATEncoder(3, 8, 1, edge_width=values, residual=True, norm="layer"),
    "gin": lambda values: GINEncoder(3, 8, edge_width=values),
    "sage": lambda values: SAGEEncoder(3, 8),
    "gps": lambda values: GPSEncoder(3, 8, num_layers=1, num_steps=2, edge_width=values),
}
READS = "x float32 [nodes, 3], edge_index int64 [2, edges]"


def encoder_of(kind, values=None):
    """With weights of which none is what it begins with, so that each of them counts."""
    torch.manual_seed(0)
    encoder = ENCODERS[kind](values).eval()
    for tensor in [*encoder.parameters(), *encoder.buffers()]:
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.2, 1)
    return encoder


def export_of(encoder, pool, tmp_path):
    model = GraphMAE(num_features=3, encoder=encoder).eval()
    batch = {"x": torch.zeros(2, 3), "edges": torch.zeros(2, 0, dtype=torch.int64), "offsets": torch.tensor([0, 2])}
    return Export(model, "", 0, 0, lambda: batch, pool)


def graphs(width=None):
    """Three graphs of 4, 1 and 6 nodes, and what PyG calls their parts."""
    edges = torch.tensor([[0, 1, 1, 2, 5, 6, 7, 8, 9], [1, 0, 2, 1, 6, 5, 8, 7, 5]])
    x = torch.randn(11, 3, generator=torch.Generator().manual_seed(1))
    values = None if width is None else torch.linspace(0, 1, 9 * width).view(9, width)
    tokens = Tokens(x, Graph(edges, values), offsets=torch.tensor([0, 4, 5, 11]))
    own = {"x": x, "edge_index": edges, "edge_attr": values, "batch": tokens.owner}
    return tokens, own


def read(own, encoder, pool):
    """Those parts that the program reads."""
    unread = {"edge_attr"} if encoder.edge_width is None else set()
    unread |= {"batch"} if pool is None and not encoder.reads_graphs else set()
    return {name: x for name, x in own.items() if name not in unread}


@pytest.mark.parametrize(
    ("kind", "width", "pool"),
    [("gcn", 1, None), ("gat", 2, "max"), ("gin", 2, None), ("sage", None, "mean"), ("gps", None, "mean+max")],
)
def test_a_program_reads_graphs_of_any_sizes(kind, width, pool, tmp_path):
    encoder = encoder_of(kind, width)
    told = TorchExport().save(export_of(encoder, pool, tmp_path), tmp_path / "x.pt2")
    assert READS in told
    about = {"unmask.input": "", "unmask.pool": ""}
    program = torch.export.load(tmp_path / "x.pt2", extra_files=about)
    assert about["unmask.pool"] == (pool or "codes")
    assert about["unmask.input"] in told
    assert {node.target.namespace for node in program.graph.nodes if hasattr(node.target, "namespace")} == {"aten"}
    tokens, own = graphs(encoder.edge_width)
    with torch.no_grad():
        latent = encoder(tokens)
        got = program.module()(read(own, encoder, pool))
    expected = latent.values if pool is None else latent.pool(pool, tokens)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("pool", [None, "mean"])
def test_a_module_takes_self_loops_out_as_the_encoder_does(kind, pool):
    """Nobody traces here: what is traced is right for every encoder with and without edge values, loops included."""
    for width in (None, 1):
        encoder = encoder_of(kind, width)
        tokens, own = graphs(encoder.edge_width)
        loops = torch.cat([own["edge_index"], torch.tensor([[3, 1], [3, 1]])], 1)
        values = None if encoder.edge_width is None else torch.cat([own["edge_attr"], torch.ones(2, 1)])
        looped = Tokens(tokens.values, Graph(loops, values), offsets=tokens.offsets)
        own |= {"edge_index": loops, "edge_attr": values}
        with torch.no_grad():
            latent = encoder(looped)
            got = GraphProgram(encoder, pool).eval()(read(own, encoder, pool))
        expected = latent.values if pool is None else latent.pool(pool, looped)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_pooling_that_needs_a_class_token_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the encoder has no class token"):
        TorchExport().save(export_of(encoder_of("gcn"), "cls", tmp_path), tmp_path / "x.pt2")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("pool", [None, "mean+max"])
def test_an_onnx_program_reads_graphs_of_any_sizes(kind, pool, tmp_path):
    import onnxruntime

    encoder = encoder_of(kind, 1)
    told = ONNX().save(export_of(encoder, pool, tmp_path), tmp_path / "x.onnx")
    assert READS in told
    tokens, own = graphs(encoder.edge_width)
    given = {name: x.numpy() for name, x in read(own, encoder, pool).items()}
    (got,) = onnxruntime.InferenceSession(tmp_path / "x.onnx").run(None, given)
    with torch.no_grad():
        latent = encoder(tokens)
    expected = latent.values if pool is None else latent.pool(pool, tokens)
    torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_program_runs_without_unmask_and_pyg(tmp_path):
    TorchExport().save(export_of(encoder_of("gat"), None, tmp_path), tmp_path / "x.pt2")
    program = (
        "import sys, torch; m = torch.export.load('x.pt2').module(); "
        "assert m({'x': torch.zeros(2, 3), 'edge_index': torch.tensor([[0], [1]])}).shape == (2, 8); "
        "assert not [n for n in sys.modules if n.startswith(('unmask', 'torch_geometric'))]"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
