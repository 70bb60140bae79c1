"""DMJD: two masks of each image hide all of it, and visible patches are asked for as well."""

import pytest
import torch
import torch.nn.functional as F

from unmask.masks import DisjointMask, RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import DMJD, MAE
from unmask_vision.targets import HOGTarget


def made(kind=DMJD, width=108, **options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, options=sizes)
    predictor = TransformerPredictor(32, width, width=24, depth=1, num_heads=2)
    return kind(patch_size=4, encoder=encoder, predictor=predictor, **options).eval()


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_with_one_view_and_hidden_patches_alone_it_is_mae_bit_for_bit(given_mask):
    ours = made(width=48, target=ValueTarget(True), visible_weight=0.0, mask=DisjointMask(0.75, num_views=1))
    step = ours.step(images(), 0)
    mae = made(MAE, width=48, mask=given_mask(step.mask.part("view_0").hidden))
    mae.load_state_dict({name: x for name, x in ours.state_dict().items() if not name.startswith("objectives")})
    assert torch.equal(step.loss.total, mae.step(images(), 0).loss.total)
    # A mask of one part is taken as it is.
    plain = made(width=48, target=ValueTarget(True), visible_weight=0.0, mask=RandomMask(0.75))
    mae = made(MAE, width=48, mask=RandomMask(0.75))
    mae.load_state_dict({name: x for name, x in plain.state_dict().items() if not name.startswith("objectives")})
    assert torch.equal(plain.step(images(), 3).loss.total, mae.step(images(), 3).loss.total)


def test_the_loss_by_hand(given_mask):
    """Each view by itself, by other models: MAE's of HOG at hidden patches, the projector at visible ones."""
    ours = made(visible_weight=0.5, mask=DisjointMask(0.6))
    step = ours.step(images(), 0)
    tokens = step.tokens
    hog = HOGTarget(3, cell_size=2)
    total = 0.0
    for name in ("view_0", "view_1"):
        hidden = step.mask.part(name).hidden
        mae = made(MAE, mask=given_mask(hidden), target=hog)
        mae.load_state_dict(
            {name: x for name, x in ours.state_dict().items() if not name.startswith("objectives")}, strict=False
        )
        one = mae.step(images(), 0)
        everywhere = hog(tokens, type(one.mask)(hidden, predict=torch.ones_like(hidden)))
        codes = one.latent.values  # of visible patches, in order
        head = ours.objectives["visible"].predictor
        answers = head.head(head.mlp(codes))
        right = everywhere[~hidden].view(4, -1, 108)
        visible = F.smooth_l1_loss(answers, right, beta=2.0)
        total = total + (one.loss.total + 0.5 * visible) / 2
    torch.testing.assert_close(step.loss.total, total)


@pytest.mark.parametrize(("ratio", "unit"), [(0.5, 1), (0.6, 2), (0.3, 1)])
def test_masks_hide_different_patches(ratio, unit):
    mask = made(mask=DisjointMask(ratio, unit)).step(images(50), 0).mask
    first, second = (mask.part(name).hidden for name in ("view_0", "view_1"))
    counts = first.sum(1)
    assert torch.equal(counts, second.sum(1))
    num = int(counts[0])
    assert ((first & second).sum(1) == max(2 * num - 16, 0)).all()  # all of what is left, or none in common
    if 2 * num >= 16:
        assert (first | second).all()
    assert not torch.equal(second[0], second[1])


def test_the_default_decoder_answers_as_wide_as_the_target():
    torch.manual_seed(0)
    model = DMJD(size="tiny", image_size=32, patch_size=8)
    assert model.predictor.head.out_features == 108
    assert model.mask.unit == 4
    model = DMJD(size="tiny", image_size=64)
    step = model.step({"image": torch.rand(2, 3, 64, 64)}, 0)
    assert torch.isfinite(step.loss.total)


class TestDMJD(MethodContract):
    def make(self):
        return made(mask=DisjointMask(0.6))

    def batch(self):
        return images()
