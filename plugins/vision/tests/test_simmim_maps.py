"""SimMIM on networks that make maps: timm's CNNs, torchvision's, and one's own."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision

from unmask.masks import RandomMask
from unmask.testing import MethodContract, shaken
from unmask_vision.encoders import CNNEncoder, ModuleEncoder
from unmask_vision.methods import SimMIM
from unmask_vision.tokenizer import PatchTokenizer

SMALL = {"depths": (1, 2, 1, 1), "dims": (8, 16, 8, 8), "kernel_sizes": 3, "patch_size": 1}


class Own(torch.nn.Module):
    """A network of one's own, of stride 2."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.second = torch.nn.Conv2d(8, 12, 3, 2, 1)

    def forward(self, x):
        return self.second(F.gelu(self.first(x)))


def networks():
    """Names of networks: an encoder around each, and the same as others make it."""
    torch.manual_seed(0)
    channels = (8, 8, 16, 16)
    yield (
        CNNEncoder("resnet18", mask_token=True, options={"channels": channels}),
        timm.create_model("resnet18", num_classes=0, channels=channels).forward_features,
    )
    theirs = torchvision.models.resnet18()
    encoder = ModuleEncoder("resnet18", mask_token=True)
    encoder.net.load_state_dict({k: v for k, v in theirs.state_dict().items() if k in encoder.net.state_dict()})
    yield encoder, torch.nn.Sequential(*list(theirs.children())[:-2])


@pytest.mark.parametrize("patch_size", [32, 16])
@pytest.mark.parametrize("number", [0, 1])
def test_the_loss_is_the_released_head_on_the_network(number, patch_size, given_mask, some_hidden):
    """Pixels of hidden patches replaced, the network, a 1 x 1 convolution, pixels shuffled, L1 of hidden pixels."""
    encoder, peer = list(networks())[number]
    grid = 64 // patch_size, 96 // patch_size
    hidden = some_hidden(2, grid[0] * grid[1], 3)
    ours = SimMIM(encoder=encoder, patch_size=patch_size, mask=given_mask(hidden))
    shaken(ours.predictor)
    encoder.mask_token.data = torch.tensor([0.3, -0.2, 0.5])
    ours.eval()
    if isinstance(peer, torch.nn.Sequential):
        peer.eval()
        codes = peer
    else:
        net = peer.__self__.eval()
        net.load_state_dict(encoder.net.state_dict(), strict=True)
        codes = peer
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        step = ours.step({"image": image}, 0)
        pixels = (image - ours.tokenizer.mean) / ours.tokenizer.std
        cover = hidden.view(-1, 1, *grid).repeat_interleave(patch_size, 2).repeat_interleave(patch_size, 3)
        shown = torch.where(cover, encoder.mask_token[:, None, None], pixels)
        k, p = 32 // patch_size, patch_size
        linear = ours.predictor.head
        # Outputs in the order that a shuffle of pixels takes: colour, row, column.
        order = torch.arange(32 * 32 * 3).view(k, k, p, p, 3).permute(4, 0, 2, 1, 3).flatten()
        out = F.conv2d(codes(shown), linear.weight[order][:, :, None, None], linear.bias[order])
        answer = F.pixel_shuffle(out, 32)
        error = (answer - pixels).abs() * cover
    torch.testing.assert_close(step.loss.total, error.sum() / (cover.sum() * 3), rtol=1e-5, atol=0)


def test_patches_are_as_large_as_the_stride_and_units_as_32_pixels():
    model = SimMIM(channels=1, encoder=ModuleEncoder(Own(), channels=1, image_size=8, mask_token=True)).eval()
    assert isinstance(model.tokenizer, PatchTokenizer) and model.tokenizer.patch_size == 2
    assert model.mask.unit == 16  # still 32 pixels


def test_patches_must_divide_the_stride():
    with pytest.raises(
        ValueError, match="`patch_size` must divide 32, the stride of the encoder, but is 24; nearest: 16"
    ):
        SimMIM(patch_size=24, encoder=CNNEncoder("resnet18", mask_token=True))


class TestSimMIMOnACNN(MethodContract):
    lr = 1e-2

    def make(self):
        encoder = CNNEncoder("convnextv2_atto", channels=1, stride=2, mask_token=True, options=SMALL)
        return SimMIM(channels=1, encoder=encoder, mask=RandomMask(0.5))

    def batch(self):
        return {"image": torch.rand(4, 1, 8, 8)}


class TestSimMIMOnAModule(MethodContract):
    lr = 1e-2

    def make(self):
        return SimMIM(
            channels=1,
            patch_size=1,
            encoder=ModuleEncoder(Own(), channels=1, image_size=8, mask_token=True),
            mask=RandomMask(0.5),
        )

    def batch(self):
        return {"image": torch.rand(4, 1, 8, 8)}
