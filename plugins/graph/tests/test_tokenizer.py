"""Nodes and edges as tokens, worked out by hand on five nodes; drawings and GraphML."""

from __future__ import annotations

import io

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.nn import global_add_pool

from unmask import Places, Prediction, Set
from unmask.masks import RandomMask
from unmask.testing import streams
from unmask_graph.drawing import COVER, HIDDEN_EDGE, MOST_NODES
from unmask_graph.layout import Edges, Graph
from unmask_graph.tokenizer import EdgeTokenizer, GraphTokenizer

# Two graphs: 0 - 1 both ways, 2 -> 1 one way; 3 - 4 both ways.
BATCH = {
    "x": torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 2], [3, 0]]),
    "edges": torch.tensor([[1, 0, 2, 4, 3], [0, 1, 1, 3, 4]]),
    "edge_values": torch.tensor([[10.0], [11], [12], [13], [14]]),
    "offsets": torch.tensor([0, 3, 5]),
}


def test_nodes_are_tokens() -> None:
    tokens = GraphTokenizer()(BATCH)
    assert isinstance(tokens.layout, Graph) and isinstance(tokens.layout, Set)
    assert str(tokens.layout) == "Graph"
    assert tokens.values is BATCH["x"]
    assert tokens.layout.edges is BATCH["edges"]
    assert tokens.num_samples == 2
    mask = RandomMask(0.5)(tokens, None, streams(tokens, 0))
    assert [int(part.sum()) for part in mask.hidden.split([3, 2])] == [2, 1]
    expected = global_add_pool(BATCH["x"], torch.tensor([0, 0, 0, 1, 1]))
    assert torch.equal(GraphTokenizer().raw(tokens), expected)


def test_edges_are_tokens() -> None:
    tokens = EdgeTokenizer()(BATCH)
    layout = tokens.layout
    assert isinstance(layout, Edges) and isinstance(layout, Set)
    assert layout.ends.tolist() == [[0, 2, 3], [1, 1, 4]]
    assert layout.both.tolist() == [True, False, True]
    assert tokens.values.tolist() == [[11], [12], [14]]
    assert tokens.offsets.tolist() == [0, 2, 3]
    assert layout.nodes is BATCH["x"]
    assert layout.node_offsets is BATCH["offsets"]
    bare = {key: value for key, value in BATCH.items() if key != "edge_values"}
    assert EdgeTokenizer()(bare).values.tolist() == [[1], [1], [1]]
    assert torch.equal(EdgeTokenizer().raw(tokens), GraphTokenizer().raw(GraphTokenizer()(BATCH)))


def test_each_edge_is_one_token_whatever_the_order() -> None:
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        adjacent = torch.rand(12, 12, generator=rng) < 0.2
        adjacent.fill_diagonal_(False)
        edges = adjacent.nonzero().T
        edges = edges[:, torch.randperm(edges.shape[1], generator=rng)]
        layout = EdgeTokenizer()({"x": torch.zeros(12, 1), "edges": edges, "offsets": torch.tensor([0, 12])}).layout
        rebuilt = torch.zeros(12, 12, dtype=torch.bool)
        rebuilt[layout.ends[0], layout.ends[1]] = True
        back = layout.ends[:, layout.both]
        rebuilt[back[1], back[0]] = True
        assert torch.equal(rebuilt, adjacent)
        assert layout.ends.shape[1] == (adjacent | adjacent.T).triu().sum()


@pytest.mark.parametrize("kind", [GraphTokenizer, EdgeTokenizer])
def test_pictures_show_what_is_hidden(kind: type) -> None:
    tokenizer = kind()
    tokens = tokenizer(BATCH)
    hidden = torch.zeros(len(tokens.values), dtype=torch.bool)
    hidden[1] = True  # of the first graph
    plain, covered = tokenizer.render(tokens), tokenizer.render(tokens, hidden)
    color = COVER if kind is GraphTokenizer else HIDDEN_EDGE
    assert len(plain) == 2
    assert all(picture.dtype == np.uint8 and picture.shape == plain[0].shape for picture in plain + covered)
    assert not (plain[0] == color).all(-1).any()
    assert (covered[0] == color).all(-1).sum() > 20
    assert np.array_equal(plain[1], covered[1])
    assert all(np.array_equal(a, b) for a, b in zip(plain, tokenizer.render(tokens), strict=True))


def test_a_large_graph_is_drawn_in_part() -> None:
    num_nodes = 3 * MOST_NODES
    edges = torch.stack([torch.arange(num_nodes - 1), torch.arange(1, num_nodes)])
    batch = {"x": torch.rand(num_nodes, 3), "edges": edges, "offsets": torch.tensor([0, num_nodes])}
    tokens = GraphTokenizer()(batch)
    every = torch.ones(num_nodes, dtype=torch.bool)
    picture = GraphTokenizer().render(tokens, every)[0]
    assert (picture[-12:] < 100).any()  # says how many of how many
    small = GraphTokenizer()({"x": torch.rand(2, 3), "edges": edges[:, :1], "offsets": torch.tensor([0, 2])})
    assert (GraphTokenizer().render(small)[0][-12:] == 255).all()


def test_graphml_holds_nodes_edges_and_answers() -> None:
    tokenizer = GraphTokenizer()
    tokens = tokenizer(BATCH)
    hidden = torch.tensor([False, True, False, False, True])
    prediction = Prediction(torch.tensor([[0.0, 5], [0, 1]]), Places.of(hidden))
    first, second = (
        nx.read_graphml(io.BytesIO(one)) for one in tokenizer.files(tokens, hidden, prediction)[".graphml"]
    )
    assert first.is_directed() and not second.is_directed()
    assert sorted(first.edges) == [("0", "1"), ("1", "0"), ("2", "1")]
    assert [first.nodes[node]["hidden"] for node in "012"] == [False, True, False]
    assert first.nodes["2"] == {"hidden": False, "f0": 1.0, "f1": 1.0}
    assert first.nodes["1"]["cosine"] == pytest.approx(1)
    assert second.nodes["1"]["cosine"] == pytest.approx(0)
    assert "cosine" not in first.nodes["0"]

    edges = EdgeTokenizer()
    tokens = edges(BATCH)
    hidden = torch.tensor([True, False, True])
    prediction = Prediction(torch.tensor([[0.25, -1], [0.75, -2]]), Places.of(hidden))
    first, second = (nx.read_graphml(io.BytesIO(one)) for one in edges.files(tokens, hidden, prediction)[".graphml"])
    assert first.edges["1", "0"] == {"hidden": True, "score": 0.25}
    assert first.edges["2", "1"] == {"hidden": False}
    assert second.edges["0", "1"]["score"] == 0.75
