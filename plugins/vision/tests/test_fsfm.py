"""FSFM: faces of which one part is hidden whole, and whose codes tell of the whole."""

import pytest
import torch

from unmask.masks import RegionMask
from unmask.predictors import TransformerPredictor
from unmask.testing import DataContract, MethodContract
from unmask_vision.data import DrawnFacesData
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import FSFM, MAE
from unmask_vision.regions import FACE, RegionTokenizer


def made(kind=FSFM, **options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 32, 4, positions="sincos", options=sizes)
    predictor = TransformerPredictor(32, 48, width=24, depth=1, num_heads=2)
    more = {"hidden_width": 16, "whole_depth": 1} if kind is FSFM else {}
    return kind(patch_size=4, encoder=encoder, predictor=predictor, **{**more, **options})


def faces(number=4):
    drawn = DrawnFacesData(num_faces=12, num_val=3).splits.train
    return {name: torch.stack([drawn[i][name] for i in range(number)]) for name in ("image", "regions")}


class TestFSFM(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return faces()


class TestDrawnFacesData(DataContract):
    def make(self, **options):
        return DrawnFacesData(**{"num_faces": 48, "num_val": 3, "batch_size": 4, **options})


def test_without_its_own_weights_it_is_mae_bit_for_bit(given_mask):
    ours = made(region_weight=0.0, whole_weight=0.0).eval()
    step = ours.step(faces(), 0)
    mae = made(MAE, mask=given_mask(step.mask.hidden)).eval()
    assert torch.equal(step.loss.total, mae.step(faces()).loss.total)


def test_one_part_of_the_face_is_hidden_and_counts_more():
    ours = made(region_weight=0.5, whole_weight=0.0).eval()
    step = ours.step(faces(), 0)
    member, hidden = step.tokens.notes["regions"], step.mask.hidden
    assert (hidden.sum(1) == 48).all()
    whole = (~member | hidden[..., None]).all(1) & member.any(1)  # [B, 8]
    assert whole[:, :6].any(1).all()
    weight = step.mask.weight.gather(1, step.mask.asked.index)
    extra = weight > 1 / (4 * 48) + 1e-6
    error = step.loss.per_token
    found = error.mean() + 0.5 * torch.stack([error[i][extra[i]].mean() for i in range(4)]).mean()
    torch.testing.assert_close(step.loss.total.detach(), found)


def test_parts_of_patches_by_hand():
    """2 x 2 patches of 2 x 2 pixels: brow and skin; hair and skin; skin alone; background alone."""
    given = torch.tensor([[[2, 1, 10, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]])
    tokens = RegionTokenizer(2, 1)({"image": torch.rand(1, 1, 4, 4), "regions": given})
    names = ("brows", "eyes", "nose", "mouth", "outline", "hair", "skin", "background")
    held = [{name for name, is_in in zip(names, row, strict=True) if is_in} for row in tokens.notes["regions"][0]]
    assert held == [{"brows", "skin"}, {"outline", "hair", "skin"}, {"skin"}, {"background"}]
    assert RegionTokenizer(2, 1)({"image": torch.rand(1, 1, 4, 4)}).notes is None


def test_every_drawn_face_has_all_parts_and_its_mood():
    data = DrawnFacesData(num_faces=60, num_val=3)
    for sample in data.splits.train:
        assert set(sample["regions"].unique().tolist()) == set(range(11))
        assert sample["image"].min() >= 0 and sample["image"].max() <= 1
        mouth = (sample["regions"] == 8).nonzero().float()
        middle = mouth[:, 1].mean()
        corners = mouth[(mouth[:, 1] - middle).abs() > 3][:, 0].mean()
        centre = mouth[(mouth[:, 1] - middle).abs() <= 1][:, 0].mean()
        assert torch.sign((centre - corners).round()) == sample["label"] - 1
    assert torch.equal(data.splits.train[5]["image"], DrawnFacesData(num_faces=60, num_val=3).splits.train[5]["image"])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="RegionMask needs tokens with a note `regions`, but they have none"):
        made().step({"image": torch.rand(2, 3, 32, 32)}, 0)
    with pytest.raises(ValueError, match=r"The map `regions` must be of the images' size, \(4, 4\), but is \(4, 6\)"):
        RegionTokenizer(2, 1)({"image": torch.rand(1, 1, 4, 4), "regions": torch.zeros(1, 4, 6)})
    with pytest.raises(ValueError, match="`regions` must be lists of sets"):
        RegionTokenizer(regions=[[]])
    assert len(FACE) == 8 and isinstance(made().mask, RegionMask)
