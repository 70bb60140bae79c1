"""Nothing hidden reaches an answer: features, codes after the re-mask, edges; and gradients stay finite."""

import pytest
import torch

from unmask import RANDOM, TOKEN, Corruption, Latent, Mask, Tokens
from unmask.losses import ScaledCosineLoss
from unmask.testing import shown_as, streams
from unmask_graph.encoders.gat import GATEncoder
from unmask_graph.encoders.gcn import GCNEncoder
from unmask_graph.encoders.gin import GINEncoder
from unmask_graph.encoders.gps import GPSEncoder
from unmask_graph.encoders.sage import SAGEEncoder
from unmask_graph.layout import Edges, Graph
from unmask_graph.methods.graphmae import GraphMAE
from unmask_graph.methods.graphmae2 import GraphMAE2
from unmask_graph.methods.maskgae import MaskGAE
from unmask_graph.predictors.edge_decoder import EdgeDecoder, non_edges
from unmask_graph.predictors.gat_decoder import GATDecoder
from unmask_graph.predictors.gin_decoder import GINDecoder


def ring(num_nodes=24, width=6, chords=((0, 9), (3, 17))):
    """Two rings of half the nodes each, with chords where they fit."""
    half = num_nodes // 2
    pairs = [(i, (i + 1) % half) for i in range(half)] + [(half + i, half + (i + 1) % half) for i in range(half)]
    pairs += [(a, b) for a, b in chords if (a < half) == (b < half)]
    edges = torch.tensor(pairs).t()
    x = torch.randn(num_nodes, width, generator=torch.Generator().manual_seed(3))
    return {"x": x, "edges": torch.cat([edges, edges.flip(0)], 1), "offsets": torch.tensor([0, half, num_nodes])}


def encoders(width):
    return [
        GATEncoder(width, 16), GINEncoder(width, 16), GCNEncoder(width, 16), SAGEEncoder(width, 16),
        GPSEncoder(width, 16, num_layers=2, num_steps=3),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("corruption", [Corruption(token=0.5, random=0.5), Corruption(drop=1)])
def test_no_hidden_feature_changes_a_code(number, corruption):
    torch.manual_seed(0)
    model = GraphMAE(encoder=encoders(6)[number], corruption=corruption).train()
    batch = ring()

    def codes(x):
        tokens = model.tokenizer({**batch, "x": x})
        mask = corruption(tokens, model.mask(tokens, None, streams(tokens, 1))).mask
        torch.manual_seed(4)  # the same dropout
        latent = model.encoder(tokens, mask)
        torch.manual_seed(5)
        return mask.hidden, latent.values, model.predictor(latent, tokens.places, mask).values

    hidden, latent, answer = codes(batch["x"])
    assert 0 < int(hidden.sum()) < len(hidden)
    again = codes(torch.where(hidden[:, None], torch.randn(24, 6) * 10, batch["x"]))
    assert torch.equal(latent, again[1])
    assert torch.equal(answer, again[2])
    other = codes(torch.where(hidden[:, None], batch["x"], batch["x"] + 1))  # what is visible does matter
    assert not torch.equal(latent, other[1])


def test_stand_ins_are_visible_nodes():
    hidden = torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.5
    mask = shown_as(Corruption(token=0.6, random=0.4), Mask(hidden), 1)
    assert not hidden[mask.donor].any()
    assert len(mask.donor.unique()) > 100
    assert float((mask.show[hidden] == RANDOM).float().mean()) == pytest.approx(0.4, abs=0.1)
    assert float((mask.show[hidden] == TOKEN).float().mean()) == pytest.approx(0.6, abs=0.1)
    again = shown_as(Corruption(token=0.6, random=0.4), Mask(hidden), 1)
    assert torch.equal(mask.donor, again.donor)


@pytest.mark.parametrize("make", [GATDecoder, GINDecoder])
def test_re_masked_codes_do_not_reach_the_answer(make):
    torch.manual_seed(0)
    decoder = make(8, 6).eval()
    batch = ring()
    places = Tokens(None, Graph(batch["edges"]), offsets=batch["offsets"])
    hidden = torch.rand(24) < 0.5
    mask = Mask(hidden, show=torch.full((24,), TOKEN, dtype=torch.int8))
    codes = torch.randn(24, 8)
    answer = decoder(Latent(codes), places, mask).values
    assert torch.equal(answer, decoder(Latent(codes + hidden[:, None] * torch.randn(24, 8)), places, mask).values)
    assert not torch.equal(answer, decoder(Latent(codes + ~hidden[:, None] * 1.0), places, mask).values)


@pytest.mark.parametrize("kind", ["gat", "gin"])
def test_gradients_are_finite_where_all_neighbours_are_hidden(kind):
    """At the first step a hidden node among hidden ones is answered by zeros, which have no angle."""
    torch.manual_seed(0)
    batch = ring(chords=())
    model = GraphMAE(num_features=6, kind=kind, width=16, norm=None).train()
    tokens = model.tokenizer(batch)
    hidden = torch.zeros(24, dtype=torch.bool)
    hidden[2:8] = True  # a run of a ring: 3 to 6 see hidden nodes only
    mask = Mask(hidden, show=torch.full((24,), TOKEN, dtype=torch.int8))
    prediction = model.predictor(model.encoder(tokens, mask), tokens.places, mask)
    if kind == "gat":
        assert torch.equal(prediction.values[1:5], torch.zeros(4, 6))
    model.loss(prediction, model.target(tokens, mask)).total.backward()
    largest = {name: float(p.grad.abs().max()) for name, p in model.named_parameters() if p.grad is not None}
    assert all(0 <= value < 1e6 for value in largest.values())  # the loss clamps lengths at 1e-6: none is inf or nan
    if kind == "gat":  # only the decoder's bias has a large one; what other parameters learn is not touched
        assert max(value for name, value in largest.items() if name != "predictor.answers.conv.bias") < 100


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: MaskGAE(num_features=6),
        lambda: MaskGAE(num_features=6, edge_width=1),
        lambda: MaskGAE(encoder=GINEncoder(6, 16, edge_width=1)),
    ],
)
def test_a_hidden_edge_is_known_from_nothing(make, weighted):
    """With edge 0-1 hidden, codes and scores are those of the graph without it."""
    torch.manual_seed(0)
    model = make().eval()
    batch = ring()
    if weighted:
        half = torch.rand(batch["edges"].shape[1] // 2, 1)
        batch["edge_values"] = torch.cat([half, half])
    tokens = model.tokenizer(batch)
    hidden = torch.zeros(len(tokens.values), dtype=torch.bool)
    hidden[0] = True
    gone = tokens.layout.ends[:, 0]
    left = ~((batch["edges"] == gone[:, None]).all(0) | (batch["edges"] == gone.flip(0)[:, None]).all(0))
    rest = {"edges": batch["edges"][:, left]}
    if weighted:
        rest["edge_values"] = batch["edge_values"][left]
    without = model.embed({**batch, **rest})
    assert int(left.sum()) == batch["edges"].shape[1] - 2
    assert torch.allclose(model.encoder(tokens, Mask(hidden)).values, without.values, atol=1e-6)


def test_non_edges_are_pairs_of_a_graph_that_are_not_joined():
    batch = ring(num_nodes=60, chords=())
    tokens = MaskGAE(num_features=6).tokenizer(batch)
    layout = tokens.layout
    assert isinstance(layout, Edges)
    pairs = non_edges(layout.ends, layout)
    joined = {tuple(sorted(pair)) for pair in layout.ends.t().tolist()}
    drawn = [tuple(sorted(pair)) for pair in pairs.t().tolist()]
    assert not joined & set(drawn)
    assert all(a != b for a, b in drawn)
    assert torch.equal(pairs[0] < 30, layout.ends[0] < 30)
    assert torch.equal(pairs[1] < 30, layout.ends[0] < 30)
    assert len(set(drawn)) > len(drawn) // 2
    assert torch.equal(pairs, non_edges(layout.ends, layout))
    assert not torch.equal(pairs[:, 1:], non_edges(layout.ends[:, 1:], layout))


def test_a_graph_without_non_edges_ends():
    ends = torch.tensor([[0, 0, 1], [1, 2, 2]])
    layout = Edges(ends, torch.ones(3, dtype=torch.bool), torch.ones(3, 2), torch.tensor([0, 3]))
    pairs = non_edges(ends, layout)
    assert bool((pairs[0] != pairs[1]).all())


def test_dot_product_scores_by_hand():
    codes = torch.tensor([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.5]])
    pairs = torch.tensor([[0, 0], [1, 2]])
    assert EdgeDecoder().score(codes, pairs).tolist() == [11.0, 0.0]


def test_the_teacher_sees_everything_and_gives_no_gradient():
    torch.manual_seed(0)
    model = GraphMAE2(num_features=6, width=16, num_layers=2, num_heads=4).train()
    step = model.step(ring(), 0)
    step.loss.total.backward()
    latent = model.objectives["latent"]
    assert all(p.grad is None for p in latent.target.parameters())
    trained = [*model.encoder.parameters(), *model.predictor.parameters(), *latent.predictor.parameters()]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)


def test_an_answer_of_zeros_costs_one_and_its_gradient_is_bounded():
    answer = torch.zeros(3, 4, requires_grad=True)
    loss = ScaledCosineLoss(gamma=2.0).per_token(answer, torch.ones(3, 4), None)
    assert loss.tolist() == [1.0, 1.0, 1.0]
    loss.sum().backward()
    assert torch.isfinite(answer.grad).all()
