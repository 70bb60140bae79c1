"""MaskFeat: the histogram is HOG's, worked out by other code and by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from unmask import Mask
from unmask.losses import MSELoss
from unmask.masks import BlockMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget
from unmask.testing import MethodContract, TargetContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MaskFeat, SimMIM
from unmask_vision.targets import GradientTarget, HOGTarget
from unmask_vision.tokenizer import PatchTokenizer


def encoder():
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    return ViTEncoder("vit_tiny_patch16_224", 16, 4, mask_token=True, options=options)


def images(count=3):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def everywhere(tokens):
    all_places = torch.ones(tokens.values.shape[:2], dtype=torch.bool)
    return Mask(~all_places, predict=all_places)


def slow_hog(pixels, bins, cell, window):
    """Pixel by pixel, by scipy's correlation: ``[C, H, W]`` to ``[C, H / cell, W / cell, bins]``."""
    kernel = np.outer([1, 2, 1], [1, 0, -1])
    found = np.zeros((len(pixels), pixels.shape[1] // cell, pixels.shape[2] // cell, bins))
    for c, plane in enumerate(pixels):
        across = correlate(plane, kernel, mode="mirror")
        down = correlate(plane, kernel.T, mode="mirror")
        for y in range(plane.shape[0]):
            for x in range(plane.shape[1]):
                angle = math.degrees(math.atan2(across[y, x], down[y, x])) % 180
                weight = 1.0
                if window:
                    offsets = [(at % window) - (window - 1) / 2 for at in (y, x)]
                    weight = math.exp(-sum(o * o for o in offsets) / 2 / (window // 2) ** 2)
                found[c, y // cell, x // cell, int(angle / (180 / bins))] += weight * math.hypot(
                    across[y, x], down[y, x]
                )
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


@pytest.mark.parametrize("window", [None, 8])
def test_the_histogram_equals_one_made_pixel_by_pixel(window):
    batch = images(2)
    tokens = PatchTokenizer(4)(batch)
    ours = HOGTarget(3, num_bins=9, cell_size=2, window_size=window)(tokens, everywhere(tokens))  # [B, 16, 2 * 2 * 27]
    normalised = (batch["image"] - PatchTokenizer(4).mean) / PatchTokenizer(4).std
    for one, pixels in zip(ours, normalised.double().numpy(), strict=True):
        theirs = torch.from_numpy(slow_hog(pixels, 9, 2, window))[:, 1:-1, 1:-1]  # [3, 6, 6, 9]
        cells = one.double().view(4, 4, 2, 2, 3, 9).permute(4, 0, 2, 1, 3, 5).reshape(3, 8, 8, 9)
        # At the border a gradient is nothing but rounding in one direction.
        torch.testing.assert_close(cells[:, 1:-1, 1:-1], theirs, rtol=1e-4, atol=1e-5)


def test_a_ramp_has_all_in_the_bin_of_its_orientation():
    """Of a ramp along columns the angle is 90 degrees from down: bin 4 of 9; along rows 0: bin 0."""
    at = torch.arange(16.0)
    for image, expected in ((at.expand(16, 16), 4), (-at[:, None].expand(16, 16), 0)):
        tokens = PatchTokenizer(8, 1, [0.0], [1.0])({"image": image.expand(1, 1, 16, 16)})
        answers = HOGTarget(1, window_size=None)(tokens, everywhere(tokens))  # [1, 4, 9]
        # The mirrored border of a ramp is flat across it, and adds nothing.
        torch.testing.assert_close(answers, torch.eye(9)[expected].expand(1, 4, 9))


def test_half_a_turn_permutes_no_bins_and_a_quarter_turn_does():
    image = images(1)["image"]
    target = HOGTarget(3, num_bins=4, cell_size=4, window_size=None)

    def hog(pixels):
        tokens = PatchTokenizer(4)({"image": pixels})
        return target(tokens, everywhere(tokens)).view(4, 4, 3, 4)

    inner = slice(1, 3)  # at the border a gradient is nothing but rounding in one direction
    halfway = hog(image).flip(0, 1)
    torch.testing.assert_close(hog(image.rot90(2, (2, 3)))[inner, inner], halfway[inner, inner])
    turned = hog(image).rot90(1, (0, 1)).roll(2, -1)  # 90 of 180 degrees are 2 of 4 bins
    torch.testing.assert_close(hog(image.rot90(1, (2, 3)))[inner, inner], turned[inner, inner])


def test_gradients_of_a_ramp_are_eight_a_pixel():
    at = torch.arange(8.0)
    tokens = PatchTokenizer(4, 1, [0.0], [1.0])({"image": (3 * at).expand(1, 1, 8, 8)})
    found = GradientTarget(1)(tokens, everywhere(tokens)).view(2, 2, 4, 4)
    expected = torch.full((8, 8), 24.0)
    expected[:, [0, 7]] = 0  # mirrored
    torch.testing.assert_close(found.transpose(1, 2).reshape(8, 8), expected)


def test_only_the_target_differs_from_mask_tokens_on_pixels(given_mask, some_hidden):
    """Limit: with pixels as the target it is SimMIM with squared error, bit for bit."""
    hidden = some_hidden(3, 16, 6)
    made = []
    for kind in (MaskFeat, SimMIM):
        torch.manual_seed(0)
        parts = {"encoder": encoder(), "predictor": LinearPredictor(32, 48), "mask": given_mask(hidden)}
        made.append(kind(patch_size=4, target=ValueTarget(), loss=MSELoss(), **parts).eval())
    first, second = (one.step(images(), 0).loss.total for one in made)
    assert torch.equal(first, second)


def test_cells_that_do_not_divide_a_patch_are_refused():
    tokens = PatchTokenizer(4)(images())
    with pytest.raises(ValueError, match="`cell_size` must divide the patch size 4, but is 3; nearest: 2"):
        HOGTarget(3, cell_size=3)(tokens, everywhere(tokens))


class TestMaskFeat(MethodContract):
    def make(self):
        return MaskFeat(patch_size=4, encoder=encoder(), mask=BlockMask(0.4, min_block=2))

    def batch(self):
        return images(4)


class TestHOGTarget(TargetContract):
    def make(self):
        return HOGTarget(3, cell_size=2)

    def tokens(self):
        return PatchTokenizer(4)(images())


class TestGradientTarget(TestHOGTarget):
    def make(self):
        return GradientTarget(3)


def test_the_paper_has_108_numbers_of_a_patch():
    assert HOGTarget().width(16) == 108
