"""Point-MAE beside the same written out: PointNet, positions before every block, decoder, Chamfer distance."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unmask import Corruption, Mask, Places, Prediction, Tokens
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask_pointcloud.encoders import PointTransformer
from unmask_pointcloud.layout import Points
from unmask_pointcloud.losses import ChamferLoss, NormalLoss, OccupancyLoss
from unmask_pointcloud.methods import PointMAE
from unmask_pointcloud.nn import PatchNet
from unmask_pointcloud.predictors import PointDecoder
from unmask_pointcloud.targets import CentroidTarget, CurvatureTarget, NormalTarget, OccupancyTarget, PointTarget
from unmask_pointcloud.tokenizer import PointTokenizer


def clouds(batch=3, num_points=100, channels=0, seed=0):
    return torch.randn(batch, num_points, 3 + channels, generator=torch.Generator().manual_seed(seed))


def small(**options):
    torch.manual_seed(0)
    encoder = PointTransformer(32, 3, 2, pointnet_width=8, drop_path_ratio=0.0)
    predictor = PointDecoder(32, 3 * 6, 2, 2, drop_path_ratio=0.0)
    return PointMAE(num_patches=10, patch_size=6, encoder=encoder, predictor=predictor, **options)


def pointnet_by_convolutions(net: PatchNet, patches: torch.Tensor) -> torch.Tensor:
    """``[P, k, C]`` to ``[P, D]``: convolutions of width 1, as in the papers' code, with the weights of ``net``."""

    def conv(layer: nn.Linear) -> nn.Conv1d:
        made = nn.Conv1d(layer.in_features, layer.out_features, 1)
        made.weight.data, made.bias.data = layer.weight.data[..., None], layer.bias.data
        return made

    norms = [nn.BatchNorm1d(norm.num_features) for norm in (net.norm1, net.norm2)]
    first = nn.Sequential(conv(net.fc1), norms[0], nn.ReLU(), conv(net.fc2))
    second = nn.Sequential(conv(net.fc3), norms[1], nn.ReLU(), conv(net.fc4))
    x = first(patches.transpose(1, 2))
    highest = x.max(dim=2, keepdim=True)[0].expand_as(x)
    return second(torch.cat([highest, x], dim=1)).max(dim=2)[0]


def block_by_hand(block, x):
    """One pre-norm block, heads one after the other."""
    h = F.layer_norm(x, x.shape[-1:], block.norm1.weight, block.norm1.bias, 1e-6)
    q, k, v = block.attn.qkv(h).chunk(3, dim=-1)
    heads = []
    for one, two, three in zip(*(part.chunk(block.attn.num_heads, -1) for part in (q, k, v)), strict=True):
        heads.append((one @ two.mT / one.shape[-1] ** 0.5).softmax(-1) @ three)
    x = x + block.attn.proj(torch.cat(heads, dim=-1))
    h = F.layer_norm(x, x.shape[-1:], block.norm2.weight, block.norm2.bias, 1e-6)
    return x + block.mlp.fc2(F.gelu(block.mlp.fc1(h)))


def test_a_whole_step_is_that_of_the_paper_written_out():
    model = small().train()
    batch = {"points": clouds()}
    step = model.step(batch, 3)
    encoder, decoder = model.encoder, model.predictor
    patches, centres, hidden = step.tokens.values, step.tokens.positions, step.mask.hidden
    assert hidden.sum(1).tolist() == [6, 6, 6]

    # The encoder: visible patches only, positions added before each block.
    x = pointnet_by_convolutions(encoder.patch_net, patches[~hidden]).view(3, 4, 32)
    where = encoder.centres(centres[~hidden].view(3, 4, 3))
    for block in encoder.trunk.blocks:
        x = block_by_hand(block, x + where)
    x = encoder.trunk.norm(x)
    assert torch.allclose(step.latent.values, x, atol=1e-5)

    # The decoder: mask tokens after them, other positions added before each block.
    x = torch.cat([x, decoder.mask_token.expand(3, 6, -1)], dim=1)
    where = decoder.centres(torch.cat([centres[~hidden].view(3, 4, 3), centres[hidden].view(3, 6, 3)], dim=1))
    for block in decoder.trunk.blocks:
        x = block_by_hand(block, x + where)
    points = decoder.head(decoder.trunk.norm(x)[:, 4:]).view(18, 6, 3)

    # Chamfer distance of each hidden patch by all pairs.
    distance = (points[:, :, None] - patches[hidden][:, None]).square().sum(-1)
    loss = (distance.amin(2).mean(1) + distance.amin(1).mean(1)).view(3, 6)
    assert torch.allclose(step.loss.per_token, loss, atol=1e-5)
    assert torch.allclose(step.loss.total, loss.mean(), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_pointnet_is_that_of_convolutions(training):
    torch.manual_seed(0)
    net = PatchNet(5, 12, 8).train(training)
    patches = torch.randn(4, 7, 6, 5)
    shown = torch.rand(4, 7) < 0.5
    codes = net(patches, shown)
    assert not codes[~shown].any()
    if training:
        assert torch.allclose(codes[shown], pointnet_by_convolutions(net, patches[shown]), atol=1e-5)
    assert torch.allclose(codes[shown], net(patches[shown][None])[0], atol=1e-6)


def test_a_layer_of_the_encoder_and_the_order_of_patches():
    model = small().eval()
    tokens = model.tokenizer({"points": clouds()})
    with torch.no_grad():
        whole = model.encoder(tokens)
        assert torch.equal(model.encoder.trunk.norm(model.encoder(tokens, layer=3).values), whole.values)
        order = torch.randperm(10)
        other = Tokens(tokens.values[:, order], Points(tokens.positions[:, order]), tokens.positions[:, order])
        assert torch.allclose(model.encoder(other).values, whole.values[:, order], atol=1e-5)
        turned = Tokens(tokens.values.flip(2), tokens.layout, tokens.positions)  # a patch has no order either
        assert torch.equal(model.encoder(turned).values, whole.values)
    with pytest.raises(ValueError, match=r"`layer` must be in \[1, 3\]"):
        model.encoder(tokens, layer=4)
    assert whole.prefix is None


def test_padding_changes_nothing():
    model = small().eval()
    points = clouds(2, 20)
    valid = torch.arange(20) < torch.tensor([20, 6])[:, None]
    tokens = model.tokenizer({"points": points, "valid": valid})
    alone = model.tokenizer(points[1:, :6])
    assert tokens.valid.sum(1).tolist() == [10, 6]
    hidden = torch.zeros(2, 10, dtype=torch.bool)
    hidden[:, 2:5] = True
    with torch.no_grad():
        latent = model.encoder(tokens)
        assert torch.allclose(latent.values[1, :6], model.encoder(alone).values[0, :6], atol=1e-5)
        mask, one = Mask(hidden, valid=tokens.valid), Mask(hidden[1:], valid=alone.valid)
        many = model.predictor(model.encoder(tokens, mask), tokens.places, mask).values[1]
        assert torch.allclose(many, model.predictor(model.encoder(alone, one), alone.places, one).values[0], atol=1e-5)


def test_chamfer_loss_by_hand():
    """Of {0, 1} and {0, 3} on a line: squares 0 and 1 one way, 0 and 4 the other."""
    line = torch.zeros(1, 1, 2, 3)
    answer, truth = line.clone(), line.clone()
    answer[..., 1, 0], truth[..., 1, 0] = 1.0, 3.0
    places = Places(torch.zeros(1, 1, dtype=torch.long))
    for norm, expected in ((2, 0.5 + 2.0), (1, (0.5 + 1.0) / 2)):
        loss = ChamferLoss(norm)(Prediction(answer.flatten(2), places), truth.flatten(2))
        assert loss.total.item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="`norm` must be 1 or 2, but is 3"):
        ChamferLoss(3)
    with pytest.raises(ValueError, match="3 numbers each, but have 4"):
        ChamferLoss().per_token(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), None)


def test_places_are_told_apart_before_training():
    """A tenth of the radius apart, codes differ by a tenth of how far they differ at all; and so they do far away."""
    torch.manual_seed(0)
    places = F.normalize(torch.randn(200, 3), dim=-1)
    moved = places + 0.1 * F.normalize(torch.randn(200, 3), dim=-1)
    with torch.no_grad():
        codes, others = PointTransformer(32, 1, 2).centres(torch.stack([places, moved]))
    near, spread = (codes - others).norm(dim=-1).median(), (codes - codes.mean(0)).norm(dim=-1).median()
    assert 0.05 < near / spread < 0.25
    assert codes.std() > 0.5  # with weights of normal(0.02), 0.003


def test_normal_loss_knows_no_side():
    answer = torch.tensor([[[2.0, 0, 0], [0, 3, 3], [0, 0, 0]]], requires_grad=True)
    truth = torch.tensor([[[-1.0, 0, 0], [0, 0, 1], [0, 0, 1]]])
    loss = NormalLoss().per_token(answer, truth, None)
    assert loss[0].tolist() == pytest.approx([0, 1 - 0.5**0.5, 1], abs=1e-6)
    loss.sum().backward()
    assert answer.grad.isfinite().all()


def test_targets_of_the_surface_by_hand():
    """A patch flat in z, four times as wide in x as in y; and a patch along a line."""
    flat = torch.tensor([[4.0, 1, 0], [-4, 1, 0], [4, -1, 0], [-4, -1, 0]]) + torch.tensor([1.0, 2.0, 3.0])
    line = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 2, 0], [0, 3, 0]])
    values = torch.stack([flat, line, line])[None]  # [1, 3, 4, 3]
    centres = torch.zeros(1, 3, 3)
    tokens = Tokens(values, Points(centres), centres)
    mask = Mask(torch.tensor([[True, True, False]]))
    assert CentroidTarget()(tokens, mask)[0].tolist() == [[1, 2, 3], [0, 1.5, 0]]
    assert torch.allclose(NormalTarget()(tokens, mask)[0, 0], torch.tensor([0.0, 0, 1]))
    assert torch.allclose(
        CurvatureTarget()(tokens, mask)[0], torch.tensor([[0, 1 / 17, 16 / 17], [0, 0, 1]]), atol=1e-6
    )
    assert torch.equal(PointTarget()(tokens, mask), values[:, :2].flatten(2))


def test_occupied_cells_by_hand():
    """A cube of edge 4 in 2 x 2 x 2 cells: two points share a cell, one is on a border, one lies outside."""
    patch = torch.tensor([[-1.0, -1, -1], [-2, -0.5, -1], [0, -1, 1.9], [1, 1, 2]])
    tokens = Tokens(patch[None, None].expand(1, 2, 4, 3), Points(torch.zeros(1, 2, 3)), torch.zeros(1, 2, 3))
    mask = Mask(torch.tensor([[True, False]]))
    truth = OccupancyTarget(cells=2, size=4.0)(tokens, mask)
    assert truth.tolist() == [[[1, 0, 0, 0, 0, 1, 0, 0]]]  # (0, 0, 0) and (1, 0, 1)
    answer = torch.zeros(1, 1, 8)
    answer[..., 0] = math.log(3)  # three to one for a cell that is occupied
    loss = OccupancyLoss().per_token(answer, truth, None)
    assert loss.item() == pytest.approx((-math.log(0.75) + 7 * math.log(2)) / 8)


@pytest.mark.parametrize(
    ("target", "loss"),
    [
        (CentroidTarget(), MSELoss()),
        (NormalTarget(), NormalLoss()),
        (CurvatureTarget(), MSELoss()),
        (OccupancyTarget(), OccupancyLoss()),
    ],
    ids=["centroid", "normal", "curvature", "occupancy"],
)
def test_point_mae_takes_targets_of_the_surface(target, loss):
    model = PointMAE(size="tiny", num_patches=10, patch_size=6, target=target, loss=loss)
    step = model.step({"points": clouds()}, 0)
    assert step.prediction.values.shape == (3, 6, target.width)
    step.loss.total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_restored_patch_stands_in_the_order_of_the_true_one():
    model = small(mask=RandomMask(0.5))
    model.tokenizer = PointTokenizer(10, 6, channels=2)
    tokens = model.tokenizer({"points": clouds(2, channels=2)})
    hidden = torch.arange(10).expand(2, 10) < 5
    mask = Mask(hidden, num_hidden=5)
    truth = tokens.values[:, :5]
    shuffled = truth[:, :, torch.randperm(6), :3] + 1e-4
    restored = PointTarget().restore(Prediction(shuffled.flatten(2), mask.asked), tokens, mask)
    restored = restored.view(2, 5, 6, 5)
    assert torch.allclose(restored[..., :3], truth[..., :3] + 1e-4)
    seen = tokens.values[:, 5:, :, 3:].mean((1, 2))
    assert torch.allclose(restored[..., 3:], seen[:, None, None].expand(2, 5, 6, 2), atol=1e-6)


def test_paper_defaults():
    model = PointMAE()
    assert (
        sum(parameter.numel() for parameter in model.encoder.trunk.parameters())
        == 12 * (12 * 384**2 + 13 * 384) + 2 * 384
    )
    assert (model.encoder.width, model.encoder.num_layers, model.predictor.trunk.blocks[0].attn.num_heads) == (
        384,
        12,
        6,
    )
    assert len(model.predictor.trunk.blocks) == 4
    assert model.predictor.head.out_features == 96
    assert model.mask.ratio == 0.6
    assert model.encoder.trunk.blocks[-1].drop_path_ratio == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointMAE(size="huge"), "`size` must be one of tiny, small, but is 'huge'"),
        (lambda: PointMAE(size="tiny", encoder=PointTransformer(32, 1, 2)), "`size` must be left out"),
        (lambda: PointTransformer(depth=0), "`depth` must be at least 1, but is 0"),
        (lambda: PointTransformer(drop_path_ratio=1.0), r"`drop_path_ratio` must be in \[0, 1\), but is 1.0"),
        (lambda: OccupancyTarget(cells=1), "`cells` must be at least 2, but is 1"),
        (lambda: OccupancyTarget(size=0), "`size` must be above 0 and finite, but is 0"),
        (lambda: PointDecoder(32, 3, depth=0), "`depth` must be at least 1"),
        (
            lambda: PointMAE(size="tiny", corruption=Corruption(token=1)).step({"points": clouds(2, 80)}),
            "`mask_token` of the encoder must be true",
        ),
        (
            lambda: PointMAE(size="tiny", tokenizer=PointTokenizer(channels=1)).step({"points": clouds(2, 80, 1)}),
            r"3 \+ `channels` 0\] with centres, but are \[2, 64, 32, 4\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
