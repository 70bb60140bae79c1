"""Layer masking: what is hidden from a trained CNN neither shows nor has a colour."""

import pytest
import timm
import torch
from torch import nn

from unmask.testing import shaken
from unmask_vision.encoders import LayerMasked


def resnet():
    torch.manual_seed(0)
    return shaken(timm.create_model("resnet18", num_classes=5, channels=(8, 8, 16, 16)), 0.05).eval()


@torch.no_grad()
@pytest.mark.parametrize("fill", ["neighbours", "zero"])
def test_with_nothing_hidden_it_is_the_network(fill):
    net, image = resnet(), torch.rand(2, 3, 64, 64)
    before = net(image)
    masked = LayerMasked(net, fill)
    assert torch.equal(masked(image, torch.zeros(2, 64, 64, dtype=torch.bool)), before)
    hidden = torch.rand(2, 64, 64) < 0.5
    assert not torch.allclose(masked(image, hidden), before)
    assert torch.equal(net(image), before)  # outside, the hooks do nothing


@torch.no_grad()
@pytest.mark.parametrize("fill", ["neighbours", "zero"])
def test_no_colour_of_hidden_pixels_reaches_the_answer(fill):
    masked, image = LayerMasked(resnet(), fill), torch.rand(2, 3, 64, 64)
    hidden = torch.zeros(2, 64, 64, dtype=torch.bool)
    hidden[0, 10:50, :40] = True
    hidden[1, ::2] = True
    found = masked(image, hidden)
    for colour in (0.0, 1.0, float("nan")):
        assert torch.equal(masked(image.masked_fill(hidden[:, None], colour), hidden), found)
    assert not torch.equal(masked(image + 0.1, hidden), found)


def test_filling_by_hand():
    """A row of five cells of which the first two are known, and a kernel of three: three rounds of means."""
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.conv.register_forward_hook(lambda module, given, out: seen.append(given[0]))

        def forward(self, x):
            return self.pool(self.conv(x))

    masked = LayerMasked(Net())
    image = torch.tensor([[[[2.0, 4.0, 9.0, 9.0, 9.0]]]])
    found = masked(image, torch.tensor([[[False, False, True, True, True]]]))
    torch.testing.assert_close(seen[0].flatten(), torch.tensor([2.0, 4.0, 4.0, 4.0, 4.0]))
    out = torch.nn.functional.conv2d(seen[0], masked.net.conv.weight, masked.net.conv.bias, padding=1)
    torch.testing.assert_close(found.flatten(), out[0, 0, 0, :2].mean()[None])


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (torch.zeros(2, 8, 8, dtype=torch.bool), r"`hidden` must have the shape \[2, 64, 64\]"),
        (torch.ones(2, 64, 64, dtype=torch.bool), "must leave a pixel of each image visible"),
    ],
)
def test_masks_that_do_not_fit_are_refused(hidden, message):
    with pytest.raises(ValueError, match=message):
        LayerMasked(resnet())(torch.rand(2, 3, 64, 64), hidden)
