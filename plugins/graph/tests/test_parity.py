"""Equality with PyG's layers on the same weights, forward and backward; losses worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GPSConv
from torch_geometric.transforms import AddRandomWalkPE

from unmask import KEPT, RANDOM, TOKEN, Latent, Mask, Prediction, Tokens
from unmask.losses import ScaledCosineLoss
from unmask_graph.encoders.gat import GATEncoder
from unmask_graph.encoders.gcn import GCNEncoder
from unmask_graph.encoders.gin import GINEncoder
from unmask_graph.encoders.gps import GPSEncoder, returns
from unmask_graph.encoders.sage import SAGEEncoder
from unmask_graph.layout import Edges, Graph
from unmask_graph.losses import EdgeLoss
from unmask_graph.nn.adjacency import Adjacency
from unmask_graph.nn.aggregate import aggregate, edge_softmax
from unmask_graph.nn.features import Features
from unmask_graph.predictors.gat_decoder import GATDecoder
from unmask_graph.predictors.gin_decoder import GINDecoder


def graph(num_nodes=30, num_edges=70, width=7, seed=0, sparse=False):
    """Two packed graphs with an isolated node, and values of edges; directed."""
    rng = torch.Generator().manual_seed(seed)
    half = num_nodes // 2
    edges = [
        torch.randint(low, high - 1, (2, num_edges), generator=rng) for low, high in ((0, half), (half, num_nodes))
    ]
    edges = torch.cat(edges, 1)
    edges = edges[:, edges[0] != edges[1]].unique(dim=1)
    edges = edges[:, torch.randperm(edges.shape[1], generator=rng)]
    x = torch.randn(num_nodes, width, generator=rng, dtype=torch.float64)
    if sparse:
        x = x * (torch.rand(x.shape, generator=rng) < 0.05)
    values = torch.randn(edges.shape[1], 3, generator=rng, dtype=torch.float64)
    return Tokens(x, Graph(edges, values), offsets=torch.tensor([0, half, num_nodes]))


def plain(encoder, tokens, x, edge_values=False):
    """The encoder's layers, computed by PyG's own modules."""
    layout, codes = tokens.layout, [x]
    for layer in encoder.layers:
        extra = (layout.edge_values,) if edge_values else ()
        codes.append(layer.after(layer.conv(codes[-1], layout.edges, *extra)))
    return codes[1:]


def same_gradients(encoder, ours, theirs):
    weight = torch.randn_like(ours)
    mine, other = (
        torch.autograd.grad((y * weight).sum(), list(encoder.parameters()), retain_graph=True, allow_unused=True)
        for y in (ours, theirs)
    )
    assert sum(gradient is not None for gradient in mine) > 3
    for a, b in zip(mine, other, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    ("make", "edge_values"),
    [
        (lambda f: GATEncoder(f, 16, 3, 4, residual=True, norm="layer"), False),
        (lambda f: GATEncoder(f, 16, 2, 2, edge_width=3), True),
        (lambda f: GATEncoder(f, 5, 1, 1, activation="elu"), False),
        (lambda f: GINEncoder(f, 16, 3, epsilon=0.5), False),
        (lambda f: GINEncoder(f, 16, 3, epsilon=0.5, edge_width=3), True),
        (lambda f: GCNEncoder(f, 16, 2, edge_width=1), True),
        (lambda f: GCNEncoder(f, 16, 2), False),
        (lambda f: SAGEEncoder(f, 16, 2), False),
        (lambda f: SAGEEncoder(f, 3, 2), False),
    ],
)
def test_encoders_are_pygs_layers(make, edge_values, sparse):
    torch.manual_seed(0)
    tokens = graph(width=40 if sparse else 7, sparse=sparse)
    encoder = make(tokens.values.shape[1]).double().eval()
    if encoder.edge_width == 1:  # weights
        layout = replace(tokens.layout, edge_values=tokens.layout.edge_values[:, :1].abs())
        tokens = replace(tokens, layout=layout)
    ours, theirs = encoder(tokens).values, plain(encoder, tokens, tokens.values, edge_values)
    assert torch.allclose(ours, theirs[-1], atol=1e-9)
    same_gradients(encoder, ours, theirs[-1])
    assert torch.allclose(encoder(tokens, layer=1).values, theirs[0], atol=1e-9)


@pytest.mark.parametrize("sparse", [False, True])
def test_hidden_nodes_are_shown_as_token_stand_in_or_kept(sparse):
    torch.manual_seed(0)
    tokens = graph(width=40 if sparse else 7, sparse=sparse)
    hidden = torch.zeros(30, dtype=torch.bool)
    hidden[[1, 4, 20, 22]] = True
    show = torch.full((30,), KEPT, dtype=torch.int8)
    show[[1, 20]], show[4] = TOKEN, RANDOM
    donor = torch.full((30,), 9)
    encoder = GATEncoder(tokens.values.shape[1], 16).double().eval()
    nn.init.normal_(encoder.mask_token)
    shown = tokens.values.clone()
    shown[[1, 20]], shown[4] = encoder.mask_token, tokens.values[9]
    ours = encoder(tokens, Mask(hidden, show=show, donor=donor)).values
    theirs = plain(encoder, tokens, shown)[-1]
    assert torch.allclose(ours, theirs, atol=1e-9)
    same_gradients(encoder, ours, theirs)


def test_dropped_nodes_take_their_edges_along():
    torch.manual_seed(0)
    tokens = graph()
    hidden = torch.zeros(30, dtype=torch.bool)
    hidden[[0, 5, 17]] = True
    encoder = GATEncoder(7, 16).double().eval()
    latent = encoder(tokens, Mask(hidden))
    assert torch.equal(latent.seen.index, (~hidden).nonzero().squeeze(1))
    left = ~hidden[tokens.layout.edges].any(0)
    number = (~hidden).cumsum(0) - 1
    smaller = Tokens(tokens.values[~hidden], Graph(number[tokens.layout.edges[:, left]]), offsets=torch.tensor([0, 27]))
    assert torch.allclose(latent.values, encoder(smaller).values)


def test_hidden_edges_are_gone_in_both_directions():
    torch.manual_seed(0)
    x = torch.randn(4, 5, dtype=torch.float64)
    ends, both = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), torch.tensor([True, True, True, False])
    tokens = Tokens(torch.ones(4, 1).double(), Edges(ends, both, x, torch.tensor([0, 4])), offsets=torch.tensor([0, 4]))
    encoder = GCNEncoder(5, 8).double().eval()
    hidden = torch.tensor([False, True, False, False])
    visible = torch.tensor([[0, 1, 2, 3, 3], [1, 0, 3, 2, 0]])
    whole = Tokens(x, Graph(visible), offsets=torch.tensor([0, 4]))
    assert torch.allclose(encoder(tokens, Mask(hidden)).values, encoder(whole).values)
    assert not torch.allclose(encoder(tokens).values, encoder(whole).values)


def test_gps_is_pygs_block():
    torch.manual_seed(0)
    tokens = graph()
    encoder = GPSEncoder(7, 16, 2, 4, num_steps=5).double().train()
    layout, codes = tokens.layout, None
    owner = torch.arange(2).repeat_interleave(15)
    for step in encoder.layers:
        block = getattr(step, "block", step)
        if codes is None:
            walks = returns(Adjacency.of(layout.edges, 30), tokens.offsets, 5).double()
            codes = step.embed(tokens.values) + step.walks(walks)
        peer = GPSConv(16, block.conv, heads=4).double()
        peer.attn.load_state_dict(block.attention.state_dict())
        for mine, theirs in ((0, peer.norm1), (1, peer.norm2), (2, peer.norm3)):
            theirs.module.load_state_dict(block.norms[mine].state_dict())
        peer.mlp[0].load_state_dict(block.mlp[0].state_dict())
        peer.mlp[3].load_state_dict(block.mlp[2].state_dict())
        codes = peer(codes, layout.edges, owner)
    assert torch.allclose(encoder(tokens).values, codes, atol=1e-8)


def test_walks_are_pygs():
    rng = torch.Generator().manual_seed(0)
    pairs = torch.randint(0, 12, (2, 20), generator=rng)
    pairs = pairs[:, pairs[0] != pairs[1]]
    edges = torch.cat([pairs, pairs.flip(0)], 1).unique(dim=1)
    data = AddRandomWalkPE(6, attr_name="walk")(Data(edge_index=edges, num_nodes=12))
    assert torch.allclose(returns(Adjacency.of(edges, 12), torch.tensor([0, 12]), 6), data.walk, atol=1e-6)


@pytest.mark.parametrize("edge_width", [None, 3])
def test_gat_decoder_is_pygs_layer_on_re_masked_codes(edge_width):
    torch.manual_seed(0)
    tokens = graph()
    hidden = torch.rand(30) < 0.5
    mask = Mask(hidden, show=torch.zeros(30, dtype=torch.int8))
    decoder = GATDecoder(16, 40, edge_width=edge_width).double().eval()
    codes = torch.randn(30, 16, dtype=torch.float64, requires_grad=True)
    answer = decoder(Latent(codes), tokens.places, mask)
    given = decoder.remask.project(codes).masked_fill(hidden[:, None], 0)
    values = tokens.layout.edge_values if edge_width else None
    whole = decoder.answers.conv(given, tokens.layout.edges, values)
    assert torch.allclose(answer.values, whole[hidden], atol=1e-9)
    same_gradients(decoder, answer.values, whole[hidden])
    weight = torch.randn_like(answer.values)
    mine = torch.autograd.grad((answer.values * weight).sum(), codes, retain_graph=True)[0]
    other = torch.autograd.grad((whole[hidden] * weight).sum(), codes)[0]
    assert torch.allclose(mine, other, atol=1e-9)


def test_gin_decoder_is_pygs_layer_on_re_masked_codes():
    torch.manual_seed(0)
    tokens = graph()
    hidden = torch.rand(30) < 0.5
    decoder = GINDecoder(16, 7).double().train()
    decoder.remask.dropout = 0.0
    codes = torch.randn(30, 16, dtype=torch.float64)
    answer = decoder(Latent(codes), tokens.places, Mask(hidden, show=torch.zeros(30, dtype=torch.int8)))
    given = decoder.remask.project(codes).masked_fill(hidden[:, None], 0)
    whole = decoder.conv(given, tokens.layout.edges)
    assert torch.allclose(answer.values, whole[hidden], atol=1e-9)


def test_five_nodes_by_hand():
    """A path of five nodes, one head, weights of ones: softmax, sum and loss as on paper."""
    edges = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]])
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    conv = GATEncoder(2, 2, 1, 1, activation="relu").eval()
    layer = conv.layers[0].conv
    with torch.no_grad():
        layer.lin.weight.copy_(torch.eye(2))
        layer.att_src.fill_(1.0)
        layer.att_dst.fill_(-1.0)
    found = conv(Tokens(x, Graph(edges), offsets=torch.tensor([0, 5]))).values
    # Node 2 reads nodes 1, 2 and 3, with scores leaky(1 - 2), leaky(2 - 2) and leaky(2 - 2): -0.2, 0, 0.
    shares = [math.exp(-0.2), 1.0, 1.0]
    shares = [share / sum(shares) for share in shares]
    expected = [shares[1] * 1 + shares[2] * 2, shares[0] * 1 + shares[1] * 1]
    assert torch.allclose(found[2], torch.tensor(expected))

    # cos of (1, 0) and (1, 1) is 1 / sqrt(2); of (0, 2) and (0, 1) it is 1.
    answer, truth = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    hidden = torch.tensor([True, False, True, False, False])
    loss = ScaledCosineLoss(gamma=3.0)(Prediction(answer, Mask(hidden).asked), truth).total
    assert loss == pytest.approx((1 - 1 / math.sqrt(2)) ** 3 / 2)

    # Scores 0 and log 3: -log(1/2) - log(1 - 3/4).
    scores = Prediction(torch.tensor([[0.0, math.log(3.0)]]), Mask(torch.tensor([True, False])).asked)
    edge_loss = EdgeLoss()(scores, torch.tensor([[1.0, 0.0]])).total
    assert edge_loss == pytest.approx(math.log(2) + math.log(4))


def test_sums_and_shares_equal_the_plain_way():
    tokens = graph()
    adjacency = Adjacency.of(tokens.layout.edges, 30)
    weight = torch.randn(len(adjacency.source), dtype=torch.float64, requires_grad=True)
    x = tokens.values.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda w, v: aggregate(adjacency, v, w), (weight, x))
    expected = torch.zeros_like(x).index_add_(0, adjacency.target, x[adjacency.source] * weight[:, None])
    assert torch.allclose(aggregate(adjacency, x, weight), expected)
    shares = edge_softmax(adjacency, weight)
    for node in range(30):
        into = adjacency.target == node
        assert torch.allclose(shares[into], weight[into].softmax(0))
    assert torch.autograd.gradcheck(lambda w: edge_softmax(adjacency, w), (weight,))


def test_sparse_features_equal_dense_ones_under_dropout():
    """The same law: a value is dropped by the given share, whatever the form; and gradients are the product's."""
    torch.manual_seed(0)
    x = torch.zeros(200, 300)
    x[torch.arange(200), torch.randint(300, (200,))] = 1.0
    features = Features(x)
    shown = features.project(torch.eye(300), 0.3, True)
    assert shown.unique().tolist() == pytest.approx([0.0, 1 / 0.7], rel=1e-4)
    assert float((shown.sum(1) == 0).float().mean()) == pytest.approx(0.3, abs=0.1)
    weight = torch.randn(8, 300, requires_grad=True)
    features.project(weight, 0.0, True).square().sum().backward()
    mine, weight.grad = weight.grad, None
    F.linear(x, weight).square().sum().backward()
    assert torch.allclose(mine, weight.grad, atol=1e-5)


def test_gat_layer_loads_weights_of_pyg():
    torch.manual_seed(0)
    tokens = graph()
    theirs = GATConv(7, 4, heads=4).double().eval()
    encoder = GATEncoder(7, 16, 1, 4).double().eval()
    encoder.layers[0].conv.load_state_dict(theirs.state_dict())
    expected = encoder.layers[0].after(theirs(tokens.values, tokens.layout.edges))
    assert torch.allclose(encoder(tokens).values, expected)
