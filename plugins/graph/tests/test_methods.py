"""Methods: defaults are the papers', parts come together, what cannot be is refused in a line, teachers follow."""

import pytest
import torch
from torch import nn

from unmask.losses import CrossEntropyLoss
from unmask_graph.encoders.gat import GATEncoder
from unmask_graph.encoders.gcn import GCNEncoder
from unmask_graph.encoders.gin import GINEncoder
from unmask_graph.encoders.gps import GPSEncoder
from unmask_graph.encoders.sage import SAGEEncoder
from unmask_graph.methods.graphmae import GraphMAE
from unmask_graph.methods.graphmae2 import GraphMAE2
from unmask_graph.methods.maskgae import MaskGAE
from unmask_graph.nn.dropout import dropout
from unmask_graph.optim import Adam
from unmask_graph.predictors.edge_decoder import EdgeDecoder
from unmask_graph.predictors.gin_decoder import GINDecoder
from unmask_graph.predictors.mlp_decoder import MLPDecoder
from unmask_graph.targets import OneHotTarget


def batch(num_graphs=4, size=12, width=5, seed=0):
    """Rings with chords, packed, nodes of one of ``width`` kinds."""
    rng = torch.Generator().manual_seed(seed)
    step = torch.arange(size)
    edges = torch.cat([torch.stack([step, (step + k) % size]) + size * i for i in range(num_graphs) for k in (1, 3)], 1)
    kind = torch.randint(width, (num_graphs * size,), generator=rng)
    x = torch.nn.functional.one_hot(kind, width).float()
    return {"x": x, "edges": torch.cat([edges, edges.flip(0)], 1), "offsets": torch.arange(num_graphs + 1) * size}


def test_defaults_are_the_papers():
    model = GraphMAE(num_features=1433)
    assert (model.encoder.width, model.encoder.num_layers, model.encoder.layers[0].conv.heads) == (512, 2, 4)
    assert (model.mask.ratio, model.corruption.random, model.loss.gamma) == (0.5, 0.05, 3.0)
    assert (model.encoder.layers[0].dropout, model.encoder.layers[0].conv.dropout) == (0.2, 0.1)
    optimizer = model.optim.optimizer(model, 1e-3, 2e-4)
    assert isinstance(optimizer, torch.optim.Adam)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {2e-4}
    assert all(group["decays"] for group in optimizer.param_groups)
    gin = GraphMAE(num_features=7, kind="gin", width=32, num_layers=5)
    assert isinstance(gin.predictor, GINDecoder)
    assert isinstance(gin.encoder, GINEncoder)
    assert isinstance(gin.encoder.layers[4].after[0], nn.BatchNorm1d)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GraphMAE(num_features=5, width=16),
        lambda: GraphMAE(num_features=5, kind="gin", width=16),
        lambda: GraphMAE(encoder=GCNEncoder(5, 16)),
        lambda: GraphMAE(encoder=SAGEEncoder(5, 16), predictor=MLPDecoder(16, 5)),
        lambda: GraphMAE(encoder=GPSEncoder(5, 16, 2, num_steps=4)),
        lambda: GraphMAE(encoder=GATEncoder(5, 16, drop_edge=0.3), target=OneHotTarget(), loss=CrossEntropyLoss()),
        lambda: GraphMAE2(num_features=5, width=16, num_layers=2, num_heads=4),
        lambda: MaskGAE(num_features=5, width=16, predictor=EdgeDecoder()),
    ],
)
def test_a_method_learns_what_it_is_shown(make):
    """Every weight gets a gradient, the loss falls, and the same seed gives the same step."""
    torch.manual_seed(0)
    model, data = make().train(), batch()
    optimizer = Adam(base_lr=1e-2).optimizer(model, 1e-2, 0.0)
    losses = []
    for step in range(40):
        loss = model.step(data, step % 4).loss
        assert loss.per_token.ndim == 1
        optimizer.zero_grad()
        loss.total.backward()
        if step == 0:
            missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert not missing
        optimizer.step()
        losses.append(loss.total.item())
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8])
    model.eval()
    first, second = (model.step(data, 9).loss.total for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: GraphMAE(), "`num_features` must be given"),
        (lambda: GraphMAE(num_features=5, kind="cnn"), "`kind` must be one of gat, gin, but is 'cnn'"),
        (
            lambda: GraphMAE(num_features=6, encoder=GATEncoder(5, 16)),
            "`num_features` must be the encoder's, 5, but is 6",
        ),
        (lambda: GraphMAE(width=8, encoder=GATEncoder(5, 16)), "`width` must be left out when `encoder` is given"),
        (lambda: GATEncoder(5, 10, num_heads=4), "`num_heads` must divide `width` = 10, but is 4"),
        (lambda: GATEncoder(5, 16, num_layers=0), "`num_layers` must be at least 1"),
        (lambda: GATEncoder(5, 16, dropout=1.0), r"`dropout` must be in \[0, 1\), but is 1.0"),
        (lambda: GATEncoder(5, 16, attention_dropout=-0.1), "`attention_dropout` must be in"),
        (lambda: GATEncoder(5, 16, drop_edge=1.0), r"`drop_edge` must be in \[0, 1\), but is 1.0"),
        (lambda: GATEncoder(5, 16, activation="tanh"), "`activation` must be one of prelu, relu, elu, gelu"),
        (lambda: GATEncoder(5, 16, norm="group"), "`norm` must be 'batch', 'layer' or None"),
        (lambda: GPSEncoder(5, 16, num_steps=-1), "`num_steps` must be at least 0"),
        (
            lambda: GraphMAE2(num_features=5, width=16, num_layers=2, num_heads=4, num_remasks=0),
            "`num_remasks` must be at least 1",
        ),
        (
            lambda: GraphMAE2(num_features=5, width=16, num_layers=2, num_heads=4, latent_weight=-1),
            "`latent_weight` must be at least 0",
        ),
        (lambda: GraphMAE2(width=16), "`num_features` must be given"),
        (lambda: MaskGAE(width=16), "`num_features` must be given"),
        (lambda: EdgeDecoder(width=4), "`encoder_width` must be given beside `width`"),
        (
            lambda: GraphMAE(num_features=4, width=16).step(batch()),
            "`num_features` must be 5, the width of the nodes' features",
        ),
        (lambda: GraphMAE(encoder=GATEncoder(5, 16, edge_width=2)).step(batch()), "`edge_width` must be None"),
        (
            lambda: GraphMAE(num_features=5, width=16, target=OneHotTarget()).step(batch() | {"x": torch.rand(48, 5)}),
            "OneHotTarget",
        ),
    ],
)
def test_what_cannot_be_is_told(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_adam_adds_decay_to_the_gradient():
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0), layer.bias.fill_(-4.0)
    optimizer = Adam(base_lr=0.1).optimizer(layer, 0.1, 0.5)
    layer(torch.zeros(1, 1)).sum().backward()
    optimizer.step()  # the first step of Adam goes by the sign of (gradient + decay * parameter): 0 + 1, 1 - 2
    assert layer.weight.item() == pytest.approx(1.9)
    assert layer.bias.item() == pytest.approx(-3.9)


def test_the_teacher_follows_once_per_step():
    torch.manual_seed(0)
    model = GraphMAE2(num_features=5, width=16, num_layers=2, num_heads=4, momentum=0.75)
    head = model.latent_head
    before = [head.follower[0].weight.clone(), head.teacher.teacher.layers[0].conv.bias.clone()]
    with torch.no_grad():
        head.project[0].weight.add_(1.0), model.encoder.layers[0].conv.bias.add_(2.0)
    head.update(model.encoder, model.progress)
    assert torch.allclose(head.follower[0].weight, before[0] + 0.25)
    assert torch.allclose(head.teacher.teacher.layers[0].conv.bias, before[1] + 0.5)


def test_drop_edge_spares_self_loops_and_the_decoder():
    torch.manual_seed(0)
    encoder = GATEncoder(5, 16, 1, 4, dropout=0, attention_dropout=0, drop_edge=0.999999).train()
    data = batch()
    model = GraphMAE(encoder=encoder)
    tokens = model.tokenizer(data)
    alone = model.tokenizer(data | {"edges": torch.empty(2, 0, dtype=torch.long)})
    assert torch.allclose(encoder(tokens).values, encoder(alone).values)
    assert not torch.allclose(encoder.eval()(tokens).values, encoder(alone).values)


def test_dropout_keeps_the_mean_and_the_share():
    torch.manual_seed(0)
    x = torch.ones(1001, 37, requires_grad=True)
    y = dropout(x, 0.2, True)
    assert y.unique().tolist() == pytest.approx([0.0, 1.25], rel=1e-4)
    assert float((y == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    y.sum().backward()
    assert torch.equal(x.grad, y)
    assert dropout(x, 0.2, False) is x


@pytest.mark.parametrize("make", [GATEncoder, GINEncoder, GCNEncoder, SAGEEncoder])
def test_bfloat16_autocast_agrees(make):
    torch.manual_seed(0)
    encoder, tokens = make(5, 16).eval(), GraphMAE(num_features=5, width=16).tokenizer(batch())
    full = encoder(tokens).values
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(tokens).values.float()
    assert torch.allclose(half, full, atol=0.05 * float(full.abs().max()))


def test_every_weight_of_maskgae_is_trained():
    torch.manual_seed(0)
    model = MaskGAE(num_features=5, width=16).train()
    step = model.step(batch(), 0)
    step.loss.total.backward()
    assert step.prediction.values.shape == (len(step.mask.asked.index), 2)
    assert step.mask.hidden.float().mean().item() == pytest.approx(0.7, abs=0.05)
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
