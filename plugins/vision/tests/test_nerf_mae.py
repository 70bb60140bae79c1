"""NeRF-MAE: colours where something is, alphas where it is hidden, by a 3-D Swin transformer and a U-Net."""

import pytest
import torch
from torchvision.models.video.swin_transformer import SwinTransformer3d

from unmask import Corruption, Grid, Latent, Mask, Tokens
from unmask.nn import sincos
from unmask.testing import EncoderContract, LossContract, MethodContract
from unmask_vision.cubes import CubeTokenizer
from unmask_vision.encoders.swin3d import Halved, Swin3DEncoder
from unmask_vision.methods import NeRFMAE
from unmask_vision.radiance import RadianceLoss, RadianceTarget, RadianceTokenizer
from unmask_vision.unet3d import UNet3DPredictor

SIZES = {"cube_size": 2, "width": 12, "depths": (1, 1), "num_heads": (2, 2), "window_size": 2}


def made(**options):
    torch.manual_seed(0)
    return NeRFMAE(**{**SIZES, **options})


def grids(count=3, sides=(8, 8, 8)):
    generator = torch.Generator().manual_seed(1)
    volume = torch.rand(count, 4, *sides, generator=generator)
    volume[:, 3] = (volume[:, 3] - 0.4).clamp(min=0)  # of many voxels, nothing is there
    return {"volume": volume}


class TestNeRFMAE(MethodContract):
    num_steps = 8
    lr = 1e-2

    def make(self):
        return made()

    def batch(self):
        return grids()


class TestSwin3D(EncoderContract):
    corruptions = (Corruption(token=1),)
    coarse = True

    def make(self):
        return Swin3DEncoder(32, 12, (1, 1), (2, 2), 2)

    def tokens(self):
        return Tokens(torch.randn(3, 64, 32), Grid((4, 4, 4)))


class TestRadianceLoss(LossContract):
    def make(self):
        return RadianceLoss(2)


def test_a_stage_is_torchvisions():
    torch.manual_seed(0)
    peer = SwinTransformer3d([2, 2, 2], 12, [2], [2], [2, 2, 2]).eval()
    ours = Swin3DEncoder(32, 12, (2,), (2,), 2).eval()
    weights = {name: value for name, value in peer.state_dict().items() if not name.startswith("head")}
    conv = weights["patch_embed.proj.weight"]  # [D, C, 2, 2, 2]
    peer_of_four = torch.nn.Conv3d(4, 12, 2, 2)
    peer.patch_embed.proj = peer_of_four
    conv = peer_of_four.weight
    weights["patch_embed.proj.weight"] = conv.permute(0, 2, 3, 4, 1).flatten(1)
    weights["patch_embed.proj.bias"] = peer_of_four.bias
    ours.swin.load_state_dict(weights)
    volume = torch.rand(2, 4, 8, 8, 8)
    tokens = CubeTokenizer(2, 4)(volume)
    with torch.no_grad():
        embedded = peer.patch_embed(volume)  # [B, 4, 4, 4, D]
        positions = sincos(tokens.layout, 64, 12).view(4, 4, 4, 12)
        expected = peer.norm(peer.features(embedded + positions)).flatten(1, 3)
        torch.testing.assert_close(ours(tokens).values, expected, rtol=1e-4, atol=1e-5)


def test_eight_neighbours_become_one():
    merge = Halved(1, torch.nn.LayerNorm)
    with torch.no_grad():
        merge.reduction.weight.copy_(torch.eye(8)[:2])
        x = torch.arange(64.0).view(1, 4, 4, 4, 1)
        made_of = merge(x)
        first = torch.nn.functional.layer_norm(torch.tensor([0.0, 1, 4, 5, 16, 17, 20, 21]), [8])
    assert made_of.shape == (1, 2, 2, 2, 2)
    torch.testing.assert_close(made_of[0, 0, 0, 0], first[:2])


@pytest.mark.parametrize("padded", [False, True])
def test_the_loss_is_the_released_rule_voxel_by_voxel(padded):
    model = made().eval()
    batch = grids()
    if padded:
        batch["sizes"] = torch.tensor([[8, 8, 8], [8, 5, 8], [4, 8, 7]])
        for sample, (depth, height, width) in zip(batch["volume"], batch["sizes"].tolist(), strict=True):
            sample[:, depth:], sample[:, :, height:], sample[:, :, :, width:] = 0, 0, 0
    step = model.step(batch, 0)
    blocks = CubeTokenizer(2, 4)
    everywhere = torch.zeros(3, 64, 32)
    everywhere = step.prediction.asked.scatter(step.prediction.values.detach(), everywhere)
    answer = blocks.volume(everywhere, step.tokens.layout)  # [B, 4, 8, 8, 8]
    hidden = blocks.volume(step.mask.hidden[..., None].expand(-1, -1, 32).float(), step.tokens.layout)[:, 0]
    colour = count = alpha = counted = 0.0
    for b in range(3):
        inside = batch["sizes"][b].tolist() if padded else [8, 8, 8]
        for d in range(8):
            for h in range(8):
                for w in range(8):
                    right, ours = batch["volume"][b, :, d, h, w], answer[b, :, d, h, w]
                    if right[3] > 0.01:
                        colour, count = colour + float((ours[:3] - right[:3]).square().sum()), count + 1
                    if hidden[b, d, h, w] and d < inside[0] and h < inside[1] and w < inside[2]:
                        alpha, counted = alpha + float((ours[3].sigmoid() - right[3]).square()), counted + 1
    assert step.loss.total.item() == pytest.approx(colour / count + alpha / counted, rel=1e-4)
    assert step.mask.hidden.sum(1).tolist() == ([48, 36, 24] if padded else [48] * 3)
    assert model.target.restore(step.prediction, step.tokens, step.mask)[..., 3::4].max() <= 1


def test_densities_become_alphas():
    grid = torch.zeros(1, 4, 2, 2, 2)
    grid[:, 3] = torch.tensor([-100.0, 0, 2, 4, 5, 6, 8, 100]).view(2, 2, 2)
    alpha = RadianceTokenizer(2, density=True)(grid).values[0, 0, 3::4]
    expected = [0, 0.00995, 0.07122, 0.42072, 0.77329, 0.98230, 1, 1]
    torch.testing.assert_close(alpha, torch.tensor(expected), atol=1e-4, rtol=0)


def test_the_coarse_maps_matter_and_what_does_not_fit_is_refused():
    torch.manual_seed(0)
    predictor = UNet3DPredictor([6, 12], 8)
    fine, coarse = torch.randn(2, 6, 4, 4, 4), torch.randn(2, 12, 2, 2, 2)
    places, mask = Tokens(None, Grid((4, 4, 4))), Mask(torch.ones(2, 64, dtype=torch.bool), num_hidden=64)
    first = predictor(Latent(torch.zeros(2, 8, 12), pyramid=[fine, coarse]), places, mask).values
    other = predictor(Latent(torch.zeros(2, 8, 12), pyramid=[fine, coarse + 1]), places, mask).values
    assert first.shape == (2, 64, 8) and not torch.allclose(first, other)
    with pytest.raises(ValueError, match=r"must be \[6, 12\] wide, the first on Grid.* nearest: `vision.swin3d`"):
        predictor(Latent(torch.zeros(2, 64, 12)), places, mask)
    with pytest.raises(ValueError, match="must be multiples of 2 for 2 stages, but are 3x4x4; nearest: 4x4x4"):
        made().step(grids(sides=(6, 8, 8)))
    with pytest.raises(ValueError, match="`width` must be a multiple of 6, but is 10; nearest: 12"):
        Swin3DEncoder(32, 10)
    with pytest.raises(ValueError, match="`num_heads` must have 1 numbers, as `depths`, but has 2"):
        Swin3DEncoder(32, 12, (2,), (2, 2))
    assert isinstance(made().target, RadianceTarget)
