"""MultiMAE: the contract of joint methods; the image alone is MAE; depth, classes, budget and losses by hand."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F

from unmask import Draws, Grid, LossByPart, Mask, TargetByPart, TokenizerByPart
from unmask.losses import L1Loss, MSELoss
from unmask.nn import sincos
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_multimodal.data.rendered_solids import KINDS, rendered
from unmask_multimodal.encoders import JointEncoder, JointTrunk
from unmask_multimodal.maps import DepthTokenizer, LabelMapLoss, LabelMapStem, LabelMapTarget, LabelMapTokenizer
from unmask_multimodal.masks import BudgetMask
from unmask_multimodal.methods import MultiMAE
from unmask_multimodal.testing import JointContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE
from unmask_vision.tokenizer import PatchTokenizer

SIZE, PATCH, WIDTH, CLASSES = 16, 4, 24, len(KINDS) + 1


def stem(depth=0, class_token=False):
    options = {"embed_dim": WIDTH, "num_heads": 3, "depth": depth, "class_token": class_token}
    options["global_pool"] = "token" if class_token else "avg"
    return ViTEncoder("vit_tiny_patch16_224", SIZE, PATCH, 1, positions="sincos", options=options)


def multimae(**options):
    """Of image, depth and classes, tiny."""
    given = {
        "tokenizer": TokenizerByPart(
            {
                "image": PatchTokenizer(PATCH, 1),
                "depth": DepthTokenizer(PATCH),
                "labels": LabelMapTokenizer(PATCH, CLASSES),
            }
        ),
        "encoder": JointEncoder(
            {"image": stem(), "depth": stem(), "labels": LabelMapStem(WIDTH, PATCH, CLASSES, 4)},
            JointTrunk(WIDTH, 2, 3, num_global=1),
        ),
        "answers": {"image": 16, "depth": 16, "labels": 16 * CLASSES},
        "decoder_width": 16,
        "decoder_depth": 1,
        "decoder_heads": 2,
        "mask": BudgetMask(12),
        "target": {"labels": LabelMapTarget()},
        "loss": {"depth": L1Loss(), "labels": LabelMapLoss()},
    }
    return MultiMAE(**given | options)


@pytest.fixture(scope="module")
def scenes():
    return rendered(0, 6, SIZE)


class TestMultiMAE(JointContract):
    num_visible = 12

    def make(self):
        return multimae()

    def batch(self):
        return {
            name: one for name, one in rendered(0, 6, SIZE)._asdict().items() if name in ("image", "depth", "labels")
        }

    def alone(self):
        torch.manual_seed(0)
        encoder = stem(2, class_token=True)
        mae = MAE(patch_size=PATCH, channels=1, encoder=encoder, predictor=TransformerPredictor(WIDTH, 16, 16, 1, 2))
        weights = encoder.state_dict()
        first, trunk = stem(class_token=True), JointTrunk(WIDTH, 2, 3)
        first.load_state_dict({name: one for name, one in weights.items() if "blocks" not in name}, strict=False)
        trunk.load_state_dict({name.removeprefix("vit."): one for name, one in weights.items()
                               if "blocks" in name or name.startswith("vit.norm.")})  # fmt: skip
        joint = MultiMAE(
            tokenizer=TokenizerByPart({"image": copy.deepcopy(mae.tokenizer)}),
            encoder=JointEncoder({"image": first}, trunk),
            answers={"image": 16},
            predictor=copy.deepcopy(mae.predictor),
            target=TargetByPart({"image": ValueTarget(normalize=True)}),
            loss=LossByPart({"image": MSELoss()}),
        )
        return joint, mae, {"image": torch.rand(5, 1, SIZE, SIZE)}


def test_the_loss_is_the_mean_over_samples_of_means_over_hidden_patches(scenes):
    """Worked from the answers; of sample 0 the depth map is shown whole, so it does not count in depth's loss."""
    torch.manual_seed(0)
    model = multimae().eval()
    batch = scenes._asdict()
    tokens = model.tokenizer(batch)
    mask = model.mask(tokens, draws=Draws.of(0, torch.arange(6)))
    parts = dict(mask.parts)
    first = torch.arange(6)[:, None] == 0
    parts["depth"] = dataclasses.replace(parts["depth"], hidden=parts["depth"].hidden & ~first)
    model.mask.forward = lambda *_: dataclasses.replace(Mask.join(parts), draws=mask.draws)
    with torch.no_grad():
        step = model.step(batch, 0)
    total = 0.0
    for name, part in parts.items():
        answers, counts, found = step.prediction.part(name), part.hidden.sum(1).tolist(), []
        for i, count in enumerate(counts):
            if not count:
                continue
            given, right = answers.values[i, :count], tokens.part(name).values[i][part.hidden[i]]
            if name == "labels":
                found.append(F.cross_entropy(given.reshape(-1, CLASSES), right.flatten()))
            else:
                found.append((given - right).square().mean() if name == "image" else (given - right).abs().mean())
        assert len(found) == (5 if name == "depth" else sum(count > 0 for count in counts))
        assert step.terms[f"loss.{name}"].item() == pytest.approx(float(torch.stack(found).mean()), rel=1e-5)
        total += float(torch.stack(found).mean())
    assert step.loss.total.item() == pytest.approx(total, rel=1e-5)


def test_depth_is_standardised_by_the_middle_of_its_values():
    """Ten values without the least and the greatest: mean 4.5, variance 5.25, whatever the two are."""
    for least, greatest in ((0.0, 9.0), (-900.0, 5000.0)):
        values = torch.tensor([least, *range(1, 9), greatest])
        found = DepthTokenizer(1)({"depth": values.view(1, 1, 1, 10)}).values.flatten()
        assert torch.allclose(found, ((values - 4.5) / (5.25 + 1e-6) ** 0.5).clamp(-20, 20), rtol=1e-5)


def test_a_map_that_is_nearly_all_background_has_no_huge_values():
    """Of 64 depths 5 are nearer than all others: none is left among the middle ones, whose variance is 0."""
    depth = torch.ones(1, 1, 8, 8)
    depth.view(-1)[:5] = torch.linspace(0.2, 0.6, 5)
    assert DepthTokenizer(4)({"depth": depth}).values.abs().max() == 20


def test_classes_have_a_vector_each_and_patches_a_linear_layer():
    """The embedding of a map of classes is a convolution over the classes' vectors."""
    torch.manual_seed(0)
    labels = torch.randint(CLASSES, (2, 8, 8))
    stem = LabelMapStem(WIDTH, PATCH, CLASSES, 5)
    found = stem(LabelMapTokenizer(PATCH, CLASSES)({"labels": labels})).values
    weight = stem.project.weight.view(WIDTH, PATCH, PATCH, 5).permute(0, 3, 1, 2)
    theirs = F.conv2d(stem.classes(labels).permute(0, 3, 1, 2), weight, stem.project.bias, stride=PATCH)
    table = sincos(Grid((2, 2)), 4, WIDTH, found.device)
    assert torch.allclose(found, theirs.flatten(2).mT + table, atol=1e-5)
    with pytest.raises(ValueError, match=r"class numbers in \[0, 3\), but holds"):
        LabelMapTokenizer(PATCH, 3)({"labels": labels})


def test_maps_of_a_scene_are_aligned_and_follow_from_its_number():
    scenes = rendered(3, 4, 32)
    solid = scenes.labels > 0
    assert solid.any((1, 2)).all()
    assert torch.equal(solid, scenes.depth[:, 0] < 1)
    assert torch.allclose(scenes.normals.norm(dim=1)[solid], torch.tensor(1.0), atol=1e-5)
    assert not scenes.normals.norm(dim=1)[~solid].any()
    assert (scenes.normals[:, 2][solid] > -1e-4).all()  # what is seen faces the camera
    assert all(torch.equal(one, other) for one, other in zip(rendered(5, 1, 32), (m[2:3] for m in scenes), strict=True))
    assert not torch.equal(scenes.depth[0], scenes.depth[1])
    # Where a surface is smooth, its normal is that of the depth map: neighbours lie in the plane that it says.
    height = 1 - 2 * scenes.depth[:, 0]
    step = 2 / 32
    slope = (height[:, :, 2:] - height[:, :, :-2]) / (2 * step)
    normal = scenes.normals[:, :, :, 1:-1]
    same = (scenes.labels[:, :, 2:] == scenes.labels[:, :, :-2]) & solid[:, :, 1:-1] & (normal[:, 2] > 0.5)
    wanted = -normal[:, 0] / normal[:, 2].clamp(min=0.5)
    assert (slope - wanted)[same].abs().median() < 0.02


def test_the_answers_must_name_each_map():
    with pytest.raises(ValueError, match="`answers` must name each map, but lacks depth"):
        multimae(answers={"image": 16, "labels": 96})
    with pytest.raises(ValueError, match="`loss` must be of maps image, depth, labels, but one is 'normals'"):
        multimae(loss={"normals": MSELoss()})
    with pytest.raises(ValueError, match="`encoder` must be given"):
        MultiMAE(tokenizer=TokenizerByPart({"image": PatchTokenizer(PATCH, 1)}), answers={"image": 16})
