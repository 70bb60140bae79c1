"""Inpainting: strokes of pixels, a U-Net down to single pixels, and a picture that is pasted together."""

import pytest
import torch

from unmask import Corruption, Uniform
from unmask.losses import L1Loss
from unmask.masks import IrregularMask, RandomMask
from unmask.testing import MethodContract, shaken
from unmask_vision.encoders import CNNEncoder
from unmask_vision.methods import SimMIM
from unmask_vision.tokenizer import PatchTokenizer
from unmask_vision.unet import UNetPredictor

OPTIONS = {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "kernel_sizes": 3, "patch_size": 1}


def inpainter(**options):
    torch.manual_seed(0)
    encoder = CNNEncoder("convnext_atto", channels=1, levels=3, stride=4, mask_token=True, options=OPTIONS)
    predictor = UNetPredictor([8, 8, 16], 1, 1, width=16, norm="layer", stride=4)
    given = {"mask": IrregularMask(ratio=Uniform(0.2, 0.5), width=(0.125, 0.25)), **options}
    return SimMIM(patch_size=1, channels=1, encoder=encoder, predictor=predictor, loss=L1Loss(), **given)


def test_what_is_pasted_keeps_visible_pixels_and_ignores_hidden_ones():
    model = shaken(inpainter()).eval()
    image = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        step = model.step({"image": image}, 0)
        hidden = step.mask.hidden
        values = model.tokenizer({"image": image}).values
        pasted = step.mask.asked.scatter(step.prediction.values, values)
        before, after = (model.tokenizer.image(one, step.tokens.layout) for one in (values, pasted))
        cover = hidden.view(3, 1, 8, 8)
        assert torch.equal(after[~cover], before[~cover])
        assert not torch.equal(after[cover], before[cover])
        other = model.step({"image": torch.where(cover, 1 - image, image)}, 0)
    assert torch.equal(other.mask.hidden, hidden)
    assert torch.equal(other.prediction.values, step.prediction.values)
    error = (step.prediction.values - step.mask.asked.gather(values)).abs().squeeze(-1)
    real = torch.ones_like(error) if step.mask.asked.valid is None else step.mask.asked.valid
    torch.testing.assert_close(step.loss.total, (error * real).sum() / hidden.sum())


def test_patches_as_large_as_a_cell_are_as_before():
    """`stride` is `patch_size` where it is left out, and finer patches are parts of the same picture."""
    torch.manual_seed(0)
    coarse = shaken(UNetPredictor([8, 16], 4, 2, width=16)).eval()
    fine = UNetPredictor([8, 16], 1, 1, width=16, stride=2).eval()
    fine.load_state_dict(coarse.state_dict())
    from unmask import Latent, Mask

    maps = [torch.rand(2, 8, 8, 8), torch.rand(2, 16, 4, 4)]
    answers = []
    for predictor, size in ((coarse, 2), (fine, 1)):
        tokenizer = PatchTokenizer(size, 1, mean=[0.0], std=[1.0])
        tokens = tokenizer(torch.rand(2, 1, 8, 8))
        every = torch.ones(tokens.values.shape[:2], dtype=torch.bool)
        show = torch.zeros_like(every, dtype=torch.long)
        mask = Mask(~every, predict=every, show=show)
        latent = Latent(maps[-1].flatten(2).transpose(1, 2), pyramid=maps)
        answers.append(tokenizer.image(predictor(latent, tokens, mask).values, tokens.layout))
    assert torch.equal(*answers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 2, "stride": 3}, "`stride` must be a power of two, but is 3"),
        ({"patch_size": 4, "stride": 2}, "`stride` must be a multiple of 4, the `patch_size`, but is 2; nearest: 4"),
    ],
)
def test_a_stride_that_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UNetPredictor([8], options["patch_size"] ** 2, **options, width=16)


class TestInpainting(MethodContract):
    lr = 1e-2

    def make(self):
        return inpainter(mask=RandomMask(0.3), corruption=Corruption(token=1))

    def batch(self):
        return {"image": torch.rand(4, 1, 8, 8)}
