"""The dVAE beside the same written out: edge convolutions, folding, Gumbel softmax, divergence."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unmask import Progress, Tokenizer
from unmask_pointcloud.encoders import DVAEEncoder
from unmask_pointcloud.methods import DVAE
from unmask_pointcloud.methods.dvae import from_uniform
from unmask_pointcloud.nn.dgcnn import DGCNN
from unmask_pointcloud.predictors import FoldingDecoder

SMALL = {"num_patches": 10, "patch_size": 8, "num_codes": 32, "width": 16, "hidden_width": 8}


def clouds(batch=3, num_points=100, seed=0):
    return torch.randn(batch, num_points, 3, generator=torch.Generator().manual_seed(seed))


def test_edge_convolutions_written_out():
    """Features [x_j - x_i, x_i] of each edge through a convolution of width 1, as in the release."""
    torch.manual_seed(0)
    graph = DGCNN(6, 12, 4)
    x, centres = torch.randn(2, 9, 6), torch.randn(2, 9, 3)
    with torch.no_grad():
        for norm in (*graph.norms, graph.norm):
            norm.weight.normal_(1, 0.2), norm.bias.normal_(0, 0.2)
        near = torch.cdist(centres, centres).topk(4, largest=False)[1]  # [B, G, 4]
        h, found = graph.embed(x).mT, []  # [B, C, G]
        for edge, norm in zip(graph.edges, graph.norms, strict=True):
            other = torch.stack([one[:, index] for one, index in zip(h, near, strict=True)])  # [B, C, G, 4]
            own = h[..., None].expand_as(other)
            made = F.conv2d(torch.cat([other - own, own], dim=1), edge.weight[..., None, None])
            h = F.leaky_relu(F.group_norm(made, 4, norm.weight, norm.bias), 0.2).max(-1)[0]
            found.append(h)
        made = F.conv1d(torch.cat(found, dim=1), graph.joint.weight[..., None])
        made = F.leaky_relu(F.group_norm(made, 4, graph.norm.weight, graph.norm.bias), 0.2).mT
        assert torch.allclose(graph(x, centres), made, atol=1e-5)


def test_fewer_patches_than_neighbours_repeat_the_nearest():
    graph = DGCNN(6, 12, 4)
    assert graph(torch.randn(2, 2, 6), torch.randn(2, 2, 3)).shape == (2, 2, 12)


def test_folding_written_out():
    torch.manual_seed(0)
    folding = FoldingDecoder(16, 8, 12, 4).eval()
    model = DVAE(**SMALL)
    tokens = model.tokenizer(clouds())
    with torch.no_grad():
        latent = model.encoder.eval()(tokens)
        coarse, fine = folding.points(latent, tokens.places)
        codes = folding.graph(latent.values, tokens.positions)
        assert coarse.shape == (3, 10, 2, 3)
        assert torch.allclose(coarse, folding.coarse(codes).view(3, 10, 2, 3))
        for number in range(8):  # four around each coarse point
            corner = torch.tensor([[-0.05, -0.05], [0.05, -0.05], [-0.05, 0.05], [0.05, 0.05]])[number % 4]
            start = coarse[:, :, number // 4]
            given = torch.cat([codes, corner.expand(3, 10, 2), start], dim=-1)
            move = folding.fine(given.flatten(0, 1)).view(3, 10, 3)
            assert torch.allclose(fine[:, :, number], start + move, atol=1e-6)


def test_divergence_is_that_of_torch():
    scores = torch.randn(4, 7, 9) * 3
    used = scores.softmax(-1).mean(1)
    uniform = torch.full_like(used, 1 / 9)
    expected = F.kl_div(used.log(), uniform, reduction="batchmean")
    assert from_uniform(scores).item() == pytest.approx(expected.item(), rel=1e-5)
    assert from_uniform(torch.eye(9)[None] * 50).item() == pytest.approx(0, abs=1e-6)  # each code once
    assert from_uniform(torch.eye(9)[:1, None] * 500).isfinite()  # softmax of 0 in float32


def test_a_step_written_out():
    torch.manual_seed(0)
    model = DVAE(**SMALL, kl_weight=0.3).eval()
    with torch.no_grad():
        step = model.step({"points": clouds()}, 0)
        ids = model.encoder.ids(step.tokens)
        assert torch.equal(step.latent.values, model.encoder.book[ids])
        coarse, fine = model.predictor.points(step.latent, step.tokens.places)
        total = 0.3 * from_uniform(model.encoder.scores(step.tokens))
        for points in (coarse, fine):
            distance = torch.cdist(points, step.tokens.values)  # [B, G, ., k]
            total += ((distance.amin(-1).mean(-1) + distance.amin(-2).mean(-1)) / 2).mean()
    assert step.loss.total.item() == pytest.approx(total.item(), rel=1e-4)
    assert torch.equal(step.prediction.values, fine.flatten(2))
    assert not step.mask.hidden.any()
    assert step.mask.asked.index.shape == (3, 10)


def test_codes_are_drawn_in_training_by_their_chances():
    """At a low temperature the mixture is one entry; the largest of scores and Gumbel noise is a draw of softmax."""
    model = DVAE(**SMALL | {"num_codes": 4}, temperature=1e-3).train()
    nn.init.zeros_(model.encoder.book)
    model.encoder.book.data[:, :4] = torch.eye(4)
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0]).expand(1, 20_000, 4)
    drawn = model._entries(scores, torch.Generator().manual_seed(0))[0, :, :4]
    assert torch.allclose(drawn.sum(-1), torch.ones(20_000), atol=1e-3)
    assert (drawn.mean(0) - scores[0, 0].softmax(-1)).abs().max() < 0.015


def test_defaults_are_those_of_the_release():
    model = DVAE()
    assert (model.encoder.num_codes, model.encoder.book.shape) == (8192, (8192, 256))
    assert [edge.weight.shape for edge in model.encoder.graph.edges] == [
        (256, 256),
        (512, 512),
        (512, 1024),
        (1024, 1024),
    ]
    assert model.encoder.graph.joint.weight.shape == (8192, 2304)
    at_step = [Progress(step=step) for step in (0, 10_000, 60_000, 110_000, 200_000)]
    assert [model.kl_weight(progress) for progress in at_step] == pytest.approx([0, 0, 0.05, 0.1, 0.1])
    assert [model.temperature(p) for p in at_step] == pytest.approx([1, 0.9770577, 0.3863983, 0.0625, 0.0625], abs=1e-6)


def test_it_learns_to_rebuild():
    torch.manual_seed(0)
    model = DVAE(**SMALL, score_scale=8.0, kl_weight=0.0)
    assert set(model.encoder.graph.norm.weight.tolist()) == {8.0}
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    batch = {"points": torch.rand(3, 100, 1) * 10 * torch.eye(3)[:, None]}  # along x, y and z
    losses = []
    for number in range(40):
        losses.append(model.step(batch, number).loss.total)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DVAE(**SMALL | {"patch_size": 6}), "`patch_size` must be a multiple of 4 for a dVAE, but is 6"),
        (lambda: DVAE(**SMALL | {"num_codes": 30}), "`num_codes` must be a multiple of 4, but is 30; nearest: 32"),
        (lambda: DVAE(**SMALL, temperature=0), "`temperature` must be above 0, but is 0"),
        (lambda: DVAE(**SMALL, score_scale=0), "`score_scale` must be above 0, but is 0"),
        (lambda: DVAE(**SMALL, kl_weight=-1), "`kl_weight` must be at least 0, but is -1"),
        (lambda: DVAE(**SMALL).step({"points": clouds(2, 6)}), "`num_patches` must be at most 6"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_encoder_refuses_to_be_shown_a_part():
    model = DVAE(**SMALL)
    tokens = model.tokenizer(clouds())
    mask = model.mask(tokens)
    assert isinstance(model.tokenizer, Tokenizer)
    assert model.encoder(tokens, mask).values.shape == (3, 10, 16)
    mask.hidden[0, 0] = True
    with pytest.raises(ValueError, match="must see every patch"):
        DVAEEncoder(32, 16, 0, 8)(tokens, mask)
